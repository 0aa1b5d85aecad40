"""Packages come through the mirrors, and nothing else does."""

import json
import subprocess
import sys
from typing import Any
from urllib.parse import urljoin

import pytest

from devcluster import mirrors
from devcluster.mirrors.configuration import NPM_PORT, PYPI_PORT, published
from devcluster.namespaces import in_internet_argv, in_node_argv
from devcluster.settings import MACHINE_ADDRESS, MIRROR_ADDRESS

pytestmark = pytest.mark.skipif(not mirrors.possible(), reason="only the local driver runs mirrors")

FETCH = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[2], method=sys.argv[1], data=sys.argv[3].encode() or None)
request.add_header("Content-Type", "application/json")
request.add_header("Accept", sys.argv[4])
try:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        print(answer.status, answer.read().decode("latin-1"))
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode("latin-1"))
"""


def fetch(method: str, url: str, body: str = "", accept: str = "*/*") -> tuple[int, str]:
    """One request from the node's side, which is where pods' requests come from."""
    argv = in_node_argv([sys.executable, "-I", "-S", "-c", FETCH, method, url, body, accept])
    status, _, text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.partition(" ")
    return int(status), text


def test_npm_metadata_points_to_the_mirror_and_its_tarball_is_there() -> None:
    status, text = fetch("GET", f"{published()['npm']}is-odd")
    assert status == 200
    versions: dict[str, Any] = json.loads(text)["versions"]
    tarballs = [version["dist"]["tarball"] for version in versions.values()]
    assert tarballs
    assert [url for url in tarballs if not url.startswith(str(published()["npm"]))] == []
    status, tarball = fetch("GET", tarballs[-1])
    assert (status, tarball[:2]) == (200, "\x1f\x8b"), "gzip"


def test_python_index_points_to_the_mirror_and_its_file_is_there() -> None:
    index = f"{published()['pypi']}idna/"
    status, text = fetch("GET", index, accept="application/vnd.pypi.simple.v1+json")
    assert status == 200
    urls = [urljoin(index, file["url"]) for file in json.loads(text)["files"] if file["filename"].endswith(".whl")]
    assert urls
    assert [url for url in urls if not url.startswith(str(published()["pypi"]))] == []
    status, wheel = fetch("GET", urls[-1])
    assert (status, wheel[:2]) == (200, "PK")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("is-odd", {"name": "is-odd", "versions": {}}),
        ("-/user/org.couchdb.user:eve", {"name": "eve", "password": "long enough to count"}),
    ],
)
def test_nobody_writes_to_the_npm_mirror(path: str, body: dict[str, Any]) -> None:
    status, text = fetch("PUT", f"{published()['npm']}{path}", json.dumps(body))
    assert 400 <= status < 500, text


def test_the_mirrors_listen_on_the_internet_side_only() -> None:
    def listening(argv: list[str]) -> set[str]:
        rows = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        return {row.split()[3] for row in rows}

    ours = {f"{MIRROR_ADDRESS}:{NPM_PORT}", f"{MIRROR_ADDRESS}:{PYPI_PORT}"}
    sockets = ["ss", "-Hltn", f"( sport = :{NPM_PORT} or sport = :{PYPI_PORT} )"]
    assert listening(in_internet_argv(sockets)) == ours
    assert listening(in_node_argv(sockets)) == set()
    assert listening(sockets).isdisjoint(ours | {f"{MACHINE_ADDRESS}:{NPM_PORT}", f"0.0.0.0:{NPM_PORT}", f"*:{NPM_PORT}"})
