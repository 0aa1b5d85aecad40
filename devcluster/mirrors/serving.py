"""Starts and stops the mirrors beside a running cluster."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from devcluster import daemons
from devcluster.daemons import Daemon
from devcluster.images.index_settings import machine_bundle, pip_settings
from devcluster.mirrors import configuration
from devcluster.mirrors.installing import MirrorError, install, mirrors_cache
from devcluster.namespaces import NETNS_FOLDER, in_internet_argv
from devcluster.progress import step
from devcluster.settings import INTERNET_NETNS, MIRROR_ADDRESS, State

NPM, PYPI = "mirror-npm", "mirror-pypi"
_LISTEN = Path(__file__).parent / "listen.py"
# Answered without asking the upstream.
_PROBES = {
    NPM: f"http://{MIRROR_ADDRESS}:{configuration.NPM_PORT}/-/ping",
    PYPI: f"http://{MIRROR_ADDRESS}:{configuration.PYPI_PORT}/",
}


def published_file(state: State) -> Path:
    """`{"npm": url, "pypi": url, "cidr": …, "ports": […]}`, there while the mirrors are meant to run."""
    return state.root / "mirrors.json"


def read_published(state: State) -> dict[str, object] | None:
    """What `published_file` says, None when there are no mirrors."""
    try:
        return dict(json.loads(published_file(state).read_text()))
    except FileNotFoundError:
        return None


def possible() -> bool:
    """Whether there is an internet side to listen on: only the local driver has one, elsewhere pods reach a real internet."""
    return (NETNS_FOLDER / INTERNET_NETNS).exists()


def start(state: State) -> None:
    """Has both mirrors run and answer; does nothing when they do. Raises `MirrorError` or `DaemonError`."""
    if not possible():
        raise MirrorError("no development cluster is up here; start one with `make cluster-up`")
    installed = install()
    with step("package mirrors answer"):
        for daemon in (_npm(state, installed.npm), _pypi(state, installed.pypi)):
            daemons.ensure(state, daemon)
        for name in _PROBES:
            daemons.wait_until(state, f"{name} to answer", partial(answers, name), needs=[name])
    published_file(state).write_text(json.dumps(configuration.published(), indent=2) + "\n")


def stop(state: State) -> None:
    """Ends both; what they fetched stays in the cache."""
    published_file(state).unlink(missing_ok=True)
    daemons.stop([NPM, PYPI])


def status() -> dict[str, bool]:
    """Whether each mirror answers."""
    return {name: answers(name) for name in _PROBES}


def answers(name: str) -> bool:
    """One request as a pod would make it, from the pretend internet's side."""
    code = f"import urllib.request as r; r.build_opener(r.ProxyHandler({{}})).open({_PROBES[name]!r}, timeout=2)"
    argv = in_internet_argv([sys.executable, "-I", "-S", "-c", code])
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _npm(state: State, folder: Path) -> Daemon:
    registry = subprocess.run(
        ["npm", "config", "get", "registry"], capture_output=True, text=True, check=True, cwd="/"
    ).stdout.strip()
    storage = mirrors_cache() / "npm-packages"
    storage.mkdir(parents=True, exist_ok=True)
    config = state.config / "verdaccio.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(configuration.verdaccio(storage, registry))
    bundle = machine_bundle()
    environment = {"NODE_EXTRA_CA_CERTS": str(bundle)} if bundle else {}
    return _daemon(NPM, configuration.NPM_PORT, ["node", str(folder / "serve.js"), str(config)], environment, [config])


def _pypi(state: State, folder: Path) -> Daemon:
    cache = mirrors_cache() / "python-packages"
    cache.mkdir(parents=True, exist_ok=True)
    # proxpi's index cache lives in one process, so threads instead of workers
    gunicorn = [
        str(folder / "bin" / "gunicorn"),
        "--bind",
        "fd://3",
        "--threads",
        "8",
        "--no-control-socket",
        "proxpi.server:app",
    ]
    environment = configuration.proxpi_environment(cache, pip_settings(sys.executable), machine_bundle())
    return _daemon(PYPI, configuration.PYPI_PORT, gunicorn, environment, [])


def _daemon(name: str, port: int, command: list[str], environment: dict[str, str], config: list[Path]) -> Daemon:
    namespace = NETNS_FOLDER / INTERNET_NETNS
    # A namespace made anew has another inode: the mirror must move into it, the old socket leads nowhere.
    environment = {**environment, "DEVCLUSTER_INTERNET": str(namespace.stat().st_ino)}
    argv = [sys.executable, str(_LISTEN), str(namespace), MIRROR_ADDRESS, str(port), *command]
    return Daemon(name, argv, [_LISTEN, *config], environment)
