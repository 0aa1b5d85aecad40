"""Answers in the gateway's own words: a small page for a browser, metav1.Status for everything else. Pure."""

from __future__ import annotations

import html
import json
from http import HTTPStatus

from sandbox_protocol.errors import StatusError
from sandbox_protocol.http1 import Head, encode_response
from sandbox_protocol.http1_proxy import Reply

RELOAD_SECONDS = 2

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>{reload}
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0 }}
main {{ max-width: 34rem; padding: 2rem }} h1 {{ font-size: 1.3rem; margin: 0 0 .5rem }} p {{ margin: 0; opacity: .8 }}
</style></head><body><main><h1>{title}</h1><p>{message}</p></main></body></html>
"""


def answer(request: Head, error: StatusError, title: str, *, reload: bool = False) -> Reply:
    """``reload`` makes a browser look again by itself: for what passes without anybody doing something."""
    if b"text/html" in (request.get(b"accept") or b""):
        kind = b"text/html; charset=utf-8"
        refresh = f'<meta http-equiv="refresh" content="{RELOAD_SECONDS}">' if reload else ""
        body = _PAGE.format(title=html.escape(title), message=html.escape(error.message), reload=refresh).encode()
    else:
        kind = b"application/json"
        body = json.dumps(error.body()).encode() + b"\n"
    headers = [
        (b"Content-Type", kind),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"Referrer-Policy", b"no-referrer"),
        (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    ]
    if reload:
        headers.append((b"Retry-After", b"%d" % RELOAD_SECONDS))
    head = encode_response(error.code, HTTPStatus(error.code).phrase.encode(), headers)
    return Reply(head if request.method == b"HEAD" else head + body)
