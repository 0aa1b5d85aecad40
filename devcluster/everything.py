"""`python -m devcluster.everything`: cluster, images, mirrors and operator, from whatever is there, two things at a time.

Compiling Kubernetes keeps the processors busy for a quarter of an hour on an empty cache; what waits for the network instead
(distribution packages, images, the mirrors' own packages) is fetched meanwhile. All of it is found ready on the next run.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from devcluster import mirrors, packages
from devcluster.images.building import BuildOptions, build
from devcluster.images.definition import IMAGES
from devcluster.progress import STARTED_VARIABLE, say
from devcluster.settings import State, state_from_environment

# Beside the cluster: the demo and the end-to-end tests drive the distribution's Chromium.
BROWSER_PACKAGES = ("chromium", "fonts-dejavu-core")


def main() -> int:
    os.environ.setdefault(STARTED_VARIABLE, str(time.monotonic()))
    state = state_from_environment()
    beside = threading.Thread(target=_prepare, args=(state,), name="prepare")
    beside.start()
    up = _run("devcluster", "up")
    beside.join()
    return up or _run("devcluster.deploy", "up")


def _prepare(state: State) -> None:
    """What needs no cluster. A failure is only told: whoever needs the result tries again, and fails there."""
    _attempt("the browser", lambda: packages.ensure(BROWSER_PACKAGES))
    for image in IMAGES:
        _attempt(f"image {image.name}", lambda image=image: build(image, BuildOptions(), state.logs / "images.log"))  # type: ignore[misc]
    _attempt("package mirrors", mirrors.install)


def _attempt(what: str, work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:
        say(f"{what}: {error} (tried again later)")


def _run(module: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
