"""Serves a folder as a static site: ``static_server.py PORT FOLDER [PAGE]``. It runs in the app container, by that image's own
Python.

Beyond http.server it answers ranges, so that media can be wound, shows the page of a single-page app for a deep
link, lists no folder, and lets nothing be kept by the browser, so that an edit is seen.
"""

from __future__ import annotations

import http.server
import io
import os
import re
import sys
from http import HTTPStatus


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    page = "index.html"
    extensions_map = {  # noqa: RUF012 - the base class's own form
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".webp": "image/webp",
        ".avif": "image/avif",
        ".woff2": "font/woff2",
    }

    def translate_path(self, path: str) -> str:
        """``about`` is also about.html; a path without an ending that is not there is a page of the app in index.html."""
        found = super().translate_path(path if path.partition("?")[0] != "/" else f"/{self.page}")
        if os.path.exists(found):  # noqa: PTH110
            return found
        plain = path.partition("?")[0].partition("#")[0].rstrip("/")
        if os.path.exists(f"{found.rstrip('/')}.html"):  # noqa: PTH110
            return f"{found.rstrip('/')}.html"
        wants_page = "text/html" in self.headers.get("Accept", "") and "." not in plain.rpartition("/")[2]
        return super().translate_path(f"/{self.page}") if wants_page else found

    def list_directory(self, path: str | os.PathLike[str]) -> io.BytesIO | None:
        self.send_error(HTTPStatus.NOT_FOUND, "No index.html here")
        return None

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        path = self.translate_path(self.path)
        if asked is None or asked.groups() == ("", "") or not os.path.isfile(path):  # noqa: PTH113
            super().do_GET()
            return
        with open(path, "rb") as file:  # noqa: PTH123
            size = os.fstat(file.fileno()).st_size
            first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
            last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
            if first > last:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Type", self.guess_type(path))
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            file.seek(first)
            left = last - first + 1
            while left > 0 and (data := file.read(min(left, 65536))):
                self.wfile.write(data)
                left -= len(data)


def main(port: str, folder: str, page: str = "index.html") -> None:
    """``page`` is what the folder begins with."""
    os.chdir(folder)
    Handler.page = page
    http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Handler).serve_forever()  # noqa: S104 - in its pod


if __name__ == "__main__":
    main(*sys.argv[1:4])
