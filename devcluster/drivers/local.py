"""A Kubernetes of plain processes in namespaces of their own: Linux, root, nothing installed beforehand but Go."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from devcluster import (
    addons,
    builds,
    cgroups,
    cilium,
    control_plane,
    daemons,
    machine_lock,
    net,
    node,
    packages,
    pki,
    programs,
    render,
    sysctls,
)
from devcluster.daemons import Daemon
from devcluster.kubectl import succeeds
from devcluster.mirrors import serving
from devcluster.progress import step
from devcluster.settings import NODE, REPOSITORY, RUN, State

TIERS = ("api", "node")


class NotPossibleError(Exception):
    """This machine cannot run the local driver; the message says why."""


def up(state: State, tier: str = "node", extras: Sequence[str] = ()) -> None:
    """Bring the cluster to health from whatever state it is in: absent, half made, running, or with anything of it killed.

    `tier` api stops after the control plane; `extras` may name `gvisor`, and `ipv6` for a new cluster. A higher tier that runs
    already is never lowered.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NotPossibleError("the local driver makes network and mount namespaces: it needs Linux and root")
    state.root.mkdir(parents=True, exist_ok=True)
    if (kind := _file_system(state)) in ("tmpfs", "overlayfs", "ramfs"):
        raise NotPossibleError(f"{state.root} is on {kind}: containerd needs a disk, set DEVCLUSTER_STATE")
    if "ipv6" in extras and not state.ipv6:
        if (state.root / "etcd").exists():
            raise NotPossibleError(
                "a node keeps the addresses it was made with: take the cluster `down --wipe` before `--with ipv6`"
            )
        state.ipv6_mark.touch()
    wanted = [*(programs.API_PROGRAMS if tier == "api" else programs.NODE_PROGRAMS)]
    wanted += programs.GVISOR_PROGRAMS if "gvisor" in extras else ()
    with ThreadPoolExecutor(1) as beside:  # only what is built with cgo needs a distribution package
        installed = beside.submit(packages.ensure, programs.DEBIAN_API if tier == "api" else programs.DEBIAN_NODE)
        builds.ensure(state, [program for program in wanted if not program.module.cgo])
        installed.result()
    builds.ensure(state, wanted)
    with machine_lock.exclusive():
        machine_lock.claim(state)
        if not net.complete():
            _clear()
            machine_lock.claim(state)
            with step("network namespaces"):
                net.up(state.ipv6)
        pki.ensure(state)
        render.render_all(state)
        with step("API server ready"):
            control_plane.start(state)
        if tier == "api":
            return
        with step("containerd, volumes, kubelet, kube-proxy"):
            control_plane.start_scheduler(state)
            node.start(state)
        with step("Cilium ready, node Ready"):
            cilium.start(state)
        with step("cluster DNS, pretend internet, preview address"):
            daemons.ensure(state, _forward())
            addons.start(state)
        if serving.read_published(state) is not None:  # they were started once, so they are meant to run
            serving.start(state)


def down(state: State, wipe: bool = False) -> None:
    """Leave nothing behind on the machine: processes, mounts, links, namespaces, cgroups, kernel settings.

    The state folder keeps objects, images and volumes for the next `up`, unless `wipe`.
    """
    with machine_lock.exclusive():
        machine_lock.claim(state)
        with step("cluster down"):
            _clear()
    if wipe:
        for path in state.root.glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def healthy(state: State) -> bool:
    """Whether a pod could be run now."""
    return net.complete() and succeeds(state, "wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=2s")


def _clear() -> None:
    # The kubelet first, or it would start anew what is killed after it; etcd last, so that the API server ends in peace.
    daemons.stop(["kubelet"])
    daemons.stop(name for name in daemons.names() if name not in ("etcd", "containerd"))
    daemons.stop(["etcd", "containerd"])
    cgroups.kill_all()
    net.down()
    cgroups.remove_all()
    sysctls.restore()
    shutil.rmtree(RUN, ignore_errors=True)


def _file_system(state: State) -> str:
    return subprocess.run(["stat", "-f", "-c", "%T", state.root], capture_output=True, text=True, check=True).stdout.strip()


def _forward() -> Daemon:
    program = [sys.executable, "-m", "devcluster.forward"]
    sources = [REPOSITORY / "devcluster" / name for name in ("forward.py", "settings.py", "namespaces.py")]
    return Daemon("preview-forward", program, config=sources, environment={"PYTHONPATH": str(REPOSITORY)})
