"""Programs that serve: how each is told its port, and whether it sees changed files by itself.

A tool that no row knows is still run as written, with PORT and HOST in its environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runner_agent.detect.shell import Word, words

NODE_SOURCES = (
    ".js",
    ".mjs",
    ".cjs",
    ".ts",
    ".mts",
    ".cts",
    ".jsx",
    ".tsx",
    ".json",
    ".graphql",
    ".html",
    ".ejs",
    ".pug",
    ".hbs",
)
SITE_SOURCES = (*NODE_SOURCES, ".css", ".scss", ".sass", ".less", ".vue", ".svelte", ".astro", ".md", ".mdx", ".njk", ".liquid")
"""Of what a build makes a site of."""
PYTHON_SOURCES = (".py", ".html", ".jinja", ".jinja2", ".j2", ".toml", ".yaml", ".yml", ".json")
"""Templates as well: Flask, Django and Jinja keep them in memory unless their own reloader runs."""


@dataclass(frozen=True, slots=True)
class Tool:
    """``serves``: its subcommands that serve. ``idle``: those that do not, where any other first word serves too (None: none
    does).

    ``flags`` and ``env`` hold ``{port}``. ``replaced`` are flags of the script that ours stand for, each with its value;
    ``dropped`` are flags without a value that a sandbox has no use for, or whose work is done by our restart;
    ``reload_values`` are further ones of its reloader, with a value. ``always`` follows also where the port is somebody else's
    choice. ``loads_once`` are the suffixes of sources that it reads when it starts; empty for a tool that watches them itself.
    """

    name: str
    programs: tuple[str, ...]
    serves: tuple[str, ...] = ()
    idle: tuple[str, ...] | None = None
    flags: str = ""
    replaced: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    always: tuple[str, ...] = ()
    reload_values: tuple[str, ...] = ()
    loads_once: tuple[str, ...] = ()
    built: tuple[str, ...] = ("preview",)
    """Its subcommands that show what was built before; an edit is not seen until it is built again. "" is the tool alone."""

    def shows_build(self, arguments: Sequence[str]) -> bool:
        return "" in self.built or (bool(arguments) and arguments[0] in self.built)

    def is_run_by(self, program: str, arguments: Sequence[str]) -> bool:
        if program not in self.programs:
            return False
        said = [word.value for word in without(words(arguments), self.replaced, ()) if not word.value.startswith("-")]
        if self.idle is None:
            return ("" in self.serves and not said) or not set(said).isdisjoint(self.serves)
        return not said or said[0] in self.serves or said[0] not in self.idle

    def placed(self, arguments: Sequence[Word], port: int | None) -> tuple[tuple[Word, ...], tuple[str, ...]]:
        """The script's own arguments without what is replaced, and those that follow. Without a port only ``dropped`` leaves."""
        replaced = (*self.reload_values, *(self.replaced if port is not None else ()))
        flags = self.flags.format(port=port).split() if port is not None else []
        return without(arguments, replaced, (*self.dropped, *self.always)), (*flags, *self.always)


_HOST = "0.0.0.0"  # noqa: S104 - in its pod
_AT = f"--host {_HOST} --port {{port}}"
_SAID = ("--host", "--port", "-p")
_OPENS = ("--open", "-o")
_PY = PYTHON_SOURCES


def _front(name: str, *serves: str, programs: tuple[str, ...] = (), flags: str = _AT, **more: object) -> Tool:
    return Tool(name, programs or (name,), serves, flags=flags, replaced=_SAID, dropped=_OPENS, **more)  # type: ignore[arg-type]


