"""What frameworks do that a preview must know: do they check Host, do their pages follow an edit by themselves. Pure.

By the word that detection found, else by the words of the command. What is not named here is asked
(:mod:`runner_agent.host_check`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

World = Literal["public", "local", "forwarded"]
"""What a program is told of where it is seen. ``public``: Host is the preview's. ``local``: Host is ``localhost:<port>``, and
what comes from the preview's own page comes from there too, as dev servers let nothing else in. ``forwarded``: Host is local,
while X-Forwarded-Host and Origin are the preview's: Next.js takes absolute URLs from the one and compares it with the other."""

_BUNDLERS = frozenset(
    [
        "angular",
        "astro",
        "browser-sync",
        "cra",
        "docusaurus",
        "eleventy",
        "ember",
        "expo",
        "farm",
        "gatsby",
        "ionic",
        "live-server",
        "next",
        "ng",
        "nuxi",
        "nuxt",
        "parcel",
        "quasar",
        "qwik",
        "react-router",
        "react-scripts",
        "remix",
        "rsbuild",
        "rspack",
        "slidev",
        "solid-start",
        "solidstart",
        "stencil",
        "storybook",
        "svelte-kit",
        "sveltekit",
        "tanstack-start",
        "vinxi",
        "vite",
        "vitepress",
        "vue-cli",
        "vue-cli-service",
        "vuepress",
        "waku",
        "web-dev-server",
        "webpack",
        "webpack-dev-server",
        "wmr",
    ]
)
"""Their pages have a client that hears of an edit, and keeps what the page holds where it can. Most of them check Host."""
_LIVE = _BUNDLERS | {"streamlit", "solara", "marimo", "mkdocs"}
_LOCAL = (_BUNDLERS - {"next", "eleventy", "browser-sync", "live-server", "gatsby", "parcel"}) | {"streamlit"}
"""Streamlit compares Origin with what it takes for its own addresses."""
_SKIPPED = frozenset(["npx", "npm", "pnpm", "yarn", "run", "exec", "node", "cross-env", "sh", "-c"])


def word(framework: str, command: Sequence[str]) -> str:
    """The framework's name in lower case, empty when nothing tells."""
    if framework:
        return framework.lower()
    names = [part.rpartition("/")[2].lower() for text in command for part in text.split()]
    if "manage.py" in names:
        return "django"
    return next((name for name in names if name in _LIVE and name not in _SKIPPED), "")


def world(framework: str) -> World | None:
    """What the framework must be told, by its ``word``; None for one that has to be asked."""
    return "forwarded" if framework == "next" else "local" if framework in _LOCAL else None


def reloads_pages(framework: str) -> bool:
    return framework in _LIVE


def environment(url: str, web: int, ports: Sequence[int]) -> Mapping[str, str]:
    """Variables from which a program learns where it is seen. ``url`` holds ``{port}`` and is empty where nobody knows.

    RAILS_DEVELOPMENT_HOSTS is Rails' own list of hosts that it lets in; AUTH_TRUST_HOST lets Auth.js take its address from the
    request, as it does on the platforms that it knows.
    """
    if not url:
        return {}
    each = {port: url.replace("{port}", str(port)) for port in dict.fromkeys((web, *ports))}
    hosts = [where.partition("://")[2].partition(":")[0] for where in each.values()]
    return {
        "PREVIEW_URL": each[web],
        **{f"PREVIEW_URL_{port}": where for port, where in each.items()},
        "RAILS_DEVELOPMENT_HOSTS": ",".join(hosts),
        "AUTH_TRUST_HOST": "true",
    }
