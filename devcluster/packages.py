"""Distribution packages, installed only when missing and never silently."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from devcluster.progress import say

_LOCK = Path("/run/lock/appstudio-devcluster-packages")


class PackagesMissingError(Exception):
    """Packages are missing and cannot be installed here; the message says what to install."""


def missing(names: Iterable[str]) -> list[str]:
    """Those of `names` that dpkg does not report as installed, in order."""
    wanted = list(dict.fromkeys(names))
    got = subprocess.run(
        ["dpkg-query", "-W", "-f=${binary:Package} ${db:Status-Status}\n", *wanted], capture_output=True, text=True, check=False
    ).stdout
    installed = {line.split()[0].split(":")[0] for line in got.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def ensure(names: Iterable[str]) -> None:
    """Install what is missing of `names` by apt-get; a line says so. Raises `PackagesMissingError` with what to do by hand."""
    wanted = list(names)
    if shutil.which("dpkg-query") is None:
        raise PackagesMissingError(f"this is not Debian or a relative of it; install the equivalents of: {' '.join(wanted)}")
    absent = missing(wanted)
    if not absent:
        return
    if os.geteuid() != 0:
        raise PackagesMissingError(f"run as root: apt-get install --no-install-recommends {' '.join(absent)}")
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:  # apt waits for dpkg's lock if told to, but gives up at once on the one of its lists
        fcntl.flock(lock, fcntl.LOCK_EX)
        absent = missing(wanted)  # another caller may have installed them meanwhile
        if absent:
            say(f"installing distribution packages: {' '.join(absent)}")
            _install(absent)


def _install(absent: list[str]) -> None:
    options = ["-q", "-o", "DPkg::Lock::Timeout=600"]
    command = ["apt-get", *options, "install", "-y", "--no-install-recommends", *absent]
    done = _apt(command)
    if done.returncode != 0:  # package lists absent or out of date
        _apt(["apt-get", *options, "update"])
        done = _apt(command)
    if done.returncode != 0:
        raise PackagesMissingError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")


def _apt(argv: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(argv, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
