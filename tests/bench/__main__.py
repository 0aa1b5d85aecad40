"""`make bench`: every figure with its ratio, then the table for docs/bench.md. Names as arguments run only those."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import lifecycle, memory, one_file, tree
from tests.bench.figures import Figure, table
from tests.bench.stage import Stage, stage


def _memory(on: Stage) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return memory.measure(on, Path(folder))


BENCHES: dict[str, Callable[[Stage], list[Figure]]] = {
    "one_file": one_file.measure,
    "tree": tree.measure,
    "lifecycle": lifecycle.measure,
    "memory": _memory,
}


def main() -> int:
    wanted = sys.argv[1:] or list(BENCHES)
    if unknown := [name for name in wanted if name not in BENCHES]:
        print(f"no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    with stage() as here:
        for name in wanted:
            for figure in BENCHES[name](here):
                print(figure, flush=True)
                figures.append(figure)
    print(f"\n{table(figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
