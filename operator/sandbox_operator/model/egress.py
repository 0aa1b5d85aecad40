"""Where a sandbox may connect to, as NetworkPolicy egress rules. Everything not listed is dropped.

``public`` is the whole internet without what is never public: private, shared, loopback, link-local (cloud metadata), benchmark,
multicast and reserved ranges of IPv4, and every IPv6 range that can carry one of them (RFC 6890 and its registries). Only ports
80 and 443. What is public and yet yours (addresses of nodes, load balancers, the API server's endpoint, a NAT64 prefix of your
own) goes into ``blocked`` of the template.

DNS goes to the cluster's DNS pods, or nowhere: a resolver that asks the Internet carries any bytes in the names it is asked, and
NetworkPolicy cannot look into them. So ``none``, which could use no answer, has no DNS, and ``mirror`` has it only where the
template asks for it (``dns: cluster``); else its mirrors are known by address. ``public`` has the Internet anyway.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
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
# Inside it, 2001::/23 (Teredo, benchmark, ORCHID) and 6to4 carry other addresses or are no hosts; two ranges are documentation.
OPEN_V6 = "2000::/3"
BLOCKED_V6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

_DNS = {"mirror": "none", "public": "cluster"}
"""By profile, where the template does not say."""
_DNS_RULE: dict[str, Any] = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}


def has_dns(egress: Egress) -> bool:
    """Whether names can be looked up at all."""
    return egress.profile != "none" and (egress.dns or _DNS[egress.profile]) == "cluster"


def rules(egress: Egress) -> list[dict[str, Any]]:
    """DNS if there is any, then what the profile opens."""
    opened = [_DNS_RULE] if has_dns(egress) else []
    if egress.profile == "mirror":
        opened += [{"to": [{"ipBlock": {"cidr": mirror.cidr}}], "ports": _tcp(mirror.ports)} for mirror in egress.mirrors]
    if egress.profile == "public":
        blocks = [_without("0.0.0.0/0", BLOCKED_V4, egress.blocked), _without(OPEN_V6, BLOCKED_V6, egress.blocked)]
        opened.append({"to": blocks, "ports": _tcp((80, 443))})
    return opened


def _without(cidr: str, always: tuple[str, ...], more: tuple[str, ...]) -> dict[str, Any]:
    """``more`` may name blocks of the other family; the API server refuses exceptions that do not lie within ``cidr``."""
    whole = ip_network(cidr)
    inside = [block for block in more if _lies_in(ip_network(block, strict=False), whole)]
    return {"ipBlock": {"cidr": cidr, "except": [*always, *(block for block in inside if block not in always)]}}


def _lies_in(block: IPv4Network | IPv6Network, whole: IPv4Network | IPv6Network) -> bool:
    return block.version == whole.version and block.prefixlen > whole.prefixlen and block.network_address in whole


def _tcp(ports: tuple[int, ...]) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]