TOOLS = (
    _front("vite", "", "dev", "serve", "preview", idle=("build", "optimize"), flags=f"{_AT} --strictPort"),
    Tool(
        "next",
        ("next",),
        ("", "dev", "start"),
        None,
        f"--hostname {_HOST} --port {{port}}",
        ("--hostname", "-H", "--port", "-p"),
        built=("start",),
    ),
    _front("nuxt", "dev", "start", "preview", programs=("nuxt", "nuxi"), built=("start", "preview")),
    _front("astro", "dev", "start", "preview"),
    Tool("angular", ("ng",), ("serve", "s", "dev"), None, _AT, ("--host", "--port"), _OPENS, {"NG_CLI_ANALYTICS": "false"}),
    _front("react-router", "dev"),
    _front("remix", "vite:dev"),
    Tool("remix", ("remix",), ("dev",)),
    _front("vinxi", "dev", "start", built=("start",)),
    _front("solid-start", "dev", "start", built=("start",)),
    _front("svelte-kit", "dev"),
    _front("rsbuild", "", "dev", "preview", idle=("build", "inspect")),
    _front("rspack", "dev", "serve", "server", "s"),
    _front("farm", "", "dev", "start", "preview", idle=("build", "watch", "clean")),
    _front("wmr", "", "start", "serve", idle=("build",)),
    _front("gatsby", "develop", "serve", built=("serve",)),
    _front("vue-cli", "serve", programs=("vue-cli-service",)),
    # 0: the socket is at the port of the page, not at the server's own
    Tool("react-scripts", ("react-scripts", "craco", "react-app-rewired"), ("start",), env={"WDS_SOCKET_PORT": "0"}),
    _front("webpack", "serve", "server", "s", programs=("webpack", "webpack-cli")),
    _front("webpack", programs=("webpack-dev-server",), idle=()),
    _front("parcel", "", "serve", "watch", idle=("build",)),
    _front("storybook", "dev", "", flags=f"{_AT} --exact-port --ci", programs=("storybook",)),
    _front("storybook", programs=("start-storybook",), idle=(), flags=f"{_AT} --ci"),
    Tool(
        "expo",
        ("expo",),
        ("start",),
        None,
        "--port {port}",
        ("--port", "-p"),
        (),
        {"EXPO_OFFLINE": "1", "EXPO_NO_TELEMETRY": "1"},
    ),
    _front("docusaurus", "start", "serve", flags=f"{_AT} --no-open", built=("serve",)),
    Tool("eleventy", ("eleventy", "@11ty/eleventy"), (), (), "--port={port}", ("--port",)),
    _front("vitepress", "dev", "", "preview", "serve", built=("preview", "serve")),
    _front("vuepress", "dev"),
    _front("slidev", "", idle=("build", "export", "format"), flags=f"--port {{port}} --remote --bind {_HOST}"),
    Tool("hexo", ("hexo",), ("server", "s"), None, f"-i {_HOST} -p {{port}}", ("-i", "--ip", "-p", "--port"), _OPENS),
    _front("ember", "serve", "server", "s"),
    Tool("ionic", ("ionic",), ("serve",), None, f"{_AT} --no-open", ("--host", "--port", "-p"), _OPENS),
    Tool("quasar", ("quasar",), ("dev",), None, f"--hostname {_HOST} --port {{port}}", ("--hostname", "-H", "--port", "-p")),
    _front("waku", "dev", "start", built=("start",)),
    _front("nitro", "dev", programs=("nitro", "nitropack")),
    Tool("stencil", ("stencil",), ("build",), None, f"--address {_HOST} --port {{port}} --no-open", ("--address", "--port")),
    Tool(
        "web-dev-server",
        ("web-dev-server", "wds"),
        (),
        (),
        f"--hostname {_HOST} --port {{port}}",
        ("--hostname", "--port", "-p"),
        _OPENS,
    ),
    Tool("wrangler", ("wrangler",), ("dev", "pages"), None, f"--ip {_HOST} --port {{port}}", ("--ip", "--port")),
    Tool("serve", ("serve",), (), (), "-l {port}", ("-l", "--listen", "-p"), built=("",)),
    Tool("http-server", ("http-server",), (), (), f"-a {_HOST} -p {{port}} -c-1", ("-a", "-p", "--port"), _OPENS, built=("",)),
    Tool("live-server", ("live-server",), (), (), f"--host={_HOST} --port={{port}} --no-browser", ("--host", "--port"), _OPENS),
    Tool("browser-sync", ("browser-sync",), ("start",), None, "--port {port} --no-open", ("--port",)),
    _front("json-server", programs=("json-server",), idle=()),
    Tool(
        "nx",
        ("nx",),
        ("serve", "dev", "run", "start"),
        None,
        "--port={port}",
        ("--port",),
        (),
        {"NX_TUI": "false", "NX_DAEMON": "false"},
    ),
    Tool(
        "nest",
        ("nest",),
        ("start",),
        dropped=("--watch", "-w", "--watchAssets", "--preserveWatchOutput"),
        loads_once=NODE_SOURCES,
    ),
    Tool(
        "fastify",
        ("fastify",),
        ("start",),
        None,
        f"--address {_HOST} --port {{port}}",
        ("-p", "--port", "-a", "--address"),
        ("-w", "--watch"),
        reload_values=("--ignore-watch",),
        loads_once=NODE_SOURCES,
    ),
    Tool("strapi", ("strapi",), ("develop", "dev")),
    Tool("adonis", ("adonis",), ("serve",)),
    # Python
    Tool(
        "streamlit",
        ("streamlit",),
        ("run",),
        None,
        f"--server.address {_HOST} --server.port {{port}} --server.headless true --server.runOnSave true",
        ("--server.address", "--server.port", "--server.headless", "--server.runOnSave"),
    ),
    Tool(
        "chainlit",
        ("chainlit",),
        ("run",),
        None,
        f"{_AT} --headless",
        ("--host", "--port"),
        ("-w", "--watch", "-h", "--headless"),
        loads_once=_PY,
    ),
    Tool(
        "panel",
        ("panel", "bokeh"),
        ("serve",),
        None,
        f"--address {_HOST} --port {{port}} --allow-websocket-origin=*",
        ("--address", "--port", "--allow-websocket-origin"),
        ("--show", "--autoreload", "--dev"),
        loads_once=_PY,
    ),
    Tool("solara", ("solara",), ("run",), None, f"{_AT} --no-open", ("--host", "--port")),
    Tool("marimo", ("marimo",), ("edit", "run"), None, f"{_AT} --headless", ("--host", "--port", "-p"), ("--headless",)),
    Tool("mesop", ("mesop",), (), (), "--port={port}", ("--port",)),
    Tool(
        "shiny",
        ("shiny",),
        ("run",),
        None,
        _AT,
        ("--host", "-h", "--port", "-p"),
        ("--reload", "-r", "--launch-browser", "-b"),
        loads_once=_PY,
    ),
    Tool("mkdocs", ("mkdocs",), ("serve",), None, f"-a {_HOST}:{{port}}", ("-a", "--dev-addr"), _OPENS),
    Tool(
        "jupyter",
        ("jupyter", "jupyter-lab"),
        ("lab", "notebook", ""),
        None,
        f"--ip={_HOST} --port={{port}} --no-browser",
        ("--ip", "--port"),
    ),
    Tool(
        "uvicorn",
        ("uvicorn",),
        (),
        (),
        _AT,
        ("--host", "--port", "--uds", "--fd"),
        ("--reload",),
        reload_values=("--reload-dir", "--reload-include", "--reload-exclude", "--reload-delay"),
        loads_once=_PY,
    ),
    Tool(
        "gunicorn",
        ("gunicorn",),
        (),
        (),
        f"--bind {_HOST}:{{port}}",
        ("--bind", "-b"),
        ("--reload", "--daemon", "-D"),
        reload_values=("--reload-engine", "--reload-extra-file"),
        loads_once=_PY,
    ),
    Tool("hypercorn", ("hypercorn",), (), (), f"--bind {_HOST}:{{port}}", ("--bind", "-b"), ("--reload",), loads_once=_PY),
    Tool("daphne", ("daphne",), (), (), f"-b {_HOST} -p {{port}}", ("-b", "--bind", "-p", "--port"), loads_once=_PY),
    Tool(
        "granian",
        ("granian",),
        (),
        (),
        _AT,
        ("--host", "--port"),
        ("--reload",),
        reload_values=("--reload-paths",),
        loads_once=_PY,
    ),
    Tool("waitress", ("waitress-serve",), (), (), f"--listen={_HOST}:{{port}}", ("--listen", "--host", "--port"), loads_once=_PY),
    Tool(
        "flask",
        ("flask",),
        ("run",),
        None,
        _AT,
        ("--host", "-h", "--port", "-p"),
        ("--reload",),
        always=("--no-reload",),
        loads_once=_PY,
    ),
    Tool(
        "quart",
        ("quart",),
        ("run",),
        None,
        _AT,
        ("--host", "-h", "--port", "-p"),
        ("--reload",),
        always=("--no-reload",),
        loads_once=_PY,
    ),
    Tool(
        "fastapi",
        ("fastapi",),
        ("dev", "run"),
        None,
        _AT,
        ("--host", "--port"),
        ("--reload",),
        always=("--no-reload",),
        loads_once=_PY,
    ),
    Tool(
        "litestar",
        ("litestar",),
        ("run",),
        None,
        _AT,
        ("--host", "-H", "--port", "-p"),
        ("--reload", "-r"),
        reload_values=("--reload-dir", "-R", "--reload-include", "--reload-exclude"),
        loads_once=_PY,
    ),
    Tool(
        "sanic",
        ("sanic",),
        (),
        (),
        f"{_AT} --single-process",
        ("--host", "-H", "--port", "-p"),
        ("--dev", "-d", "--reload", "--auto-reload", "-r", "--single-process"),
        loads_once=_PY,
    ),
)
"""``manage.py runserver`` and plain interpreters are in :mod:`runner_agent.detect.programs`."""


