"""One project from an empty spec to the end: up, edited, agent and pod away, broken, mended. Each step is what a person does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Error as BrowserError
from playwright.async_api import Page

from devcluster.kubectl import KubectlError
from sandbox_client import NeverReady, RunnerStatus, Sandbox, SandboxError
from tests.apps import projects, seeing
from tests.apps.expectation import Broken, Expectation, Look, Place
from tests.apps.results import Record
from tests.apps.stage import CommandError, Stage
from tests.apps.watching import Watch

_EDITS = ("Edited once", "Edited twice", "Edited thrice")
_MENDED = "Mended again"
_LOOK_SECONDS = 15.0
_CUT = 300


class StepError(Exception):
    """Something else happened than is right; the message begins with the step."""


@dataclass
class Play:
    """``texts`` is what each place of the project shows now."""

    stage: Stage
    project: Expectation
    record: Record
    folder: Path
    sandbox: Sandbox
    page: Page
    texts: dict[Place, str] = field(default_factory=dict)

    async def bring_up(self) -> None:
        """The first sync, and the preview open all the while: the page must come by itself, or say what is in the way."""
        begin = time.monotonic()
        await self.stage.kubectl_sandbox("sync", self.sandbox.name, self.folder)
        url = (await self.stage.kubectl_sandbox("preview", self.sandbox.name)).split()[0]
        async with Watch(self.sandbox) as watch:
            await seeing.again(self.page, url)
            verdict = await self._up_or_told(begin + self.project.ready)
            watch.tell(self.record)
        self.record.verdict = "up" if verdict else "told"
        if verdict:
            self.record.ready = time.monotonic() - begin
        if verdict and self.project.kind == "told":
            raise StepError("up: it came up, though it was expected to say why it cannot")
        if not verdict:
            await self._told()

    async def _up_or_told(self, end: float) -> bool:
        """Whether it came up; else why not stands in the record. StepError when neither is seen by then."""
        verdict: asyncio.Task[RunnerStatus] | None = None
        try:
            while time.monotonic() < end:
                if self.project.kind != "told" and self.project.text in await seeing.text(self.page):
                    return True
                if verdict is None:
                    verdict = asyncio.create_task(self.sandbox.wait_app(timeout=max(1.0, end - time.monotonic())))
                if verdict.done() and isinstance(error := verdict.exception(), NeverReady):
                    self.record.says = _cut(str(error))
                    return False
                if verdict.done() and verdict.exception() is None and self.project.kind == "told":
                    verdict = None  # it answers at first, such as an app that is about to take all memory
                await asyncio.sleep(0.2)
        finally:
            if verdict is not None:
                verdict.cancel()
                await asyncio.gather(verdict, return_exceptions=True)
        if self.project.kind == "told" and await seeing.ours(self.page) == "":
            return True
        raise StepError(f"up: not within {self.project.ready:.0f} s; the page says: {_cut(await seeing.shown(self.page))}")

    async def _told(self) -> None:
        """The page must say the same as the status: in red, and with every word that makes it the right sentence."""
        if self.project.kind == "up":
            raise StepError(f"up: {self.record.says}")
        missing: list[str] = []

        def says(text: str) -> bool:
            missing[:] = [word for word in self.project.says if word.lower() not in text.lower()]
            return not missing

        if await seeing.until(self.page, says, self.project.edit) is None:
            shown = _cut(await seeing.shown(self.page))
            raise StepError(f"told: the page does not say {', '.join(map(repr, missing))}; it says: {shown}")
        if not await seeing.ours(self.page):
            raise StepError("told: the sentence is on a page of the app's, not on the sandbox's own")
        if not await self._reddens():
            raise StepError("told: the page says it, but still looks as if it waits")
        self.record.says = await seeing.sentence(self.page)

    async def look_around(self) -> None:
        for look in self.project.looks:
            await self._look(look)
        for command in self.project.holds:
            done = await self.sandbox.exec(*command)
            if done.exit_code:
                raise StepError(f"holds: {' '.join(command)} ended with {done.exit_code}: {_cut(done.stderr.decode())}")
        if self.project.once:
            log = [line async for line in self.sandbox.logs()]
            for words in self.project.once:
                if (times := sum(words in line for line in log)) != 1:
                    raise StepError(f"once: {words!r} stands {times} times in the log")

    async def _look(self, look: Look) -> None:
        if look.script:
            found = await seeing.evaluated(self.page, look.script, look.text, _LOOK_SECONDS)
            if look.text not in found:
                raise StepError(f"look: {look.script} is {found!r}, not {look.text!r}")
            return
        other = await self.page.context.new_page()
        try:
            await seeing.again(other, "/".join(self.page.url.split("/")[:3]) + look.path)
            if await seeing.until(other, lambda text: look.text in text, _LOOK_SECONDS) is None:
                raise StepError(f"look: {look.path} does not show {look.text!r}, but: {_cut(await seeing.shown(other))}")
        finally:
            await other.close()

    async def edit(self, number: int, words: str) -> float:
        """Seconds from the sync to the open page. StepError when it is not there, which says whether F5 shows it."""
        place = self.project.places[number % len(self.project.places)]
        self._write(place, words)
        begin = time.monotonic()
        result = await self.sandbox.sync(directory=self.folder)
        if self.project.f5:
            await seeing.again(self.page)
        seen = await seeing.until(self.page, lambda text: words in text, self.project.edit)
        passed = time.monotonic() - begin
        if seen is not None:
            return passed
        told = f"{result.written} written, {'restarted' if result.restarted else 'not restarted'}"
        before = _cut(await seeing.shown(self.page))
        await seeing.again(self.page)
        after = await seeing.until(self.page, lambda text: words in text, _LOOK_SECONDS)
        how = "only after F5" if after is not None else f"not even after F5; the page shows: {before}"
        raise StepError(f"{words.lower()}: not on the open page within {self.project.edit:.0f} s, {how} ({told})")

    def _write(self, place: Place, words: str) -> None:
        file = self.folder / place.file
        content = file.read_text()
        old = self.texts.get(place, place.text)
        if old not in content:
            raise StepError(f"corpus: {place.file} does not hold {old!r}")
        file.write_text(content.replace(old, words))
        self.texts[place] = words

    async def lose_agent(self) -> None:
        """The open page stays; the app goes on."""
        if not await self.stage.kill_agent(self.sandbox):
            self.record.notes.append("agent not killed: its process is not on this machine")
            return
        await self._back("agent killed")

    async def lose_pod(self) -> None:
        """What was last edited is there again, and the page comes back by itself or by one F5."""
        shown = list(self.texts.values())
        await self.stage.delete_pod(self.sandbox)
        await self._back("pod deleted")
        await seeing.again(self.page)
        if await seeing.until(self.page, lambda text: all(words in text for words in shown), self.project.ready) is None:
            raise StepError(f"pod deleted: the page does not come back; it says: {_cut(await seeing.shown(self.page))}")

    async def _back(self, step: str) -> RunnerStatus:
        try:
            return await self.sandbox.wait_app(timeout=self.project.ready)
        except SandboxError as error:
            raise StepError(f"{step}: {_cut(str(error))}") from error

    async def break_and_mend(self, broken: Broken) -> None:
        """The error is on the page, ours in red or the framework's own, and the next good edit mends it without a hand."""
        file = self.folder / broken.file
        good = file.read_text()
        file.write_text(broken.applied(good))
        if file.read_text() == good:
            raise StepError(f"corpus: {broken.file} does not hold {broken.find!r}")
        before = await seeing.text(self.page)  # a framework's own tools may hold words such as "error" all the time
        words = [item for item in broken.shows if item not in before]
        await self.sandbox.sync(directory=self.folder)
        self.record.broken = await self._error_seen(words)
        file.write_text(good)
        await self.edit(0, _MENDED)

    async def _error_seen(self, words: Sequence[str]) -> str:
        def shown(text: str) -> bool:
            return any(item in text for item in words)

        how = "on the open page"
        if await seeing.until(self.page, shown, self.project.edit) is None:
            await seeing.again(self.page)
            how = "after F5"
            if await seeing.until(self.page, shown, self.project.edit) is None:
                text = _cut(await seeing.shown(self.page))
                raise StepError(f"broken: none of {', '.join(map(repr, words))} is on the page, which shows: {text}")
        look = await seeing.ours(self.page)
        if look and not await self._reddens():
            raise StepError("broken: the error is on the page, but it still looks as if it waits")
        return f"{how}, {'our page in red' if look else 'its own page'}"

    async def _reddens(self) -> bool:
        """A page of ours may be caught between two of its looks."""
        for _ in range(50):
            if await seeing.ours(self.page) == "red":
                return True
            await asyncio.sleep(0.2)
        return False


