"""A fuzz target: a function of bytes that returns, whatever the bytes are. Whatever it raises is a finding.

Its docstring states the invariant: which exceptions of the code under test it expects, and what must be true of what was
accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {}
CORPUS = Path(__file__).parent / "corpus"
MAX_BYTES = 4096
"""Of one input. The limits of the parsers that are larger have tests of their own; a fuzzer finds more in short ones."""


def target(function: Target) -> Target:
    """Registers ``function`` under its own name, which is also its folder in the corpus."""
    assert function.__doc__
    TARGETS[function.__name__] = function
    return function


def corpus(name: str) -> Iterator[bytes]:
    """What is kept for a target: seeds, what the fuzzer found to reach new code, and every input that once failed."""
    for path in sorted((CORPUS / name).iterdir()):
        yield path.read_bytes()


def cuts(data: bytes) -> Iterator[bytes]:
    """``data`` in pieces whose sizes follow from it: 1 to 16 bytes, now and then many."""
    at, seed = 0, len(data)
    while at < len(data):
        seed = (seed * 1103515245 + data[at] + 12345) & 0x7FFFFFFF
        size = 1 + (seed >> 8) % 16 if seed & 0x30000 else 700
        yield data[at : at + size]
        at += size
