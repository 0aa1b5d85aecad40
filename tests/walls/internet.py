"""Beyond the node: the pretend internet of the local driver, where every address that a sandbox must not reach answers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from devcluster.namespaces import in_internet_argv
from devcluster.settings import FORBIDDEN_ADDRESSES, INTERNET_NETNS, PUBLIC_ADDRESSES, state_from_environment

FORBIDDEN = {
    "cloud metadata": "169.254.169.254",
    "cloud metadata of Alibaba": "100.100.100.200",
    "192.0.0.0/24, and in it cloud metadata of Oracle": "192.0.0.192",
    "link-local 169.254.0.0/16": "169.254.7.7",
    "private 10.0.0.0/8": "10.200.0.9",
    "private 172.16.0.0/12": "172.16.7.7",
    "private 192.168.0.0/16": "192.168.7.7",
    "shared 100.64.0.0/10": "100.64.0.9",
    "this network 0.0.0.0/8": "0.1.2.3",
    "benchmarks 198.18.0.0/15": "198.19.0.9",
    "reserved 240.0.0.0/4": "240.0.0.9",
}
"""Beyond the node: addresses that must never be reached, each in the pretend internet a host that answers."""
FORBIDDEN_V6 = {
    "cloud metadata fd00:ec2::254": "fd00:ec2::254",
    "unique local fc00::/7": "fd12::1",
    "NAT64 64:ff9b::/96 of cloud metadata": "64:ff9b::a9fe:a9fe",
    "6to4 2002::/16 of cloud metadata": "2002:a9fe:a9fe::1",
    "documentation 2001:db8::/32": "2001:db8::1",
}
"""The same of IPv6, in a cluster that has it. By TCP alone."""
UDP_PORT = 53


@contextlib.contextmanager
def answering_internet() -> Iterator[None]:
    """Every forbidden address answers: TCP on 80 and 443 (by the cluster's own server), of IPv4 UDP on 53. Local driver only."""
    # the kernel keeps one local route for an address: taking ours back would take the cluster's own
    routes = [f"{address}/32" for address in FORBIDDEN.values() if address not in FORBIDDEN_ADDRESSES]
    routes += [f"{address}/128" for address in FORBIDDEN_V6.values() if state_from_environment().ipv6]
    for route in routes:
        _ip("route", "replace", "local", route, "dev", "lo")
    # a socket for each address: an answer must come from where the question went
    code = (
        "import select, socket, sys\n"
        "poll, sockets = select.poll(), {}\n"
        "for address in sys.argv[1:]:\n"
        "    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"    one.bind((address, {UDP_PORT}))\n"
        "    sockets[one.fileno()] = one\n"
        "    poll.register(one, select.POLLIN)\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for descriptor, _ in poll.poll():\n"
        "        data, whence = sockets[descriptor].recvfrom(2048)\n"
        "        sockets[descriptor].sendto(data, whence)\n"
    )
    argv = in_internet_argv([sys.executable, "-I", "-S", "-c", code, *FORBIDDEN.values(), *PUBLIC_ADDRESSES])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.terminate()
            for route in routes:
                _ip("route", "del", "local", route, "dev", "lo")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", "-n", INTERNET_NETNS, *arguments], check=True, capture_output=True)