def tool_of(program: str, arguments: Sequence[str]) -> Tool | None:
    """The row of a program with its arguments; None for a program that is not known, or does not serve this way."""
    found = next((tool for tool in TOOLS if tool.is_run_by(program, arguments)), None)
    if found is not None and found.name in ("eleventy", "stencil") and "--serve" not in arguments:
        return None
    return found


_USUAL_PORTS: Mapping[str, int] = {
    **dict.fromkeys(("vite", "react-router", "remix", "svelte-kit", "vitepress"), 5173),
    **dict.fromkeys(("next", "nuxt", "vinxi", "solid-start", "rsbuild", "react-scripts", "docusaurus", "waku", "nest"), 3000),
    **dict.fromkeys(("rspack", "vue-cli", "webpack", "eleventy"), 8080),
    **dict.fromkeys(("angular", "ember"), 4200),
    "astro": 4321,
    "gatsby": 8000,
    "parcel": 1234,
    "storybook": 6006,
    "expo": 8081,
    "ionic": 8100,
    "quasar": 9000,
}


def usual_port(tool: str) -> int:
    """Where a tool serves when nobody says; 0 when that is not known."""
    return _USUAL_PORTS.get(tool, 0)


_PAGE = "page to open"


def without(arguments: Sequence[Word], replaced: Sequence[str], dropped: Sequence[str]) -> tuple[Word, ...]:
    """``replaced`` flags go with their value (``-p 1``, ``--port=1``, and a bare ``--host``), ``dropped`` ones alone."""
    kept: list[Word] = []
    skip_value, last = False, ""
    for argument in arguments:
        flag = argument.value.partition("=")[0]
        if skip_value and not argument.value.startswith("-"):
            skip_value = False
            if last == _PAGE:
                if re.match(r"/|https?:|.*\.html", argument.value):
                    continue
            elif last not in ("--host", "--open") or _A_HOST(argument.value):
                continue
        skip_value = False
        if flag in replaced:
            skip_value, last = "=" not in argument.value, flag
        elif flag not in dropped:
            kept.append(argument)
        else:
            opened = flag == "--open" and "=" not in argument.value
            skip_value, last = opened, _PAGE if opened else ""
    return tuple(kept)


_A_HOST = re.compile(r"true|false|localhost|[\d.:]+|\$\{?\w.*|[\w-]+(\.[\w-]+)+").fullmatch
