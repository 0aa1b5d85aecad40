"""Node projects whose package.json has no script that serves: what their dependencies and files say instead."""

from __future__ import annotations

import re

from runner_agent.detect import packages
from runner_agent.detect.packages import Package
from runner_agent.detect.reading import Reader, text

_BY_DEPENDENCY = (
    ("next", "next dev"),
    ("nuxt", "nuxt dev"),
    ("astro", "astro dev"),
    ("@angular/cli", "ng serve"),
    ("react-scripts", "react-scripts start"),
    ("@vue/cli-service", "vue-cli-service serve"),
    ("gatsby", "gatsby develop"),
    ("@react-router/dev", "react-router dev"),
    ("@redwoodjs/core", "rw dev --no-generate"),
    ("@docusaurus/core", "docusaurus start"),
    ("@nestjs/cli", "nest start"),
    ("@11ty/eleventy", "eleventy --serve"),
    ("vite", "vite"),
    ("@rsbuild/core", "rsbuild dev"),
    ("webpack-dev-server", "webpack serve"),
    ("@web/dev-server", "web-dev-server"),
    ("ember-cli", "ember serve"),
    ("expo", "expo start --web"),
    ("nitropack", "nitropack dev"),
)
"""The more particular first: most of them bring Vite along."""
_ENTRIES = tuple(
    f"{folder}{name}.{ending}"
    for folder in ("", "src/")
    for ending in ("js", "mjs", "cjs", "ts", "mts")
    for name in ("index", "server", "app", "main")
)
_SERVES = (b"listen(", b"createServer", b"serve(", b"Bun.serve")
_OF_A_PROGRAM = re.compile(rb"\brequire\(|^[ \t]*import\b|\bBun\.serve", re.MULTILINE)
"""What a page's own script has not."""


def tool_command(read: Reader, package: Package) -> str | None:
    """The dev server of the framework that the package depends on, as a script would call it."""
    for dependency, command in _BY_DEPENDENCY:
        if package.depends_on(dependency):
            return command
    if package.depends_on("vitepress"):
        at = next((folder for folder in ("", "docs") if ".vitepress/" in read.names(folder)), "")
        return f"vitepress dev {at}".rstrip()
    if package.depends_on("parcel") and (page := _page(read, package)) is not None:
        return f"parcel {page}"
    return _nx(read, package)


def entry_command(read: Reader, package: Package | None) -> tuple[str, ...] | None:
    """The program of a package without scripts, or of a tree without a package: ``main``, or a file that people call a server
    and that listens."""
    main = package.json.get("main", package.json.get("module")) if package is not None else None
    names = ([main.removeprefix("./")] if isinstance(main, str) else []) + list(_ENTRIES)
    for name in names:
        content = read(name)
        if content is None or not any(mark in content for mark in _SERVES) or b"Deno.serve" in content:
            continue
        if package is None and not _OF_A_PROGRAM.search(content):
            continue
        if b"Bun.serve" in content:
            return "bun", name
        typed = name.endswith(("ts", "mts")) and package is not None
        runner = next((each for each in ("tsx", "ts-node") if typed and package is not None and package.depends_on(each)), "node")
        return runner, name
    return None


def _page(read: Reader, package: Package) -> str | None:
    source = package.json.get("source")
    names = ([source] if isinstance(source, str) else []) + ["index.html", "src/index.html"]
    return next((name for name in names if read(name) is not None), None)


def _nx(read: Reader, package: Package) -> str | None:
    """The only app of an Nx workspace that says itself how it is served."""
    if not package.depends_on("nx"):
        return None
    found = []
    for folder in [f"apps/{name.rstrip('/')}" for name in read.names("apps") if name.endswith("/")][: packages.WORKSPACES]:
        project = text(read, f"{folder}/project.json")
        target = next((each for each in ("serve", "dev", "start") if re.search(rf'"{each}"\s*:\s*\{{', project)), None)
        if target is not None and not folder.endswith("-e2e"):
            name = re.search(r'"name"\s*:\s*"([\w@/.-]+)"', project)
            found.append(f"nx {target} {name[1] if name else folder.rpartition('/')[2]}")
    return found[0] if len(found) == 1 else None
