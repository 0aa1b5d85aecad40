"""Answers in the gateway's own words: a small page for a browser, metav1.Status for everything else. Pure."""

from __future__ import annotations

import json
from http import HTTPStatus

from sandbox_protocol import waiting_page
from sandbox_protocol.errors import StatusError
from sandbox_protocol.http1 import Head, encode_response
from sandbox_protocol.http1_routing import Reply

RELOAD_SECONDS = 2


def answer(request: Head, error: StatusError, title: str, *, reload: bool = False, failed: bool = False) -> Reply:
    """``reload`` makes a browser look again by itself: for what passes without anybody doing something."""
    if b"text/html" in (request.get(b"accept") or b""):
        kind = b"text/html; charset=utf-8"
        seconds = RELOAD_SECONDS if reload else None
        body = waiting_page.Page(title, error.message, seconds, failed, request_id=request.id).html()
    else:
        kind = b"application/json"
        body = json.dumps(error.body()).encode() + b"\n"
    headers = [
        (b"Content-Type", kind),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"Referrer-Policy", b"no-referrer"),
        (b"Content-Security-Policy", waiting_page.CONTENT_SECURITY_POLICY),
    ]
    if reload or error.retry_after is not None:
        headers.append((b"Retry-After", b"%d" % (error.retry_after or RELOAD_SECONDS)))
    head = encode_response(error.code, HTTPStatus(error.code).phrase.encode(), headers)
    return Reply(head if request.method == b"HEAD" else head + body)
