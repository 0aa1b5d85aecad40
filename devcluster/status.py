"""`python -m devcluster status`: what runs, what it needs, and what to do next."""

import os
from pathlib import Path

from devcluster import cgroups, daemons, machine_lock
from devcluster.drivers import local
from devcluster.settings import State


def memory(pid: int) -> tuple[int, int]:
    """Resident and unshared (anonymous) memory of a process in bytes; zeros when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    return values.get("VmRSS", 0), values.get("RssAnon", 0)


def report(state: State) -> tuple[list[str], bool]:
    """Lines for a person, and whether a pod could be run now."""
    owner = machine_lock.owner()
    if owner is None:
        return [f"no cluster is up ({state.root}); start one with `make cluster-up`"], False
    if owner != state.root:
        return [f"no cluster of this checkout is up; the one on this machine belongs to {owner}"], False
    lines = [f"{'process':28}{'pid':>8}{'resident':>12}{'unshared':>12}"]
    total = [0, 0]
    for name in daemons.names():
        identity = daemons.running(name)
        if identity is None:
            lines.append(f"{name:28}{'DEAD':>8}   see {daemons.log_path(state, name)}")
            continue
        used = memory(identity.pid)
        total = [total[0] + used[0], total[1] + used[1]]
        lines.append(f"{name:28}{identity.pid:>8}{used[0] / 2**20:>8.0f} MiB{used[1] / 2**20:>8.0f} MiB")
    everything = cgroups.processes()
    rest = sum(memory(pid)[0] for pid in everything) - total[0]
    lines.append(f"{'together':28}{'':>8}{total[0] / 2**20:>8.0f} MiB{total[1] / 2**20:>8.0f} MiB")
    lines.append(f"{'shims and pods':28}{'':>8}{rest / 2**20:>8.0f} MiB   ({len(everything)} processes in all)")
    healthy = local.healthy(state)
    lines.append("the node is Ready" if healthy else "the node is NOT Ready; `make cluster-up` brings it to health")
    kubeconfig = os.path.relpath(state.kubeconfig)
    lines.append(f"kubectl: KUBECONFIG={kubeconfig} {os.path.relpath(state.bin)}/kubectl get pods -A")
    return lines, healthy
