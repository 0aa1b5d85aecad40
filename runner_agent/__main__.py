"""``python -m runner_agent agent | gate | launcher``: three programs, each imports only its own modules."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    match arguments:
        case ["agent"]:
            from runner_agent.main import main as run  # noqa: PLC0415
        case ["gate"]:
            from runner_agent.gate import main as run  # noqa: PLC0415
        case ["launcher"]:
            from runner_agent.launcher import main as run  # noqa: PLC0415
        case _:
            print("usage: python -m runner_agent agent | gate | launcher", file=sys.stderr)
            return 2
    return run() or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
