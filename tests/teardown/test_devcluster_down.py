"""`down` leaves nothing behind on the machine, whatever ran: compared with what was there before `up`."""

import contextlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from devcluster import cgroups, net
from devcluster.drivers import local
from devcluster.kubectl import kubectl
from devcluster.namespaces import NETNS_FOLDER
from devcluster.settings import CGROUP, INTERNET_NETNS, MOUNT_NAMESPACE, NODE_NETNS, RUN, State, cache_root

NAMESPACE = "devcluster-down"

# Counters and things that change by themselves on any machine.
_VOLATILE = re.compile(
    r"^(fs\.(dentry|inode|file-nr|aio-nr|quota)|kernel\.(random|ns_last_pid|pty\.nr|printk|perf|sched_domain|hung_task)"
    r"|net\.netfilter\.nf_conntrack_count|net\.ipv4\.tcp_(mem|fastopen_key)|vm\.(stat|lowmem)|dev\.|user\.)"
)


def output(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()


def snapshot() -> dict[str, list[str]]:
    """All kinds of things a cluster could leave on a machine."""
    return {
        "mounts": sorted(line for line in mounts() if str(cache_root()) not in line),  # image builds may go on beside
        "links": sorted(re.sub(r"^\d+: ", "", line) for line in output("ip", "-o", "link")),
        "addresses": sorted(re.sub(r"^\d+: ", "", line) for line in output("ip", "-o", "addr")),
        "routes": output("ip", "route", "show", "table", "all"),
        "rules": output("ip", "rule"),
        "network namespaces": output("ip", "netns", "list"),
        "nft": output("nft", "list", "ruleset"),
        "iptables": [re.sub(r"\[\d+:\d+\]", "", x) for x in output("iptables-save") if not x.startswith("#")],
        "loop devices": output("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"),
        "cgroups": sorted(str(p) for h in cgroups.hierarchies() for p in h.rglob(f"*{CGROUP}*") if p.is_dir()),
        "sysctls": [line for line in output("sysctl", "-a") if not _VOLATILE.match(line)],
        "bpf": sorted(str(p) for p in Path("/sys/fs/bpf").glob("*")),
        "folders": [p for p in (*net.PRIVATE_FOLDERS, "/etc/cni", "/opt/cni", "/run/netns", str(RUN)) if Path(p).exists()],
        "run": sorted(str(p) for p in Path("/run").iterdir()),
    }


def mounts() -> list[str]:
    return [line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def namespaces() -> set[int]:
    """Inode numbers of the node's and the internet's network namespace and of the node's mount namespace."""
    files = (NETNS_FOLDER / NODE_NETNS, NETNS_FOLDER / INTERNET_NETNS, MOUNT_NAMESPACE)
    return {file.stat().st_ino for file in files}


def processes_in(inodes: set[int]) -> list[str]:
    """Processes that still are in one of those namespaces, which would keep it alive."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for kind in ("net", "mnt"):
            with contextlib.suppress(OSError):  # it has just ended
                if (process / "ns" / kind).stat().st_ino in inodes:
                    found.append(f"{process.name} {(process / 'comm').read_text().strip()}")
    return found


def test_down_leaves_nothing_behind(state: State) -> None:
    local.down(state)
    before = snapshot()
    assert cgroups.processes() == []
    assert [f"{kind}: {line}" for kind, lines in before.items() for line in lines if "devcluster" in line] == []

    local.up(state)
    kubectl(state, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
    kubectl(state, "create", "namespace", NAMESPACE)
    runtimes = ["runc", *(["runsc"] if (state.bin / "runsc").exists() else [])]
    for runtime in runtimes:
        kubectl(state, "apply", "-f", "-", stdin=pod_with_volume(runtime))
    kubectl(state, "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")

    ours = namespaces()
    assert processes_in(ours)  # so that the check below can fail

    local.down(state)
    assert processes_in(ours) == []
    after = snapshot()
    for kind, lines in before.items():
        assert after[kind] == lines, kind
    assert cgroups.processes() == []


def test_down_twice_is_no_error(state: State) -> None:
    local.down(state)
    local.down(state)


def test_down_works_after_the_state_folder_was_deleted(state: State) -> None:
    root = Path(tempfile.mkdtemp(prefix="devcluster-lost-", dir=state.root.parent))
    lost = State(root)
    local.up(lost, tier="api")
    shutil.rmtree(root)
    local.down(lost)
    assert cgroups.processes() == []
    assert not RUN.exists()


def test_up_afterwards_finds_objects_and_volumes_again(state: State) -> None:
    local.up(state)
    kubectl(state, "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=180s")
    kubectl(state, "delete", "namespace", NAMESPACE, "--timeout=120s")


def pod_with_volume(runtime: str) -> str:
    return f"""\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {runtime}, namespace: {NAMESPACE}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 16Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {runtime}, namespace: {NAMESPACE}}}
spec:
  {"runtimeClassName: gvisor" if runtime == "runsc" else "hostUsers: false"}
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: c, image: "localhost/busybox:dev", imagePullPolicy: Never, command: [sleep, "1000000"],
     volumeMounts: [{{name: disk, mountPath: /data}}]}}
  volumes: [{{name: disk, persistentVolumeClaim: {{claimName: {runtime}}}}}]
"""
