"""`python -m devcluster.mirrors up|down|status`."""

import argparse
import sys

from devcluster import mirrors
from devcluster.daemons import DaemonError
from devcluster.mirrors.installing import MirrorError
from devcluster.packages import PackagesMissingError
from devcluster.settings import state_from_environment


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.mirrors", description="Package mirrors for the sandboxes of the cluster."
    )
    parser.add_argument("command", choices=["up", "down", "status"])
    command = parser.parse_args().command
    state = state_from_environment()
    try:
        if command == "up":
            mirrors.start(state)
        elif command == "down":
            mirrors.stop(state)
        else:
            answering = mirrors.status()
            for name, answers in answering.items():
                print(f"{name}: {'answers' if answers else 'does not answer'}")
            return 0 if all(answering.values()) else 1
    except (DaemonError, MirrorError, PackagesMissingError) as error:
        print(f"devcluster.mirrors: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
