"""Folders of finished pages, served as they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from runner_agent.detect import packages
from runner_agent.detect.node import path_line
from runner_agent.detect.plan import Plan, variables
from runner_agent.detect.reading import Reader

BESIDE = ("public", "src", "www", "site", "html", "htdocs", "web", "static", "dist", "build", "out", "_site", "docs")
"""Folders whose pages a project may show, what people write before what a build left behind."""
_SERVER = "/opt/sandbox/static_server.py"
_SERVE = (
    f'if [ -e {_SERVER} ] && command -v python3 >/dev/null; then exec python3 {_SERVER} "$0" "$1" "$2"; fi; '
    'command -v python3 >/dev/null && exec python3 -m http.server "$0" --bind 0.0.0.0 --directory "$1"; '
    'command -v npx >/dev/null && exec npx --yes serve -l "$0" "$1"; '
    'echo "this image has neither python3 nor npx to serve a folder with: choose another image, or a command" >&2; exit 127'
)
_WATCHER = re.compile(r"(tailwindcss|@tailwindcss/cli|sass|postcss|lessc?|tsc|esbuild|babel|swc|webpack)\b.*\s(--watch|-w)\b")


_SCRIPT = 2000
"""Characters of a script that are looked at."""


def static_plan(read: Reader, port: int, among: Sequence[str]) -> Plan | None:
    """The first of the folders ``among`` ("" is the top) with a page to begin with."""
    found = next(((folder, page) for folder in among if (page := _first_page(read, folder)) is not None), None)
    if found is None:
        return None
    folder, page = found
    watcher = _watcher(read)
    beside = f"{path_line(read)}npm run {shlex.quote(watcher)} & " if watcher is not None else ""
    shown = f"serve {folder or '.'}" + (f" and npm run {watcher}" if watcher is not None else "")
    return Plan(("sh", "-c", beside + _SERVE, str(port), folder or ".", page), variables(port), (), True, "static", shown)


def _first_page(read: Reader, folder: str) -> str | None:
    """``index.html`` in any spelling, or the only page that there is."""
    pages = [name for name in read.names(folder) if name.lower().endswith((".html", ".htm"))]
    index = [name for name in pages if name.lower() in ("index.html", "index.htm")]
    named = (
        [name for name in pages if name.lower().rpartition(".")[0] in ("home", "main", "default", "start")] if not folder else []
    )
    only = pages if len(pages) == 1 and not folder else []
    return next(iter(sorted(index, key=lambda name: name != "index.html") or named or only), None)


def _watcher(read: Reader) -> str | None:
    """The script that makes styles or scripts of the pages anew for each change."""
    package = packages.package_at(read, "")
    scripts = package.scripts if package is not None else {}
    return next((name for name, script in scripts.items() if _WATCHER.search(script[:_SCRIPT]) and "&" not in script), None)
