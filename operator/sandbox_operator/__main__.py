"""``python -m sandbox_operator controller | apiserver | preview``: one image, three programs.

Only the chosen program is imported: a gateway that meets browsers should not even have the controller's code loaded.
Each program is a package with a ``main.py`` that has ``def main() -> int``, the exit status.
"""

from __future__ import annotations

import importlib
import sys

PROGRAMS = ("controller", "apiserver", "preview")


def run(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in PROGRAMS:
        print(f"usage: python -m sandbox_operator {' | '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    status: int = importlib.import_module(f"sandbox_operator.{arguments[0]}.main").main()
    return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
