"""What a Python file says about itself: the framework it uses, the name of its application, and whether it runs by itself."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache

_BYTES = 256 * 1024
"""Of one source that is parsed: a program's entry is smaller, and parsing takes 20 times the memory of the text."""

_STATEMENTS = 2000

FRAMEWORKS = {
    "FastAPI": "fastapi",
    "Starlette": "starlette",
    "Litestar": "litestar",
    "Quart": "quart",
    "Flask": "flask",
    "APIFlask": "flask",
    "OpenAPI": "flask",
    "Sanic": "sanic",
    "FastHTML": "fasthtml",
    "fast_app": "fasthtml",
    "Bottle": "bottle",
    "Dash": "dash",
    "Robyn": "robyn",
    "get_asgi_application": "django-asgi",
    "get_wsgi_application": "django-wsgi",
    "make_wsgi_app": "wsgi",  # Pyramid
    "falcon.App": "wsgi",
    "falcon.API": "wsgi",
    "falcon.asgi.App": "asgi",
    "blacksheep.Application": "asgi",
    "blacksheep.server.Application": "asgi",
    "connexion.AsyncApp": "asgi",
    "connexion.App": "wsgi",
    "socketio.ASGIApp": "asgi",
    "socketio.WSGIApp": "wsgi",
    "responder.API": "asgi",
    "strawberry.asgi.GraphQL": "asgi",
    "ariadne.asgi.GraphQL": "asgi",
    "shiny.App": "shiny",
    "marimo.App": "marimo",
}
"""Name of what makes the application, with its module where others have that name too → framework; "asgi" and "wsgi" for any
object of the protocol."""
_FACTORIES = ("create_app", "make_app", "get_app", "build_app", "create_application", "make_application")
_RUNS = (
    "run",
    "launch",
    "serve",
    "run_app",
    "run_forever",
    "serve_forever",
    "main",
    "run_server",
    "start",
    "execute_from_command_line",
    "listen",
    "quickstart",
    "start_server",
    "justpy",
)
_PLAIN = {"debug", "host", "port", "reload", "use_reloader", "threaded", "log_level", "dev", "auto_reload", "access_log"}
"""Arguments of a run that the command line stands for just as well."""


@dataclass(frozen=True, slots=True)
class Source:
    """``framework`` "" for a plain program. ``name`` is the application's, with ``factory`` that of a function that makes it.

    ``runs``: it does something when it is run as a program. ``plainly``: and that is no more than serving its application.
    """

    imports: frozenset[str] = frozenset()
    framework: str = ""
    name: str = ""
    factory: bool = False
    runs: bool = False
    plainly: bool = False
    relative: bool = False
    modules: frozenset[str] = frozenset()
    """Every part of the names that it imports."""
    target: str = ""
    """``module:name`` that its own start names, where it does no more than start uvicorn."""
    broken: bool = False
    """Whether it holds a syntax error; the rest is what its whole statements say."""


@lru_cache(maxsize=64)
def read_source(content: bytes) -> Source | None:
    """None for what is no text, and for what is too large."""
    if len(content) > _BYTES:
        return None
    tree = _parsed(content)
    broken = tree is None
    if tree is None and (tree := _whole_statements(content)) is None:
        return None
    body = list(_statements(tree.body))
    framework, name, factory = _application(body, _origins(tree.body))
    guards = [node for node in tree.body if isinstance(node, ast.If) and _is_main_guard(node.test)]
    calls = [
        node for statement in body if isinstance(statement, ast.Expr) for node in [statement.value] if isinstance(node, ast.Call)
    ]
    runs = bool(guards) or any(_called(call) in _RUNS for call in calls)
    plainly = len(guards) == 1 and not any(_called(call) in _RUNS for call in calls) and _only_serves(guards[0].body)
    imports, relative, modules = _imports(tree)
    return Source(imports, framework, name, factory, runs, plainly, relative, modules, _target(guards) if plainly else "", broken)


