"""``python -m tests.cluster.behaviour``: ``--write`` makes docs/behaviour.md anew from the table; ``--ask`` asks the cluster and
prints what it answered, for whoever adds a row."""

from __future__ import annotations

import argparse
import asyncio
import secrets

from devcluster.settings import state_from_environment
from tests.cluster.behaviour import page, states, table
from tests.harness.cluster import Cluster


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.behaviour", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--write", action="store_true")
    which.add_argument("--ask", action="store_true")
    if parser.parse_args().write:
        page.PATH.write_text(page.render())
        return
    cluster = Cluster(state_from_environment())
    namespace = f"behaviour-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", namespace)
    try:
        answers, failed = asyncio.run(states.collect(cluster, namespace))
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--timeout=120s")
    print(*failed, sep="\n")
    for (state, verb), answer in answers.items():
        expected = table.TABLE.get(state, {}).get(verb)
        told = "not in the table" if expected is None else "; ".join(expected.differences(answer)) or "as expected"
        print(f"{state:<14}{verb:<16}{told}\n    {answer}")


if __name__ == "__main__":
    main()
