"""Paths, headers and bytes that mean something else behind us than before us: another runner, another port, another head."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import pytest
from yarl import URL

from sandbox_client import blocking
from sandbox_client.api import Api, Request, path
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness.cluster import Cluster, verb_rule
from tests.harness.fixtures import RunnerFactory, UserFactory
from tests.harness.preview import Visitor, browserlike
from tests.walls.frame import Outcome, Walls, stopped, through

VICTIMS = "the victim's own"
ECHO = r"""
import json, os, socket, threading

def answer(one, port):
    one.settimeout(5)
    head = b""
    try:
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            if not (more := one.recv(65536)):
                break
            head += more
        body = json.dumps({"port": port, "head": head.decode("latin-1")}).encode()
        one.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        one.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        one.close()
    except OSError:
        pass

def serve(port):
    door = socket.create_server(("127.0.0.1", port))
    while True:
        threading.Thread(target=answer, args=(door.accept()[0], port), daemon=True).start()

threading.Thread(target=serve, args=(3001,), daemon=True).start()
serve(int(os.environ["PORT"]))
"""
"""Answers with what arrived, byte for byte, on its own port and on one that nobody declared."""

# In the pod: bytes to a port, and what comes back.
SEND = """
import socket, sys
one = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
one.sendall(bytes.fromhex(sys.argv[2]))
answer = b""
while more := one.recv(65536):
    answer += more
print(answer.decode("latin-1"))
"""


@pytest.fixture(scope="module")
def mine(make_runner: RunnerFactory) -> blocking.Sandbox:
    sandbox = make_runner("mine", {"command": ["python3", "-u", "echo.py"]})
    sandbox.sync({"echo.py": ECHO})
    sandbox.wait_app()
    return sandbox


@pytest.fixture(scope="module")
def victim(make_runner: RunnerFactory) -> blocking.Sandbox:
    sandbox = make_runner("victim")
    sandbox.sync({"words.txt": VICTIMS})
    sandbox.wait_app()
    return sandbox


@pytest.fixture(scope="module")
def attacker(user: UserFactory, mine: blocking.Sandbox) -> Connection:
    """With rights to one runner."""
    own = [mine.name]
    return user([{**verb_rule("proxy", "get"), "resourceNames": own}, {**verb_rule("status", "get"), "resourceNames": own}])


def get(connection: Connection, url_path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    async def ask() -> tuple[int, str]:
        async with Api(connection) as api:
            answer = await api.exchange(Request("GET", url_path, headers=headers or {}))
            try:
                return answer.status, await answer.text()
            finally:
                answer.release()

    return asyncio.run(ask())


def runners(namespace: str) -> str:
    return path("apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", namespace, names.PLURAL)


# {mine} and {victim} are names, {address} the address of the victim's preview Service
TO_THE_VICTIM = {
    "dot segments": "{mine}/proxy/../../{victim}/proxy/words.txt",
    "dot segments, escaped": "{mine}/proxy/%2e%2e/%2e%2e/{victim}/proxy/words.txt",
    "dot segments and slashes, escaped": "{mine}/proxy/..%2f..%2f{victim}%2fproxy%2fwords.txt",
    "a name with escaped slashes": "{mine}%2fproxy%2f..%2f..%2f{victim}/proxy/words.txt",
    "a name with an escaped end": "{victim}%2fproxy%2fwords.txt%3f/proxy/",
    "an address instead of a path": "{mine}/proxy//{address}:7080/words.txt",
    "a whole URL instead of a path": "{mine}/proxy/http://{address}:7080/words.txt",
    "an at sign before an address": "{mine}/proxy/@{address}:7080/words.txt",
    "a backslash before an address": "{mine}/proxy/%5c%5c{address}:7080/words.txt",
}


@pytest.mark.parametrize("attack", TO_THE_VICTIM)
def test_no_path_leads_to_another_runner(
    walls: Walls, cluster: Cluster, client: blocking.Client, attacker: Connection, attack: str
) -> None:
    mine, victim = client.sandbox("mine"), client.sandbox("victim")
    namespace = cluster.refs(victim).namespace
    address = cluster.get("service", names.PREVIEW_SERVICE, f"--namespace={namespace}")["spec"]["clusterIP"]

    def read(connection: Connection, below: str) -> Outcome:
        code, text = get(connection, f"{runners(victim.namespace)}/{below}")
        if VICTIMS in text:
            return through("the victim's file")
        return stopped("its own app answers" if code == 200 and '"head"' in text else str(code))

    walls.refuse(
        f"a path of one's own runner with {attack}",
        wall="paths by segment",
        inside=lambda: read(attacker, TO_THE_VICTIM[attack].format(mine=mine.name, victim=victim.name, address=address)),
        outside=lambda: read(cluster.admin, f"{victim.name}/proxy/words.txt"),
    )


@pytest.fixture(scope="module", autouse=True)
def both(mine: blocking.Sandbox, victim: blocking.Sandbox) -> None:
    """Each test needs the two."""


def in_the_pod(cluster: Cluster, sandbox: blocking.Sandbox, port: int, sent: bytes) -> str:
    return cluster.exec(sandbox, "python3", "-c", SEND, str(port), sent.hex())


def visited(sandbox: blocking.Sandbox, target: str, headers: Mapping[str, str]) -> str:
    """What the app answers to a session of the preview."""

    async def visit() -> str:
        visitor = Visitor(sandbox.preview().url)
        async with browserlike() as http:
            await visitor.enter(http)
            url = URL(f"{visitor.origin}{target}", encoded=True)
            async with http.get(url, headers={**visitor.headers, **headers}) as answer:
                return await answer.text()

    return asyncio.run(visit())


Ask = Callable[[str, str, Mapping[str, str]], str]
"""Way (proxy or preview), target, headers: what the app answers."""


@pytest.fixture(scope="module")
def ask(attacker: Connection, mine: blocking.Sandbox) -> Ask:
    def by(way: str, target: str, headers: Mapping[str, str]) -> str:
        if way == "preview":
            return visited(mine, target, headers)
        return get(attacker, f"{runners(mine.namespace)}/{mine.name}/proxy{target}", headers)[1]

    return by


# the last one is the agent's own, which takes orders
OTHER_PORTS = {"an app's port that is not its preview's": 3001, "the agent's control port": names.CONTROL_PORT}


@pytest.fixture(scope="module")
def chosen(cluster: Cluster, mine: blocking.Sandbox) -> Outcome:
    """Who speaks to the agent's preview port itself chooses the port."""
    asked = b"GET / HTTP/1.1\r\nHost: a\r\nX-Sandbox-Port: 3001\r\nConnection: close\r\n\r\n"
    answer = in_the_pod(cluster, mine, names.PREVIEW_PORT, asked)
    return through("port 3001") if '"port": 3001' in answer else stopped("another port")


