"""Where a sandbox may connect to, as NetworkPolicy egress rules. Everything not listed is dropped.

``public`` is the whole internet without what is never public: private, shared, loopback, link-local (cloud metadata), benchmark,
multicast and reserved ranges of IPv4, and every IPv6 range that can carry one of them (RFC 6890 and its registries). Only ports
80 and 443. A cluster whose nodes or Services have public addresses needs a template with its own policy.
"""

from __future__ import annotations

from typing import Any

from sandbox_operator.model.template import Egress

BLOCKED_V4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
# Only global unicast 2000::/3 is opened: that alone leaves out loopback, mapped, NAT64, unique local, link-local and multicast.
# Inside it, Teredo and 6to4 carry IPv4 addresses, 2001:db8::/32 is documentation.
OPEN_V6 = "2000::/3"
BLOCKED_V6 = ("2001::/32", "2001:db8::/32", "2002::/16")

_DNS_RULE: dict[str, Any] = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}


def rules(egress: Egress) -> list[dict[str, Any]]:
    """DNS by the cluster's DNS pods always, then what the profile opens."""
    if egress.profile == "mirror":
        return [
            _DNS_RULE,
            *({"to": [{"ipBlock": {"cidr": mirror.cidr}}], "ports": _tcp(mirror.ports)} for mirror in egress.mirrors),
        ]
    if egress.profile == "public":
        blocks = [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(BLOCKED_V4)}},
            {"ipBlock": {"cidr": OPEN_V6, "except": list(BLOCKED_V6)}},
        ]
        return [_DNS_RULE, {"to": blocks, "ports": _tcp((80, 443))}]
    return [_DNS_RULE]


def _tcp(ports: tuple[int, ...]) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]
