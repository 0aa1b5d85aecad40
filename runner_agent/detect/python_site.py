"""Sites and notebooks that a Python tool serves: known by a file of the tool's, not by a program."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner_agent.detect.python_wanted import wanted_packages
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
    """That of the tree as a whole; None for a tree without one."""
    for name in ("mkdocs.yml", "mkdocs.yaml"):
        if read(name) is not None:
            theme = re.search(r"^[ \t]*(?:theme|name):[ \t]*[\"']?material\b", text(read, name), re.MULTILINE)
            packages = ("mkdocs", "mkdocs-material") if theme else ("mkdocs",)
            return Site("mkdocs", f"mkdocs serve -a {_ANY}:{{port}}", packages, requirements=_listed(read, "docs"))
    if read("pelicanconf.py") is not None:
        run = f"pelican --listen --autoreload --bind {_ANY} --port {{port}}"
        return Site("pelican", run, ("pelican[markdown]",))
    if "[server:main]" in text(read, "development.ini"):
        return Site("pyramid", "pyramid.scripts.pserve development.ini", (), reloads=False)
    return _sphinx(read, "") or _notebook(read)


def documents(read: Reader) -> Site | None:
    """Documents in a folder of a project that has nothing else to show."""
    return next(
        (found for folder in ("docs", "docs/source", "doc", "doc/source", "source") if (found := _sphinx(read, folder))), None
    )


def _notebook(read: Reader) -> Site | None:
    """Shown by the tool that the project asks for: Voilà as a page, Jupyter to work in, which asks for no token, as nobody comes
    here but through the preview."""
    notebooks = [name for name in read.names("") if name.endswith(".ipynb") and " " not in name]
    if not notebooks:
        return None
    packages = wanted_packages(read)
    if "voila" in packages:
        shown = notebooks[0] if len(notebooks) == 1 else "."
        return Site("voila", f"voila {shown} --no-browser --Voila.ip={_ANY} --port={{port}}", ())
    server = next((name for name in ("jupyterlab", "notebook", "jupyter") if name in packages), None)
    if server is None:
        return None
    word = "lab" if server == "jupyterlab" else "notebook"
    settings = "--ServerApp.token= --ServerApp.allow_remote_access=True"
    return Site("jupyter", f"jupyter {word} --no-browser --ip={_ANY} --port={{port}} {settings}", ())


def _sphinx(read: Reader, folder: str) -> Site | None:
    conf = text(read, f"{folder}/conf.py".lstrip("/"))
    if not re.search(r"^(project|extensions|html_theme)\s*=", conf, re.MULTILINE):
        return None
    # its pages lie outside the tree, which it watches
    run = f"sphinx_autobuild {folder or '.'} /tmp/sphinx --host {_ANY} --port {{port}}"
    return Site("sphinx", run, ("sphinx", "sphinx-autobuild"), requirements=_listed(read, folder))


def _listed(read: Reader, folder: str) -> str:
    name = f"{folder}/requirements.txt"
    return name if folder and read(name) is not None else ""