def _parsed(content: bytes | str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


_GOES_ON = re.compile(r"[\s)\]}#]|(else|elif|except|finally|case)\b|$")
"""Beginning of a line at the left edge that belongs to the statement before it."""


def _whole_statements(content: bytes) -> ast.Module | None:
    """Of a file with an error in it, those that are whole: it is still the app that it was, and says itself what is wrong.

    None for what is no text.
    """
    try:
        lines = content.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None
    parts: list[list[str]] = []
    for line in lines:
        decorated = bool(parts) and parts[-1][-1].startswith("@")
        if parts and (decorated or _GOES_ON.match(line)):
            parts[-1].append(line)
        else:
            parts.append([line])
    found = [_parsed("".join(part)) for part in parts[:_STATEMENTS]]
    return ast.Module([node for tree in found if tree is not None for node in tree.body], [])


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Those that run on import: also in ``try`` and in ``if``, except where the file is run as a program."""
    found: list[ast.stmt] = []
    for node in body:
        found.append(node)
        if isinstance(node, ast.Try) or (isinstance(node, ast.If) and not _is_main_guard(node.test)):
            found += _statements(node.body)
    return found


def _application(body: list[ast.stmt], origins: dict[str, str]) -> tuple[str, str, bool]:
    """Framework, name, whether the name is a factory's; the first application, or else the first factory, or else a function
    that is an application by what it takes."""
    function = ("", "", False)
    factory = ("", "", False)
    made_by_factory = ("", "", False)
    for node in body:
        targets, value = _assigned(node)
        if isinstance(value, ast.Call):
            made = FRAMEWORKS.get(_called(value)) or FRAMEWORKS.get(_dotted(value.func, origins))
            if made is not None and targets:
                return made, targets[0], False
            if _called(value) in _FACTORIES and targets:
                made_by_factory = made_by_factory if made_by_factory[1] else ("?", targets[0], False)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not function[1]:
            function = _PROTOCOLS.get(tuple(each.arg for each in node.args.args), ""), node.name, False
            function = function if function[0] else ("", "", False)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not factory[1]:
            inner = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
            found = next((FRAMEWORKS[name] for call in inner if (name := _called(call)) in FRAMEWORKS), "")
            if found and node.name.removeprefix("_") in _FACTORIES:
                factory = (found, node.name, True)
    if made_by_factory[1]:
        return factory[0] or made_by_factory[0], made_by_factory[1], False
    return factory if factory[1] else function


_PROTOCOLS = {("environ", "start_response"): "wsgi", ("scope", "receive", "send"): "asgi"}
"""Arguments of a function that is an application by itself."""


def _origins(body: list[ast.stmt]) -> dict[str, str]:
    """Name in the file → what it stands for, with its module: of ``import a.b as c`` and ``from a import b``."""
    found: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _dotted(function: ast.expr, origins: dict[str, str]) -> str:
    """``a.b.C`` of a call, "" for what is no such name."""
    if isinstance(function, ast.Name):
        return origins.get(function.id, function.id)
    inner = _dotted(function.value, origins) if isinstance(function, ast.Attribute) else ""
    return f"{inner}.{function.attr}" if inner and isinstance(function, ast.Attribute) else ""


def _assigned(node: ast.stmt) -> tuple[list[str], ast.expr | None]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id], node.value
    if isinstance(node, ast.Assign):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        first = node.targets[0]
        if not names and isinstance(first, ast.Tuple) and first.elts and isinstance(first.elts[0], ast.Name):
            names = [first.elts[0].id]  # app, rt = fast_app()
        return names, node.value
    return [], None


def _called(call: ast.Call) -> str:
    """The last part of the name that is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def _is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _only_serves(body: list[ast.stmt]) -> bool:
    """``app.run(debug=True)`` or ``uvicorn.run(app, port=8000)``, and imports before it."""
    rest = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)]
    if len(rest) != 1 or not isinstance(rest[0], ast.Expr) or not isinstance(call := rest[0].value, ast.Call):
        return False
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "run" or not isinstance(call.func.value, ast.Name):
        return False
    known = all(keyword.arg in _PLAIN for keyword in call.keywords)
    return known and len(call.args) <= 1 and call.func.value.id not in ("asyncio", "anyio", "socketio", "ui", "web")


def _target(guards: list[ast.If]) -> str:
    statements = [node for guard in guards for node in guard.body if isinstance(node, ast.Expr)]
    for call in [node.value for node in statements if isinstance(node.value, ast.Call)]:
        first = call.args[0] if call.args else None
        if _dotted(call.func, {}) == "uvicorn.run" and isinstance(first, ast.Constant) and isinstance(first.value, str):
            return first.value
    return ""


def _imports(tree: ast.Module) -> tuple[frozenset[str], bool, frozenset[str]]:
    """Top-level packages that are imported anywhere, whether an import is relative, and all parts of what is imported."""
    found: set[str] = set()
    parts: set[str] = set()
    relative = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
            parts |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            relative = relative or node.level > 0
            parts |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
            if node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return frozenset(found), relative, frozenset(parts)
