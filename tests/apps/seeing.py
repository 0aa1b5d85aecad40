"""What a person sees in an open page: text of all frames and shadow roots, and whether it is our own page in red."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from playwright.async_api import Error as BrowserError
from playwright.async_api import Frame, Page

# A look costs a millisecond or two of each program that takes part; an edit's time is read with this error.
_LOOK_SECONDS = 0.03
# A frame whose document never comes does not answer either.
_FRAME_SECONDS = 3.0

_TEXT = """() => {
  const below = root => [...root.querySelectorAll('*')].filter(item => item.shadowRoot).map(item =>
    [...item.shadowRoot.children].map(child => child.innerText ?? '').join('\\n') + below(item.shadowRoot)).join('\\n')
  return (document.body?.innerText ?? '') + '\\n' + below(document)
}"""
_OURS = """() => {
  const card = document.querySelector('body > main[role=status]')
  return card === null ? '' : getComputedStyle(card).borderTopColor
}"""
_SENTENCE = (
    """() => ['h1', 'p'].map(part => document.querySelector(`body > main[role=status] ${part}`)?.innerText ?? '').join(': ')"""
)
_RED = "rgb(220, 38, 38)"


async def text(page: Page) -> str:
    """Of all frames; what is just being loaded has none."""
    return "\n".join([await _of(frame, _TEXT) for frame in page.frames])


async def shown(page: Page) -> str:
    """The text for a person who asks what is there: a page that is just coming is waited for, but not long."""
    await until(page, lambda found: bool(found.strip()), _FRAME_SECONDS)
    return await text(page)


async def ours(page: Page) -> str:
    """Empty when the app's own page is open, else `red` or `waiting`."""
    colour = await _of(page.main_frame, _OURS)
    return "" if not colour else "red" if colour == _RED else "waiting"


async def sentence(page: Page) -> str:
    """Title and message of our own page."""
    return await _of(page.main_frame, _SENTENCE)


async def until(page: Page, wanted: Callable[[str], bool], seconds: float) -> float | None:
    """Seconds until the text of the page is ``wanted``; None when it was not within ``seconds``."""
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < seconds:
        if wanted(await text(page)):
            return time.monotonic() - begin
        await asyncio.sleep(_LOOK_SECONDS if passed < 5 else 0.2)
    return None


async def evaluated(page: Page, script: str, wanted: str, seconds: float) -> str:
    """What ``script`` evaluates to, once ``wanted`` is in it, or after ``seconds``: a page's text is there before its style."""
    end = time.monotonic() + seconds
    while True:
        found = await _of(page.main_frame, script)
        if wanted in found or time.monotonic() >= end:
            return found
        await asyncio.sleep(_LOOK_SECONDS)


async def again(page: Page, url: str = "", seconds: float = 20.0) -> None:
    """F5, or a navigation to ``url``. A page that never comes is what the caller sees then."""
    with contextlib.suppress(BrowserError):
        await page.goto(url or page.url, wait_until="commit", timeout=seconds * 1000)


async def _of(frame: Frame, script: str) -> str:
    try:
        async with asyncio.timeout(_FRAME_SECONDS):
            return str(await frame.evaluate(script))
    except (BrowserError, TimeoutError):  # between two documents
        return ""
