"""Sites and notebooks that a Python tool serves: known by a file of the tool's, not by a program."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner_agent.detect.reading import Reader, text

_ANY = "0.0.0.0"  # noqa: S104 - in its pod


@dataclass(frozen=True, slots=True)
class Site:
    """``run`` follows ``python -m`` and holds ``{port}``; ``packages`` are needed by it, whether or not the project says so."""

    name: str
    run: str
    packages: tuple[str, ...]
    reloads: bool = True
    requirements: str = ""
    """The file of a folder of documents that lists its packages, where it is none that projects have anyway."""

    def command(self, python: str, port: int) -> tuple[str, ...]:
        return (python, "-m", *(word.format(port=port) for word in self.run.split()))


def python_site(read: Reader) -> Site | None:
    """None for a tree without one."""
    for name in ("mkdocs.yml", "mkdocs.yaml"):
        if read(name) is not None:
            theme = re.search(r"^\s*(?:theme:\s*|name:\s*)[\"']?material\b", text(read, name), re.MULTILINE)
            packages = ("mkdocs", "mkdocs-material") if theme else ("mkdocs",)
            return Site("mkdocs", f"mkdocs serve -a {_ANY}:{{port}}", packages, requirements=_listed(read, "docs"))
    if read("pelicanconf.py") is not None:
        run = f"pelican --listen --autoreload --bind {_ANY} --port {{port}}"
        return Site("pelican", run, ("pelican[markdown]",))
    if "[server:main]" in text(read, "development.ini"):
        return Site("pyramid", "pyramid.scripts.pserve development.ini", (), reloads=False)
    for folder in ("docs", "docs/source", "doc", "doc/source", "source", ""):
        conf = text(read, f"{folder}/conf.py".lstrip("/"))
        if re.search(r"^(project|extensions|html_theme)\s*=", conf, re.MULTILINE):
            # its pages lie outside the tree, which it watches
            run = f"sphinx_autobuild {folder or '.'} /tmp/sphinx --host {_ANY} --port {{port}}"
            return Site("sphinx", run, ("sphinx", "sphinx-autobuild"), requirements=_listed(read, folder))
    return None


def _listed(read: Reader, folder: str) -> str:
    name = f"{folder}/requirements.txt"
    return name if folder and read(name) is not None else ""
