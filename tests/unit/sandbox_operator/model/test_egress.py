from __future__ import annotations

import ipaddress

import pytest

from sandbox_operator.model import egress
from sandbox_operator.model.template import Egress, Mirror


def allows(profile: Egress, address: str, port: int) -> bool:
    """What a NetworkPolicy means, for addresses outside the cluster."""
    target = ipaddress.ip_address(address)
    for rule in egress.rules(profile):
        if not any(entry["protocol"] == "TCP" and entry["port"] == port for entry in rule["ports"]):
            continue
        for peer in rule["to"]:
            block = peer.get("ipBlock")
            if block is None:
                continue
            inside = target in ipaddress.ip_network(block["cidr"])
            if inside and not any(target in ipaddress.ip_network(cut) for cut in block.get("except", ())):
                return True
    return False


@pytest.mark.parametrize("address", ["8.8.8.8", "203.0.113.10", "2600::1"])
def test_public_opens_the_internet_on_two_ports(address: str) -> None:
    public = Egress(profile="public")
    assert allows(public, address, 443)
    assert allows(public, address, 80)
    assert not allows(public, address, 22)


@pytest.mark.parametrize(
    "address",
    ["10.96.0.1",
     "169.254.169.254", "100.64.0.9", "192.168.7.7", "172.31.0.1", "127.0.0.1", "0.0.0.0", "198.18.0.1", "192.0.0.192",
     "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "ff02::1",
     "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "2001:2::1", "3fff::1", "100::1"],
)  # fmt: skip
def test_public_keeps_everything_private_shut(address: str) -> None:
    assert not allows(Egress(profile="public"), address, 443)


def test_a_mirror_opens_its_ports_and_nothing_else() -> None:
    mirror = Egress(profile="mirror", mirrors=(Mirror(cidr="203.0.113.20/32", ports=(4873,)),))
    assert allows(mirror, "203.0.113.20", 4873)
    assert not allows(mirror, "203.0.113.20", 443)
    assert not allows(mirror, "203.0.113.21", 4873)


DNS_PODS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
}


def test_none_opens_nothing_and_has_no_dns() -> None:
    assert egress.rules(Egress()) == []
    assert not egress.has_dns(Egress(dns="cluster"))


def test_dns_goes_to_the_dns_pods_alone() -> None:
    rule, _ = egress.rules(Egress(profile="public"))
    assert rule["to"] == [DNS_PODS]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {("UDP", 53), ("TCP", 53)}


def test_a_mirror_has_dns_only_where_the_template_asks_for_it() -> None:
    mirrors = (Mirror(cidr="203.0.113.20/32", ports=(4873,)),)
    mirror = Egress(profile="mirror", mirrors=mirrors)
    assert [rule["to"] for rule in egress.rules(mirror)] == [[{"ipBlock": {"cidr": "203.0.113.20/32"}}]]
    assert not egress.has_dns(mirror)
    assert egress.has_dns(Egress(profile="mirror", mirrors=mirrors, dns="cluster"))
    assert not egress.has_dns(Egress(profile="public", dns="none"))


def test_a_template_blocks_what_is_public_and_yet_its_own() -> None:
    own = Egress(profile="public", blocked=("198.51.100.0/24", "2600:db8::/96", "10.0.0.0/8", "fd00::/8"))
    assert not allows(own, "198.51.100.7", 443)
    assert not allows(own, "2600:db8::a00:1", 443)
    assert allows(own, "198.51.101.7", 443)
    four, six = (peer["ipBlock"]["except"] for peer in egress.rules(own)[-1]["to"])
    assert (four[-1], six[-1]) == ("198.51.100.0/24", "2600:db8::/96"), "no block of the other family, none twice"
