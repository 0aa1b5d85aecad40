"""One target under atheris; libFuzzer's own flags follow its name. Run by ``python -m tests.fuzz``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["runner_agent", "sandbox_protocol", "sandbox_operator"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    _, name, *flags = sys.argv
    atheris.Setup([sys.argv[0], *flags], TARGETS[name])
    atheris.Fuzz()
