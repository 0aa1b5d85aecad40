"""`python -m devcluster.deploy up|down|render`."""

import argparse
import sys

from devcluster import mirrors
from devcluster.containerd import ImageImportError
from devcluster.daemons import DaemonError
from devcluster.deploy import manifests
from devcluster.deploy.install import install
from devcluster.deploy.overlay import OverlayError
from devcluster.deploy.remove import remove
from devcluster.deploy.waiting import NotReadyError
from devcluster.images.archive import BadArchiveError
from devcluster.images.building import BuildOptions
from devcluster.images.definition import IMAGES
from devcluster.images.loading import NoClusterError, load_images
from devcluster.images.running import CommandFailedError
from devcluster.images.sbom import UnlockedPackageError
from devcluster.kubectl import KubectlError
from devcluster.mirrors.installing import MirrorError
from devcluster.packages import PackagesMissingError
from devcluster.settings import state_from_environment


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.deploy", description="Install the operator, or remove it without a trace."
    )
    parser.add_argument("command", choices=["up", "down", "render"], help="render prints what up applies")
    command = parser.parse_args().command
    state = state_from_environment()
    if not state.kubeconfig.exists():
        print("devcluster.deploy: no development cluster is up; start one with `make cluster-up`", file=sys.stderr)
        return 1
    try:
        if command == "down":
            remove(state)
        elif command == "render":
            print(manifests.dump(manifests.adapted(state)))
        else:
            load_images(state, IMAGES, BuildOptions())
            if mirrors.possible():
                mirrors.start(state)
            install(state)
    except (
        BadArchiveError,
        CommandFailedError,
        DaemonError,
        ImageImportError,
        KubectlError,
        MirrorError,
        NoClusterError,
        NotReadyError,
        OverlayError,
        PackagesMissingError,
        UnlockedPackageError,
    ) as error:
        print(f"devcluster.deploy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
