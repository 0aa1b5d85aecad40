"""The page that a browser sees where the app should be. One look for both ends of a preview. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape

PAGE_BYTES = 16 * 1024
"""It comes again every second or two, for as long as an install takes; forty lines of a log are 8 kB."""
CONTENT_SECURITY_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MESSAGE_CHARACTERS = 600

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">{refresh}<title>{title}</title>
<style>
:root{{color-scheme:light dark;--ink:#1a1d24;--soft:#5b6372;--page:#f6f7f9;--card:#fff;--line:#dfe3ea;--mark:{mark}}}
@media (prefers-color-scheme:dark){{:root{{--ink:#e8eaf0;--soft:#a2a9b8;--page:#12141a;--card:#1b1e26;--line:#2d323e}}}}
*{{box-sizing:border-box}}
body{{margin:0;min-height:100vh;min-height:100dvh;display:grid;place-items:center;padding:1rem;
background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
main{{width:min(44rem,100%);background:var(--card);border:1px solid var(--line);border-top:4px solid var(--mark);
border-radius:10px;padding:1.5rem clamp(1rem,4vw,2rem) 1.75rem}}
h1{{font-size:1.25rem;line-height:1.3;margin:0 0 .4rem;display:flex;gap:.6rem;align-items:center}}
p{{margin:0;color:var(--soft);overflow-wrap:anywhere}}
dl{{margin:1rem 0 0;display:grid;grid-template-columns:max-content 1fr;gap:.15rem .9rem;font-size:.9rem}}
dt{{color:var(--soft)}}dd{{margin:0;overflow-wrap:anywhere}}
p.next{{margin-top:.6rem;color:var(--ink)}}
.log{{margin:1rem 0 0;max-height:52vh;overflow:auto;border:1px solid var(--line);border-radius:6px;background:var(--page)}}
.newest{{display:flex;flex-direction:column-reverse}}
pre{{margin:0;padding:.8rem 1rem;font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,monospace;
white-space:pre-wrap;overflow-wrap:anywhere}}
.turn{{flex:none;width:1rem;height:1rem;border-radius:50%;border:2px solid var(--line);border-top-color:var(--mark);
animation:turn 1s linear infinite}}@keyframes turn{{to{{transform:rotate(1turn)}}}}
@media (prefers-reduced-motion:reduce){{.turn{{animation:none}}}}
small{{display:block;margin-top:1rem;color:var(--soft);font-size:.8rem}}
</style></head><body><main role="status"><h1>{turn}{title}</h1><p>{message}</p>{next}{facts}{lines}{note}</main></body></html>
"""
_BUSY, _BAD, _STILL = "#3b82f6", "#dc2626", "#8b93a3"


@dataclass(frozen=True, slots=True)
class Page:
    """With ``reload_seconds`` the browser looks again by itself; ``failed`` says that this alone will not help, and ``next_step``
    what will. Of ``lines`` the newest is in view, or with ``from_top`` the first, which tells what went wrong."""

    title: str
    message: str
    reload_seconds: int | None = None
    failed: bool = False
    facts: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()
    request_id: bytes = b""
    next_step: str = ""
    from_top: bool = False

    def html(self) -> bytes:
        """At most about PAGE_BYTES: the lines that are out of view give way."""
        made = self._html()
        if len(made) <= PAGE_BYTES or not self.lines:
            return made
        return replace(self, lines=self.lines[:-1] if self.from_top else self.lines[1:]).html()

    def _html(self) -> bytes:
        waits = self.reload_seconds is not None
        told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in self.facts)
        notes = ["This page looks again by itself."] if waits else []
        notes += [f"Request {escape(self.request_id.decode('latin-1'))}"] if self.request_id else []
        box = "log" if self.from_top else "log newest"  # bottom to top begins at its end without a script
        return _PAGE.format(
            title=escape(self.title),
            message=escape(self.message[:_MESSAGE_CHARACTERS]),
            next=f'<p class="next">{escape(self.next_step[:_MESSAGE_CHARACTERS])}</p>' if self.next_step else "",
            refresh=f'<meta http-equiv="refresh" content="{self.reload_seconds}">' if waits else "",
            mark=_BAD if self.failed else _BUSY if waits else _STILL,
            turn='<span class="turn" aria-hidden="true"></span>' if waits and not self.failed else "",
            facts=f"<dl>{told}</dl>" if told else "",
            lines=f'<div class="{box}"><pre>{escape(chr(10).join(self.lines))}</pre></div>' if self.lines else "",
            note=f"<small>{' · '.join(notes)}</small>" if notes else "",
        ).encode("utf-8", "backslashreplace")  # half a character, which JSON can name, is spelt out
