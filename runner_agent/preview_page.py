"""What the waiting page says: the state in one sentence, since when, the next step, and the lines that matter. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner_agent.detect import hints
from runner_agent.log_lines import SHOWN_LINES, Excerpt, excerpt, lasted
from sandbox_protocol.waiting_page import Page

BUSY_SECONDS, FAILED_SECONDS = 1, 2
"""Between two looks. Whoever reads an error has twice as long before the page is drawn anew."""


@dataclass(frozen=True, slots=True)
class State:
    """What a title is made of; ``failed``: nothing mends it but ``next_step``."""

    title: str
    failed: bool = False
    next_step: str = ""


_RESTART = "kubectl sandbox restart NAME"
_MEND = "Mend what the lines below say and sync again: it is then tried at once."
_STATES = {
    "AwaitingFirstSync": State("Waiting for the first files", next_step="Send them: kubectl sandbox sync NAME DIRECTORY"),
    "Installing": State("Installing dependencies"),
    "Restarting": State("The app is being restarted"),
    "CrashLoop": State("The app keeps crashing", True, _MEND),
    "OOMKilled": State(
        "The app ran out of memory", True, "Let it use less, or raise spec.resources.limits.memory; it is tried again by itself."
    ),
    "Exited": State("The app has ended", True, f"Start it again with the next sync, or with {_RESTART}."),
    "Completed": State("The app has done its work", True, f"It runs again after a sync that changes something, or {_RESTART}."),
    "InstallFailed": State("Dependencies could not be installed", True, _MEND),
    "NoCommand": State("Nothing to run yet", True, "Add what is missing and sync again, or say what to run in spec.command."),
    "WrongPort": State(
        "The app listens on another port", True, "Let it listen on the port in the variable PORT, or set spec.port."
    ),
    "NoListener": State("The app listens on no port", True, "Let it serve HTTP on the port in the variable PORT."),
    "NotHTTP": State("The app does not speak HTTP", True, "Let it serve HTTP/1.1 on the port in the variable PORT."),
    "NoAnswer": State(
        "The app does not answer", True, f"Mend what it waits for and sync again, or start it anew with {_RESTART}."
    ),
    "LauncherNotStarted": State("The app's container cannot start", True, "Choose another image in spec.image."),
    "StoppedAnswering": State(
        "The app stopped answering", True, f"Mend what was changed last and sync again, or start it anew with {_RESTART}."
    ),
}
_STARTING = State("The app is starting")
_PAUSED = State("The app is not answering just now")


@dataclass(frozen=True, slots=True)
class Look:
    """What is known where a page is wanted. ``process`` is empty for a port that no process has; ``since`` is Unix time, 0 when
    it does not matter. ``lines`` are the newest of the run, as they were printed; ``install_failures`` and ``install_lines`` are
    of installs that failed in a row. ``hung`` are the seconds for which a request that the app took has had no answer."""

    port: int
    process: str = ""
    web: bool = True
    ready: bool = False
    state: str = ""
    reason: str = ""
    message: str = ""
    since: float = 0.0
    command: str = ""
    lines: Sequence[str] = ()
    install_failures: int = 0
    install_lines: Sequence[str] = ()
    why: str = ""
    hung: float | None = None


def page(look: Look, now: float, request_id: bytes = b"") -> Page:
    state, message = _said(look)
    shown = _lines(look, failed=state.failed or look.hung is not None)
    failed = state.failed or (look.hung is not None and shown.from_error)
    next_step = state.next_step
    if (failed or look.reason == "Installing") and (step := hints.next_step((*look.install_lines, *look.lines))):
        next_step = step
    return Page(
        title=state.title,
        message=_sentence(message),
        reload_seconds=FAILED_SECONDS if failed else BUSY_SECONDS,
        failed=failed,
        facts=_facts(look, now),
        lines=shown.lines,
        request_id=request_id,
        next_step=next_step,
        from_top=shown.from_error,
    )


def _said(look: Look) -> tuple[State, str]:
    message = look.message.partition("\n")[0].removesuffix(" Last lines:")  # the page has more of them
    if look.hung is not None:
        title = "The app does not answer this request"
        step = "It may wait for something, or compile for long; if it hides an error, the lines below tell."
        return State(title, next_step=step), f"it took the request {lasted(look.hung)} ago and has not begun an answer"
    if not look.process:
        step = "Let something listen there, or open the preview of a port that kubectl sandbox status lists."
        return State(f"Nothing answers on port {look.port}", next_step=step), look.why
    if look.ready:  # it answered a moment ago
        return _PAUSED, look.why
    reason = look.reason
    state = _STATES.get(reason, _PAUSED if look.state == "Running" else _STARTING)
    if look.install_failures and reason in ("Installing", "InstallFailed"):
        times = "once" if look.install_failures == 1 else f"{look.install_failures} times"
        message = f"{message}; failed {times} before" if reason == "Installing" else f"{message} (failed {times})"
    if look.web:
        return state, message
    named = state.title.replace("The app", f"Process {look.process}", 1)
    if named == state.title:
        named = f"Process {look.process}: {named[:1].lower()}{named[1:]}"
    return replace(state, title=named), message


def _sentence(words: str) -> str:
    end = "" if not words or words.endswith((".", "!", "?", ":")) else "."
    if "." in words.partition(" ")[0]:  # a file's name is written as it is
        return words + end
    return words[:1].upper() + words[1:] + end


def _lines(look: Look, *, failed: bool) -> Excerpt:
    if look.install_lines and look.reason in ("Installing", "InstallFailed") and (failed or not look.lines):
        kept = excerpt(look.install_lines, failed=False).lines
        return Excerpt(kept[:SHOWN_LINES], from_error=True)
    return excerpt(look.lines, failed=failed)


def _facts(look: Look, now: float) -> tuple[tuple[str, str], ...]:
    facts = [] if look.web else [("Process", look.process)]
    facts += [("For", lasted(now - look.since))] if look.since and look.hung is None else []
    facts += [("Command", written(look.command))] if look.command else []
    return (*facts, ("Port", str(look.port)))


def written(command: str) -> str:
    """A command without what we put around it: of ``sh -c '…; exec COMMAND'`` the COMMAND."""
    return command.rpartition("; exec ")[2] if command.startswith("sh -c ") else command
