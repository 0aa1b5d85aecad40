"""Command line of the development cluster: `python -m devcluster --help`."""

import argparse
import os
import sys
from pathlib import Path

from devcluster import builds, programs
from devcluster.drivers import existing, kind, local
from devcluster.kubectl import kubectl_argv
from devcluster.progress import say
from devcluster.settings import State, state_from_environment
from devcluster.status import report


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m devcluster", description="A real Kubernetes for development and tests.")
    commands = top.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the cluster to health, from whatever state it is in")
    up.add_argument("--driver", choices=["local", "kind", "existing"], help="default: kind where it can run, else local")
    up.add_argument("--tier", choices=local.TIERS, default="node", help="api: control plane only, in seconds")
    up.add_argument(
        "--with",
        dest="extras",
        action="append",
        choices=["gvisor", "ipv6"],
        default=[],
        help="offer this too; ipv6 only in a new cluster",
    )
    up.add_argument("--kubeconfig", type=Path, help="for --driver existing: whose cluster to borrow")
    down = commands.add_parser("down", help="take it down; leaves nothing behind but the state folder")
    down.add_argument("--wipe", action="store_true", help="empty the state folder too: objects, images, volumes")
    commands.add_parser("status", help="what runs and what it needs")
    build = commands.add_parser("build", help="build programs into the cache without starting anything")
    build.add_argument("names", nargs="*", help="programs or Go modules; default: what the node tier needs")
    commands.add_parser("kubectl", help="kubectl with the cluster's kubeconfig; everything after it is kubectl's", add_help=False)
    return top


def up(state: State, arguments: argparse.Namespace) -> None:
    driver = arguments.driver or chosen(state) or ("kind" if kind.available() else "local")
    if driver == "existing":
        if arguments.kubeconfig is None:
            sys.exit("--driver existing wants --kubeconfig FILE: it never takes the current context")
        existing.up(state, arguments.kubeconfig)
    elif driver == "kind":
        kind.up(state)
    else:
        local.up(state, arguments.tier, arguments.extras)
    (state.root / "driver").write_text(driver)
    say(f"up ({driver}); export KUBECONFIG={os.path.relpath(state.kubeconfig)}")


def down(state: State, wipe: bool) -> None:
    driver = chosen(state) or "local"
    if driver == "existing":
        existing.down(state)
    elif driver == "kind":
        kind.down(state)
    else:
        local.down(state, wipe)
    (state.root / "driver").unlink(missing_ok=True)


def chosen(state: State) -> str | None:
    """Driver of the cluster that is up."""
    path = state.root / "driver"
    return path.read_text() if path.exists() else None


def main() -> None:
    state = state_from_environment()
    if sys.argv[1:2] == ["kubectl"]:  # before argparse, which would take kubectl's options for its own
        os.execv(kubectl_argv(state)[0], kubectl_argv(state, *sys.argv[2:]))  # noqa: S606
    arguments = parser().parse_args()
    try:
        if arguments.command == "up":
            up(state, arguments)
        elif arguments.command == "down":
            down(state, arguments.wipe)
        elif arguments.command == "status":
            lines, healthy = report(state)
            print("\n".join(lines))
            sys.exit(0 if healthy else 1)
        else:
            builds.ensure(state, programs.select(arguments.names) if arguments.names else programs.NODE_PROGRAMS)
    except Exception as error:
        if type(error).__module__.startswith("devcluster"):  # ours say what is wrong and what to do; a traceback would hide it
            sys.exit(f"devcluster: {error}")
        raise


if __name__ == "__main__":
    main()
