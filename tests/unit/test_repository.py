"""Guards over the tree as a whole: what no single package can see."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"sandbox_protocol": ROOT, "sandbox_operator": ROOT / "operator", "runner_agent": ROOT, "sandbox_client": ROOT}
THIRD_PARTY = ["aiohttp.web", "cel_expr_python", "cryptography.x509", "jwt", "kopf", "msgspec", "uvloop", "yaml"]
# Spelled in halves, so that this file does not find itself.
REGISTRY_HOSTS = [
    "pypi." + "org",
    "pythonhosted." + "org",
    "registry.npmjs." + "org",
    "proxy.golang." + "org",
    "deb.debian." + "org",
]


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listing.decode().split("\0") if name and (ROOT / name).is_file()]


def modules() -> list[str]:
    found = []
    for package, parent in PACKAGES.items():
        found.append(package)
        walk = pkgutil.walk_packages([str(parent / package)], prefix=f"{package}.")
        found += [m.name for m in walk if not m.name.endswith("__main__")]
    return found


def run_clean(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_operator_folder_does_not_shadow_the_standard_library() -> None:
    # -I -S: no site-packages, whose .pth files may have imported the real module already
    got = run_clean("import sys; sys.path.insert(0, '.'); import operator, collections; print(operator.__file__)", "-I", "-S")
    assert got.returncode == 0, got.stderr
    assert not got.stdout.startswith(str(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_imports_alone_and_without_side_output(package: str) -> None:
    # One process for a package, each module in a fork: as isolated as a process each, a tenth of the time.
    names = [m for m in modules() if m == package or m.startswith(package + ".")]
    code = f"""
import os, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "operator")!r}]
for shared in {THIRD_PARTY!r}:  # imported before the forks, as they cost most and are not what is tested
    __import__(shared)
failed = []
for name in {names!r}:
    pid = os.fork()
    if pid == 0:
        try:
            __import__(name)
        except BaseException as error:
            print(name, repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        failed.append(name)
sys.exit(1 if failed else 0)
"""
    got = run_clean(code)
    assert got.returncode == 0, got.stdout + got.stderr
    assert got.stdout == ""


def test_the_agent_never_loads_what_only_the_operator_needs() -> None:
    code = "import sys, runner_agent.main; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    got = run_clean(code)
    assert got.returncode == 0, got.stderr
    loaded = set(got.stdout.split())
    assert loaded.isdisjoint({"kopf", "cryptography", "jwt", "msgspec", "uvloop", "yaml", "sandbox_operator", "sandbox_client"})


def test_no_tracked_file_names_a_package_registry() -> None:
    hits = []
    for path in tracked_files():
        text = path.read_bytes()
        hits += [f"{path.relative_to(ROOT)}: {host}" for host in REGISTRY_HOSTS if host.encode() in text]
    assert hits == [], "a checkout must not be tied to one index: name packages, never hosts"


def test_no_tracked_file_is_a_built_binary_or_a_secret() -> None:
    bad = []
    for path in tracked_files():
        head = path.read_bytes()[:4096]
        if head.startswith(b"\x7fELF") or (b"PRIVATE" + b" KEY-----") in head:
            bad.append(str(path.relative_to(ROOT)))
    assert bad == []


def test_the_threat_model_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "THREAT_MODEL.md").read_text()))
    written = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        written |= set(re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    assert named - written == set()
    assert named
