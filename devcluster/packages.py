"""Distribution packages, installed only when missing and never silently."""

import os
import shutil
import subprocess
from collections.abc import Iterable

from devcluster.progress import say


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
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *absent]
    if os.geteuid() != 0:
        raise PackagesMissingError(f"run as root: {' '.join(command)}")
    say(f"installing distribution packages: {' '.join(absent)}")
    # Two workers may install at once: wait for dpkg's lock instead of failing on it.
    lock_wait = ["-o", "DPkg::Lock::Timeout=600"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = _apt([command[0], *lock_wait, *command[1:]], environment)
    if result.returncode != 0:  # package lists absent or out of date
        _apt(["apt-get", *lock_wait, "update", "-q"], environment)
        result = _apt([command[0], *lock_wait, *command[1:]], environment)
    if result.returncode != 0:
        raise PackagesMissingError(f"{' '.join(command)} failed:\n{result.stdout[-2000:]}")


def _apt(argv: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