async def play(stage: Stage, project: Expectation, revision: str) -> Record:
    """Everything that is expected of a project, and its record; the sandbox is gone afterwards."""
    record = Record(project.name, project.framework, project.kind, revision)
    begin = time.monotonic()
    folder = stage.copies / project.name
    try:
        await asyncio.to_thread(projects.prepared, project, folder)
    except (projects.PreparationError, OSError) as error:
        record.failure = f"corpus: {_cut(str(error))}"
        return record
    context = await stage.browser.new_context(viewport={"width": 1100, "height": 720})
    sandbox = await stage.client.apply(f"app-{project.name}", stage.spec)
    acting = Play(stage, project, record, folder, sandbox, await context.new_page())
    try:
        await sandbox.wait_ready()
        await _acts(acting)
    except StepError as error:
        record.failure = str(error)
    except (SandboxError, CommandError, KubectlError, BrowserError, TimeoutError, OSError) as error:
        record.failure = f"{type(error).__name__}: {_cut(str(error))}"
    finally:
        record.seconds = time.monotonic() - begin
        if record.failure:
            await _keep(acting)
        with contextlib.suppress(BrowserError):
            await context.close()
        await sandbox.delete(wait=True)
    return record


async def _acts(acting: Play) -> None:
    project, record = acting.project, acting.record
    await acting.bring_up()
    if record.verdict == "told":
        if project.remedy is not None:
            await _remedied(acting)
        return
    await acting.look_around()
    for number, words in enumerate(_EDITS):
        record.edits.append(await acting.edit(number, words))
        if number == 0:
            await acting.lose_agent()
        if number == 1:
            await acting.lose_pod()
    if project.broken is not None:
        await acting.break_and_mend(project.broken)


async def _remedied(acting: Play) -> None:
    """What the sentence asks for is done: then it comes up, on the page that is open."""
    project = acting.project
    await acting.stage.client.apply(acting.sandbox.name, {**acting.stage.spec, **(project.remedy or {})})
    if await seeing.until(acting.page, lambda text: project.text in text, project.ready) is None:
        raise StepError(f"remedy: the page does not come; it says: {_cut(await seeing.shown(acting.page))}")
    acting.record.notes.append("does come up when told so")


async def _keep(acting: Play) -> None:
    """A picture and the log's end beside the record, as PROJECT.png and PROJECT.txt."""
    folder, name = acting.stage.results, acting.project.name
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(BrowserError):
        await acting.page.screenshot(path=folder / f"{name}.png", timeout=5000)
    text = (
        f"{acting.record.failure}\n\npage:\n{await seeing.shown(acting.page)}\n\n{await acting.stage.described(acting.sandbox)}\n"
    )
    (folder / f"{name}.txt").write_text(text)


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _CUT else flat[: _CUT - 1] + "…"
