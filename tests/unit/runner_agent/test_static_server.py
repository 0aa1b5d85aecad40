import http.client
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner_agent.static_server import Handler


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    (tmp_path / "index.html").write_text("<h1>home")
    (tmp_path / "about.html").write_text("<h1>about")
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "v.bin").write_bytes(b"0123456789")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Handler, "log_message", lambda *_: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()
    assert os.fspath(tmp_path)


def get(port: int, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, dict(answer.getheaders())


@pytest.mark.parametrize(
    ("path", "accept", "expected"),
    [
        ("/", "text/html", (200, b"<h1>home")),
        ("/about", "text/html", (200, b"<h1>about")),
        ("/users/7?tab=a", "text/html", (200, b"<h1>home")),
        ("/missing.js", "*/*", (404, None)),
        ("/api/x", "application/json", (404, None)),
        ("/media/", "text/html", (404, None)),
        ("/../../etc/passwd", "*/*", (404, None)),
    ],
)
def test_pages_are_found_and_folders_are_not_listed(
    site: int, path: str, accept: str, expected: tuple[int, bytes | None]
) -> None:
    status, content, _ = get(site, path, Accept=accept)
    assert status == expected[0]
    assert expected[1] is None or content == expected[1]


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=5-99", 206, b"56789"),
        ("bytes=10-", 416, b""),
        ("items=1-2", 200, b"0123456789"),
    ],
)
def test_a_range_is_answered_with_that_part(site: int, asked: str, status: int, content: bytes) -> None:
    got, body, headers = get(site, "/media/v.bin", Range=asked)
    assert (got, body) == (status, content)
    assert headers["Cache-Control"] == "no-cache"
