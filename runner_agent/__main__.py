"""``python -m runner_agent agent | gate``: two programs, each imports only its own modules."""

from __future__ import annotations

import importlib
import sys

PROGRAMS = {"agent": ("main", "main"), "gate": ("gate", "run_gate")}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in PROGRAMS:
        print(f"usage: python -m runner_agent {' | '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    module, function = PROGRAMS[arguments[0]]
    status: int = getattr(importlib.import_module(f"runner_agent.{module}"), function)()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
