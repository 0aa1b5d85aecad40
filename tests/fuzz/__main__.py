"""``python -m tests.fuzz [--seconds N] [--keep] [target …]``: each target in turn, for N seconds, in a process of its own.

With atheris (the extra ``fuzz``) the search follows the code that an input reaches; without, Hypothesis changes what is in the
corpus at random. ``--keep`` adds to the corpus what reached new code. A failing input is printed and kept in the corpus, where
the unit tests find it until it is mended, and ever after.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.target import CORPUS, MAX_BYTES, corpus
from tests.fuzz.targets import TARGETS

_MEMORY_MIB = 1024
# Of one run, the smallest: the corpus is for everybody's checkout and for two seconds of unit tests.
_KEPT, _KEPT_BYTES = 30, 512
# Of one input: what takes a parser longer is a finding too.
_INPUT_SECONDS = 5


def _atheris(name: str, seconds: int, keep: bool) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        found, crash = Path(scratch, "found"), Path(scratch, "crash-")
        found.mkdir()
        flags = [
            f"-max_total_time={seconds}",
            f"-max_len={MAX_BYTES}",
            f"-timeout={_INPUT_SECONDS}",
            f"-rss_limit_mb={_MEMORY_MIB}",
        ]
        flags += [f"-artifact_prefix={crash}", "-print_final_stats=1", "-verbosity=0"]
        command = [sys.executable, "-m", "tests.fuzz.instrumented", name, *flags, str(found), str(CORPUS / name)]
        code = subprocess.run(command, check=False).returncode
        for path in Path(scratch).glob("crash-*"):
            _add(name, path.read_bytes(), "failed")
        if keep and not code:
            for path in sorted(found.iterdir(), key=lambda path: path.stat().st_size)[:_KEPT]:
                if path.stat().st_size <= _KEPT_BYTES:
                    _add(name, path.read_bytes(), "reached")
        return code


def _add(name: str, data: bytes, why: str) -> None:
    if data in set(corpus(name)):
        return
    path = CORPUS / name / f"{why}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    if why == "failed":
        print(f"{name}: {path} fails: {data[:200]!r}", flush=True)


def _hypothesis(name: str, seconds: int) -> int:
    from tests.fuzz.mutation import search

    failing = search(name, seconds)
    if failing is None:
        return 0
    _add(name, failing, "failed")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *sorted(TARGETS)], metavar="target")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", action="store_true", help="add what reached new code to the corpus")
    given = parser.parse_args()
    guided = importlib.util.find_spec("atheris") is not None
    print(f"guided by {'coverage (atheris)' if guided else 'chance (Hypothesis)'}, {given.seconds} s a target", flush=True)
    os.nice(15)
    failed = []
    for name in given.targets or sorted(TARGETS):
        code = _atheris(name, given.seconds, given.keep) if guided else _hypothesis(name, given.seconds)
        print(f"{name}: {'ok' if not code else 'FAILED'}", flush=True)
        failed += [name] if code else []
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