@pytest.mark.parametrize("way", ["proxy", "preview"])
@pytest.mark.parametrize("port", OTHER_PORTS)
def test_no_header_chooses_another_port(walls: Walls, ask: Ask, chosen: Outcome, way: str, port: str) -> None:
    header = {"X-Sandbox-Port": str(OTHER_PORTS[port])}

    def inside() -> Outcome:
        answered = json.loads(ask(way, "/v1/status", header)).get("port")
        return stopped("the app's own port answers") if answered == 3000 else through(f"port {answered}")

    walls.refuse(f"X-Sandbox-Port by {way}: {port}", wall="headers of ours are ours", inside=inside, outside=lambda: chosen)


def test_a_preview_of_the_agents_own_port_is_not_made(walls: Walls, mine: blocking.Sandbox) -> None:
    def made(port: int) -> Outcome:
        try:
            mine.preview(port=port)
        except Exception as error:
            return stopped(str(getattr(error, "code", type(error).__name__)))
        return through("a signed URL")

    walls.refuse("a preview of port 7070", wall="API server", inside=lambda: made(names.CONTROL_PORT), outside=lambda: made(3001))


PRETENDED = {
    "X-Remote-User": "pretended-user",
    "X-Remote-Group": "pretended-group",
    "X-Remote-Extra-Scopes": "pretended-scope",
    "X-Sandbox-Port": "3000",
    "X-Forwarded-User": "pretended-forwarded",
    "X-Forwarded-For": "pretended-address",
    "Forwarded": "for=pretended-hop",
    "Cookie": "pretended=cookie",
}
"""What an app could believe of the API server's own headers; and a cookie, which would be that origin's."""


