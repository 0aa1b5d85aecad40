"""What the two servers are told. Pure: the machine's settings come in as values."""

import json
from collections.abc import Mapping
from pathlib import Path

from devcluster.settings import MIRROR_ADDRESS

NPM_PORT = 4873  # Verdaccio's usual port
PYPI_PORT = 3141  # the usual port of Python index mirrors, devpi's
# Longer than any download: earlier, proxpi would answer with the upstream's address, which no pod can reach.
_DOWNLOAD_SECONDS = 600


def verdaccio(storage: Path, registry: str) -> str:
    """Configuration of Verdaccio (JSON is YAML): a read-only cache of `registry`."""
    return json.dumps(
        {
            "storage": str(storage),
            "uplinks": {"machine": {"url": registry, "maxage": "10m", "timeout": "60s", "max_fails": 5, "fail_timeout": "10s"}},
            # Pods are untrusted: they read. Nobody has the name of the group that may publish, nobody can make an account.
            "packages": {"**": {"access": "$all", "publish": "nobody", "unpublish": "nobody", "proxy": "machine"}},
            "auth": {"htpasswd": {"file": str(storage / "htpasswd"), "max_users": -1}},
            "web": {"enable": False},
            "log": {"type": "stdout", "format": "pretty", "level": "warn", "colors": False},
            "max_body_size": "1mb",
        },
        indent=2,
        sort_keys=True,
    )


def proxpi_environment(cache: Path, pip_settings: Mapping[str, str], bundle: Path | None) -> dict[str, str]:
    """Environment of proxpi: the machine's indexes and certificate bundle, a cache on disk."""
    environment = {
        "PROXPI_CACHE_DIR": str(cache),
        "PROXPI_DOWNLOAD_TIMEOUT": str(_DOWNLOAD_SECONDS),
        "PROXPI_CONNECT_TIMEOUT": "10",
        "PROXPI_READ_TIMEOUT": "60",
        "PROXPI_LOGGING_LEVEL": "WARNING",
    }
    if index := pip_settings.get("index-url"):
        environment["PROXPI_INDEX_URL"] = index
    if extra := pip_settings.get("extra-index-url"):
        environment["PROXPI_EXTRA_INDEX_URLS"] = ",".join(extra.split())
    if bundle is not None:
        environment["REQUESTS_CA_BUNDLE"] = str(bundle)
    return environment


def published() -> dict[str, object]:
    """What others need to know: addresses for clients, and the one opening an egress policy needs."""
    return {
        "npm": f"http://{MIRROR_ADDRESS}:{NPM_PORT}/",
        "pypi": f"http://{MIRROR_ADDRESS}:{PYPI_PORT}/index/",
        "cidr": f"{MIRROR_ADDRESS}/32",
        "ports": [NPM_PORT, PYPI_PORT],
    }
