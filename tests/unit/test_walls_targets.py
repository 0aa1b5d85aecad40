from ipaddress import ip_address, ip_network

import pytest

from sandbox_operator.model.egress import BLOCKED_V4, BLOCKED_V6, OPEN_V6
from tests.walls import targets

PACKETS = [
    target
    for table in (targets.OUTSIDE, targets.NOWHERE, targets.MAPPED, targets.V6)
    for listed in table.values()
    for target in listed
]


@pytest.mark.parametrize("block", [block for block in BLOCKED_V4 if block != "127.0.0.0/8"])
def test_packets_are_sent_to_every_block_that_no_profile_opens(block: str) -> None:
    """127.0.0.0/8 never leaves a pod; `test_the_app_reaches_no_loopback_but_its_own` asks there."""
    assert any(ip_address(target.host) in ip_network(block) for target in PACKETS)


def test_what_is_asked_of_ipv6_is_open_by_no_rule() -> None:
    hosts = {ip_address(target.host) for listed in (*targets.V6.values(), *targets.MAPPED.values()) for target in listed}
    open_ones = [host for host in hosts if host in ip_network(OPEN_V6)]
    assert all(any(host in ip_network(block) for block in BLOCKED_V6) for host in open_ones)
