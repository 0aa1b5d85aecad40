"""Configuration files: nothing left to fill in, and an unchanged one is not touched."""

from pathlib import Path

import yaml

from devcluster.render import MANIFESTS, TEMPLATES, render_all
from devcluster.settings import MIRROR_ADDRESS, NODE_ADDRESS, NODE_ADDRESS6, POD_CIDR, POD_CIDR6, PUBLIC_ADDRESSES, State


def test_every_template_is_filled_in_and_parses(tmp_path: Path) -> None:
    state = State(tmp_path)
    render_all(state)
    assert {p.name for p in state.config.iterdir()} == {p.name for p in TEMPLATES.iterdir()}
    for file in state.config.iterdir():
        assert "$" not in file.read_text(), file.name
    kubelet = yaml.safe_load((state.config / "kubelet.yaml").read_text())
    assert kubelet["podLogsDir"] == f"{tmp_path}/podlogs"
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}


def test_an_unchanged_file_keeps_its_inode(tmp_path: Path) -> None:
    state = State(tmp_path)
    render_all(state)
    before = {p.name: p.stat().st_ino for p in state.config.iterdir()}
    render_all(state)
    assert {p.name: p.stat().st_ino for p in state.config.iterdir()} == before


def test_a_cluster_made_with_ipv6_says_so_to_its_parts(tmp_path: Path) -> None:
    state = State(tmp_path)
    render_all(state)
    proxy = state.config / "kube-proxy.yaml"
    assert yaml.safe_load(proxy.read_text())["clusterCIDR"] == POD_CIDR
    state.ipv6_mark.touch()
    render_all(state)
    assert yaml.safe_load(proxy.read_text())["clusterCIDR"] == f"{POD_CIDR},{POD_CIDR6}"
    assert state.node_addresses == (NODE_ADDRESS, NODE_ADDRESS6)


def test_cluster_dns_names_the_addresses_of_the_pretend_internet() -> None:
    objects = list(yaml.safe_load_all((MANIFESTS / "coredns.yaml").read_text()))
    (corefile,) = [o["data"]["Corefile"] for o in objects if o["kind"] == "ConfigMap"]
    assert f'A mirror.devcluster.test {{\n    answer "{{{{ .Name }}}} 5 IN A {MIRROR_ADDRESS}"' in corefile
    assert PUBLIC_ADDRESSES[0] in corefile
    assert "forward" not in corefile  # no upstream: a pod cannot smuggle data out by looking names up
