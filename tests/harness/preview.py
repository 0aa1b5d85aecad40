"""A preview as an HTTP client meets it that does what a browser does: the token once, then the cookie."""

from __future__ import annotations

import aiohttp
from yarl import URL


class Visitor:
    """``headers`` go with every request to ``origin``; after :meth:`enter` they carry the session.

    ``*.localhost`` is this machine for every browser, not for every resolver: the address is 127.0.0.1, the name goes in Host.
    """

    def __init__(self, signed: str) -> None:
        url = URL(signed, encoded=True)
        self._signed = url.with_host("127.0.0.1")
        self.origin = self._signed.origin()
        self.headers = {"Host": f"{url.host}:{url.port}"}

    async def enter(self, http: aiohttp.ClientSession) -> tuple[aiohttp.ClientResponse, bytes]:
        """The answer to the signed URL and its body: a 302 when it was taken, and whatever refuses it otherwise."""
        async with http.get(self._signed, headers={**self.headers, "Accept": "text/html"}, allow_redirects=False) as answer:
            body = await answer.read()
        if answer.status == 302:
            self.headers["Cookie"] = answer.headers["Set-Cookie"].partition(";")[0]
        return answer, body


def browserlike() -> aiohttp.ClientSession:
    """Without a cookie jar: the Host that it would go by is not in our URLs. And without a limit of connections."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0))