def test_the_app_is_told_no_user_by_the_proxy(
    walls: Walls, cluster: Cluster, attacker: Connection, mine: blocking.Sandbox
) -> None:
    sent = {**PRETENDED, "X-Kept": "kept"}

    def inside() -> Outcome:
        code, text = get(attacker, f"{runners(mine.namespace)}/{mine.name}/proxy/", sent)
        assert code == 200
        assert "kept" in text
        token = attacker.token or ""
        arrived = [word for word in ("pretended", token, "Bearer") if word in text]
        return through("some of them") if arrived else stopped("dropped, and the caller's token too")

    def outside() -> Outcome:
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        text = in_the_pod(cluster, mine, 3000, f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
        return through("all of them") if text.count("pretended") >= len(PRETENDED) - 1 else stopped("some are gone")

    walls.refuse(
        "X-Remote-*, X-Forwarded-*, Forwarded and cookies by proxy, for the app to believe in",
        wall="proxy",
        inside=inside,
        outside=outside,
    )


@pytest.mark.parametrize("way", ["proxy", "preview"])
def test_an_escaped_line_end_makes_no_header(walls: Walls, ask: Ask, way: str) -> None:
    target = "/a%0d%0aX-Injected:%20yes%0d%0a?b=%0d%0aX-Injected:%20yes%0a%0d%0a"

    def inside() -> Outcome:
        lines = json.loads(ask(way, target, {}))["head"].replace("\r", "\n").split("\n")
        assert lines[0].lower().count("%0d%0a") == target.count("%0d%0a")
        return (
            through("a header") if any(line.lower().startswith("x-injected") for line in lines) else stopped("it stays escaped")
        )

    walls.refuse(
        f"line ends, escaped, in path and query by {way}",
        wall="paths as they were sent",
        inside=inside,
        outside="a proxy that unescapes a path before it sends it on",
    )


# %s are the lines Host and Cookie
AMBIGUOUS = {
    "two lengths": b"POST / HTTP/1.1\r\n%s\r\n%s\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "a length and chunks": b"POST / HTTP/1.1\r\n%s\r\n%s\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "line ends without a return": b"GET / HTTP/1.1\n%s\n%s\n\n\r\n\r\n",
    "a space before a colon": b"GET / HTTP/1.1\r\n%s\r\n%s\r\nX-Injected : yes\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\n%s\r\n%s\r\n X-Injected: yes\r\n\r\n",
    "a return inside a value": b"GET / HTTP/1.1\r\n%s\r\n%s\r\nX-A: b\rX-Injected: yes\r\n\r\n",
    "a zero byte inside a value": b"GET / HTTP/1.1\r\n%s\r\n%s\r\nX-A: b\0c\r\n\r\n",
    "a whole URL as its target": b"GET http://other/ HTTP/1.1\r\n%s\r\n%s\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n%s\r\n%s\r\nHost: other\r\n\r\n",
}


@pytest.mark.parametrize("attack", AMBIGUOUS)
def test_what_can_be_read_two_ways_reaches_no_app(walls: Walls, cluster: Cluster, mine: blocking.Sandbox, attack: str) -> None:
    def through_the_gateway() -> Outcome:
        visitor = Visitor(mine.preview().url)

        async def enter() -> None:
            async with browserlike() as http:
                await visitor.enter(http)

        asyncio.run(enter())
        sent = AMBIGUOUS[attack] % tuple(f"{name}: {visitor.headers[name]}".encode() for name in ("Host", "Cookie"))
        origin = urlsplit(str(visitor.origin))
        with socket.create_connection((origin.hostname or "", origin.port or 80), 10) as one:
            one.sendall(sent)
            first = one.makefile("rb").readline().split()
        code = first[1].decode() if first else "closed"
        return through("200") if code == "200" else stopped(code)

    def outside() -> Outcome:
        answer = in_the_pod(cluster, mine, 3000, AMBIGUOUS[attack] % (b"Host: a", b"Cookie: a=b"))
        return through("200") if answer.startswith("HTTP/1.1 200") else stopped(answer[:20])

    walls.refuse(f"a request with {attack} by the gateway", wall="strict parser", inside=through_the_gateway, outside=outside)
