"""Installs the two servers from their locks into the content cache: once for each content of the lock."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from devcluster import packages
from devcluster.progress import step
from devcluster.settings import REPOSITORY, cache_root

NPM_SOURCE = Path(__file__).parent / "npm"
PYPI_LOCK = REPOSITORY / "requirements" / "mirrors.txt"
OLDEST_NODE = 20


class MirrorError(Exception):
    """A mirror cannot be installed or started; the message says what to do."""


@dataclass(frozen=True)
class Installed:
    """Where the servers are."""

    npm: Path  # folder with node_modules and serve.js
    pypi: Path  # a virtual environment


def mirrors_cache() -> Path:
    """Servers by content, and what they have fetched."""
    return cache_root() / "mirrors"


def install() -> Installed:
    """Installs what is missing, both at once. Raises `MirrorError`. Needs no cluster: worth doing while one is built."""
    with ThreadPoolExecutor(2) as pool:
        npm, pypi = pool.submit(_install_npm), pool.submit(_install_pypi)
        return Installed(npm.result(), pypi.result())


def _install_npm() -> Path:
    files = [NPM_SOURCE / name for name in ("package.json", "package-lock.json", "serve.js")]

    def fill(folder: Path) -> None:
        _require_node()
        for file in files:
            shutil.copy(file, folder)
        # scripts of packages are not run: none of them is needed, each could be anything
        _run(["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)

    return _once("npm", files, fill)


def _install_pypi() -> Path:
    def fill(folder: Path) -> None:
        if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True, check=False).returncode != 0:
            packages.ensure(["python3-venv"])
        _run([sys.executable, "-m", "venv", "--copies", folder], folder)
        pip_install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip_install, "--require-hashes", "--only-binary=:all:", "-r", PYPI_LOCK], folder)

    # a virtual environment belongs to the interpreter it was made with
    return _once("pypi", [PYPI_LOCK], fill, extra=f"{sys.executable} {sys.version}")


def _once(name: str, files: Sequence[Path], fill: Callable[[Path], None], extra: str = "") -> Path:
    """A folder that `fill` filled, made anew when one of `files` changed or when filling was cut short."""
    digest = hashlib.sha256(b"\0".join([extra.encode(), *(file.read_bytes() for file in files)])).hexdigest()[:16]
    folder = mirrors_cache() / f"{name}-{digest}"
    complete = folder / ".complete"
    if not complete.exists():
        with step(f"{name} mirror installed"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            fill(folder)
            complete.touch()
    return folder


def _require_node() -> None:
    node = shutil.which("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip() if node else ""
    if not version.startswith("v") or int(version[1:].split(".")[0]) < OLDEST_NODE or shutil.which("npm") is None:
        raise MirrorError(f"the npm mirror needs Node {OLDEST_NODE} or later with npm; this machine has {version or 'none'}")


def _run(argv: Sequence[str | Path], folder: Path) -> None:
    result = subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        raise MirrorError(f"{' '.join(map(str, argv))} ended with {result.returncode}:\n{result.stdout[-3000:]}")
