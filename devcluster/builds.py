"""Builds programs with plain `go build` into a cache by content; go.sum checks everything that is downloaded.

A program appears in the cache by rename, so it is whole or absent, whoever is killed. Callers may run at once: a lock per
module makes the second one wait and then find the work done.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster.programs import MODULES, Module, Program, cache_key
from devcluster.progress import say, step
from devcluster.settings import State, cache_root

# The compiler is short-lived and memory is there: collecting garbage a quarter as often saves a tenth of the time.
_ENVIRONMENT = {"GOGC": "400", "GOFLAGS": "-buildvcs=false -trimpath", "GOTOOLCHAIN": "local", "GOWORK": "off"}


class BuildError(Exception):
    """The Go tool is missing or failed; the message is its own."""


def ensure(state: State, programs: Iterable[Program]) -> None:
    """Have every one of `programs` in the cache and linked from `state.bin`."""
    wanted = list(programs)
    absent = [program for program in wanted if not cached(program).exists()]
    modules = list(dict.fromkeys(program.module for program in absent))
    if modules:
        names = ", ".join(module.name for module in modules)
        say(f"building {len(absent)} programs (Go modules: {names}), once; they are kept in {cache_root()}")
    # While one module compiles, which needs the processors, the next ones are downloaded, which needs the network.
    threading.Thread(target=_download, args=(modules[1:], absent), daemon=True).start()
    for module in modules:
        _build_module(module, [program for program in absent if program.module == module])
    for program in wanted:
        link(state, program)


def cached(program: Program) -> Path:
    """Where `program` is or will be."""
    key = cache_key(program, MODULES / program.module.name, go_version())
    return cache_root() / key / Path(program.name).name


def link(state: State, program: Program) -> None:
    """Point `bin/NAME` at the cached program."""
    path, target = state.bin / program.name, cached(program)
    if path.is_symlink() and path.readlink() == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.rename(path)


_go_version: list[str] = []


def go_version() -> str:
    """Of the Go tool in PATH, for instance `go1.26.8`."""
    if not _go_version:
        if shutil.which("go") is None:
            raise BuildError("the `go` command is not in PATH; the local cluster is built from Go modules (Go 1.26 or later)")
        _go_version.append(_go(["env", "GOVERSION"], MODULES, {}).strip())
    return _go_version[0]


def _build_module(module: Module, programs: list[Program]) -> None:
    folder = MODULES / module.name
    with _locked(module):
        absent = [program for program in programs if not cached(program).exists()]  # another caller may have been quicker
        if not absent:
            return
        with step(f"built {', '.join(program.name for program in absent)}"), tempfile.TemporaryDirectory(dir=cache_root()) as out:
            plain = [program for program in absent if program.package and program.name != _GVISOR_SHIM]
            if plain:
                _compile(module, folder, [program.package for program in plain], Path(out))
            for program in absent:
                if not program.package:
                    _copy_cilium_sources(folder, Path(out) / program.name)
                elif program.name == _GVISOR_SHIM:
                    _compile_gvisor_shim(module, folder, Path(out) / program.name)
                made = Path(out) / (program.name if program not in plain else program.package.rpartition("/")[2])
                target = cached(program)
                target.parent.mkdir(exist_ok=True)
                made.rename(target)


def _compile(module: Module, folder: Path, packages: list[str], out: Path) -> None:
    tags = ["-tags", module.tags] if module.tags else []
    _go(["build", *tags, "-ldflags", f"-s -w {module.ldflags}", "-o", f"{out}/", *packages], folder, _module_environment(module))


def _copy_cilium_sources(folder: Path, target: Path) -> None:
    """The agent compiles these when it starts; the CRDs are what Cilium's operator would install."""
    source = Path(_go(["list", "-m", "-f", "{{.Dir}}", "github.com/cilium/cilium"], folder, {}).strip())
    bpf, crds = target / "bpf", target / "crds"
    bpf.mkdir(parents=True)
    crds.mkdir()
    for part in ("include", "lib"):
        shutil.copytree(source / "bpf" / part, bpf / part, copy_function=shutil.copyfile)
    for file in [*(source / "bpf").glob("*.c"), *(source / "bpf").glob("*.h")]:
        shutil.copyfile(file, bpf / file.name)
    for file in (source / "pkg/k8s/apis/cilium.io/client/crds").glob("*/*.yaml"):
        shutil.copyfile(file, crds / file.name)
    for path in target.rglob("*"):  # copytree keeps the module cache's read-only folders
        path.chmod(0o755 if path.is_dir() else 0o644)


_GVISOR_SHIM = "containerd-shim-runsc-v1"


def _compile_gvisor_shim(module: Module, folder: Path, target: Path) -> None:
    """The shim insists on an oom_score_adj of -999 for itself and gives up where the kernel refuses (no CAP_SYS_RESOURCE).

    One constant is changed in a throw-away copy of the module: Go's -overlay refuses files of the module cache.
    """
    source = Path(_go(["list", "-m", "-f", "{{.Dir}}", "gvisor.dev/gvisor"], folder, {}).strip())
    with tempfile.TemporaryDirectory(dir=cache_root()) as work:
        copy = Path(work) / "gvisor"
        shutil.copytree(source, copy, copy_function=shutil.copyfile)
        for path in [copy, *copy.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
        file = copy / "pkg/shim/v1/manager.go"
        text = file.read_text()
        lines = [line for line in text.splitlines() if "oomScoreMax" in line and "=" in line and "-999" in line]
        if len(lines) != 1:
            raise BuildError(f"gVisor's shim no longer sets oomScoreMax to -999 in one line of {file.name}: look at it again")
        file.write_text(text.replace(lines[0], lines[0].replace("-999", "0")))
        shutil.copy(folder / "go.mod", Path(work) / "alternative.mod")
        shutil.copy(folder / "go.sum", Path(work) / "alternative.sum")
        alternative = Path(work) / "alternative.mod"
        _go(["mod", "edit", "-replace", f"gvisor.dev/gvisor={copy}", str(alternative)], folder, {})
        build = ["build", "-modfile", str(alternative), "-ldflags", "-s -w", "-o", str(target), "gvisor.dev/gvisor/shim"]
        _go(build, folder, _module_environment(module))


def _download(modules: list[Module], programs: list[Program]) -> None:
    """Listing a program's packages downloads just the modules they are in (`go mod download` would take many more)."""
    for module in modules:
        packages = [program.package for program in programs if program.module == module and program.package]
        words = ["go", "list", "-deps", *(["-tags", module.tags] if module.tags else []), *packages]
        environment = {**os.environ, **_ENVIRONMENT, **_module_environment(module)}
        subprocess.run(words, cwd=MODULES / module.name, env=environment, capture_output=True, check=False)


def _module_environment(module: Module) -> dict[str, str]:
    return {"CGO_ENABLED": "1" if module.cgo else "0"}


def _go(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["go", *words], cwd=folder, env={**os.environ, **_ENVIRONMENT, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("go: downloading")]
        raise BuildError(f"go {' '.join(words)} (in {folder}):\n" + "\n".join(errors[-30:]))
    return done.stdout


@contextmanager
def _locked(module: Module) -> Iterator[None]:
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / f"{module.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
