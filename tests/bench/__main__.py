"""`make bench`: every figure with its ratio, then the table for docs/bench.md. Names as arguments run only those.

In an order in which none disturbs the next: what needs no cluster, what takes milliseconds, and last what leaves pods ending.
``soak`` runs only by its name: it alone takes as long as all the others.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack

from tests.bench import edit_to_browser, gateway, idle, lifecycle, log, memory, one_file, soak, tree
from tests.bench.figures import Figure, table
from tests.bench.stage import Stage, stage

WITHOUT_CLUSTER: dict[str, Callable[[], list[Figure]]] = {"gateway": gateway.measure}
BENCHES: dict[str, Callable[[Stage], list[Figure]]] = {
    "one_file": one_file.measure,
    "edit_to_browser": edit_to_browser.measure,
    "tree": tree.measure,
    "log": log.measure,
    "idle": idle.measure,
    "memory": memory.measure,
    "lifecycle": lifecycle.measure,
    "soak": soak.measure,
}
NAMES = (*WITHOUT_CLUSTER, *BENCHES)
BY_NAME_ONLY = frozenset({"soak"})


def main() -> int:
    wanted = sys.argv[1:] or [name for name in NAMES if name not in BY_NAME_ONLY]
    if unknown := [name for name in wanted if name not in NAMES]:
        print(f"no bench {unknown[0]!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    failed: list[str] = []
    with ExitStack() as stack:
        here: Stage | None = None
        for name in wanted:
            began = time.monotonic()
            try:
                if name in WITHOUT_CLUSTER:
                    found = WITHOUT_CLUSTER[name]()
                else:
                    here = here or stack.enter_context(stage())
                    found = BENCHES[name](here)
            except Exception:  # the figures of the others are not lost for it
                traceback.print_exc()
                failed.append(name)
                continue
            print(f"{name}, {time.monotonic() - began:.0f} s", *found, sep="\n", flush=True)
            figures += found
    print(f"\n{table(figures)}")
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
