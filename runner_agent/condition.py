"""The condition AppReady, from where the process ``web`` stands. Pure.

Status, readiness, waiting page and controller show this one, so that they never disagree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner_agent.process import Now


def app_condition(ready: bool, now: Now, port: int | None) -> dict[str, str]:
    if ready:
        message = now.message or f"answers on port {port}"
        return {"type": "AppReady", "status": "True", "reason": "Ready", "message": message}
    reason, message = {
        "AwaitingFirstSync": ("AwaitingFirstSync", "waits for its first files: kubectl sandbox sync NAME DIRECTORY"),
        "AwaitingLauncher": ("Starting", "the app container is not up yet"),
        "Installing": ("Installing", "installs dependencies; the log shows how far it is"),
        "Starting": ("Starting", f"has not answered on port {port} yet"),
        "Running": ("Starting", f"runs, but does not answer on port {port}"),
        "Stopping": ("Restarting", "is being restarted"),
        "BackOff": ("CrashLoop", "keeps ending"),
        "Exited": ("Exited", "has ended"),
    }[now.state]
    return {"type": "AppReady", "status": "False", "reason": now.reason or reason, "message": now.message or message}
