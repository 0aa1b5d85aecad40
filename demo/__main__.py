"""`python -m demo`: needs a cluster with the operator in it (`make up`). Leaves the two sandboxes running."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import time
from datetime import UTC, datetime

from playwright.async_api import Error as BrowserError

from demo import report, story, user
from devcluster.kubectl import KubectlError
from devcluster.packages import PackagesMissingError
from devcluster.settings import REPOSITORY, state_from_environment
from sandbox_client import SandboxError

NAMESPACE = "demo"

NEXT = """
Preview of the shop (for {minutes} minutes; a new one: kubectl sandbox preview shop):
  {url}
Pictures: {pictures}

Both sandboxes keep running. Try next:
  export KUBECONFIG={kubeconfig} PATH={venv}:{bin}:$PATH
  kubectl sandbox logs -f shop
  sed -i s/bright/sunny/ {app} && kubectl sandbox sync shop {folder}
  kubectl get sandboxrunners -o wide
"""


def main() -> int:
    state = state_from_environment()
    if not state.kubeconfig.exists():
        print(f"no cluster: {state.kubeconfig} does not exist. Run `make up` first.", file=sys.stderr)
        return 1
    begin = time.monotonic()
    folder = state.root / "demo"
    try:
        with report.step(f"a user who may edit in namespace {NAMESPACE!r}, and nothing else"):
            demo_user = user.make(state, NAMESPACE)
        preview = asyncio.run(story.run(demo_user, REPOSITORY / "examples", folder, functools.partial(report.explain, state)))
    except (SandboxError, KubectlError, PackagesMissingError, BrowserError, AssertionError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"\nThe demo failed: {' '.join(map(str, error.cmd))}: {error.stderr}", file=sys.stderr)
        return 1
    report.line(f"  {time.monotonic() - begin:6.2f} s  in all")
    report.line(
        NEXT.format(
            url=preview.url,
            minutes=round((preview.expires - datetime.now(UTC)).total_seconds() / 60),
            pictures=folder,
            kubeconfig=demo_user.kubeconfig,
            venv=REPOSITORY / ".venv" / "bin",
            bin=state.bin,
            folder=folder / "shop",
            app=folder / "shop" / "src" / "App.jsx",
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
