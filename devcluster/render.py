"""Configuration files from the templates in `etc/` (`string.Template`: $name)."""

from pathlib import Path
from string import Template

from devcluster.settings import CGROUP, CONTAINERD_SOCKET, DNS_ADDRESS, NODE, NODE_ADDRESS, RUN, State

TEMPLATES = Path(__file__).with_name("etc")
MANIFESTS = Path(__file__).with_name("manifests")


def render_all(state: State) -> None:
    """Write every template to `state.config`. A file that comes out the same is left alone: kube-proxy ends itself when its
    configuration is rewritten, even with the same content."""
    values = {
        "state": state.root,
        "bin": state.bin,
        "pki": state.pki,
        "logs": state.logs,
        "config": state.config,
        "run": RUN,
        "containerd_socket": CONTAINERD_SOCKET,
        "cgroup": CGROUP,
        "node": NODE,
        "node_address": NODE_ADDRESS,
        "dns_address": DNS_ADDRESS,
        "pod_cidrs": ",".join(state.pod_cidrs),
    }
    state.config.mkdir(parents=True, exist_ok=True)
    for template in TEMPLATES.iterdir():
        text = Template(template.read_text()).substitute(values)
        target = state.config / template.name
        if not target.exists() or target.read_text() != text:
            part = target.with_name(target.name + ".part")
            part.write_text(text)
            part.rename(target)
