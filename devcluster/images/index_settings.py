"""The machine's settings for its package indexes and certificate authorities, as files a build mounts as secrets.

A build installs with pip and npm inside the image, where the machine's own configuration does not exist. Mounted for a single RUN
step, it reaches them and never a layer.
"""

import os
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

# Where the Dockerfiles mount the bundle.
BUNDLE_IN_BUILD = "/run/secrets/ca.crt"
# Settings that say how to reach an index; others (local folders, caches) mean nothing inside a build.
_REACH = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")


def parse_pip_config(listing: str) -> dict[str, str]:
    """Setting → value from the output of `pip config list`. Later lines win, as in pip: files first, environment last."""
    found = {}
    for line in listing.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            name = key.rpartition(".")[2].replace("_", "-")
            found[name] = value.strip("'\"")
    return found


def render_pip_conf(settings: Mapping[str, str], *, has_bundle: bool) -> str:
    """A pip.conf with what reaches an index, and the certificate bundle under its path in the build."""
    lines = [f"{name.removeprefix('default-')} = {settings[name]}" for name in _REACH if name in settings]
    if has_bundle:
        lines.append(f"cert = {BUNDLE_IN_BUILD}")
    return "\n".join(["[global]", *lines, ""])


def machine_bundle() -> Path | None:
    """The certificate bundle programs on this machine trust."""
    named = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    candidates = [named, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]
    return next((Path(path) for path in candidates if path and Path(path).is_file()), None)


def pip_settings(python: str) -> dict[str, str]:
    """pip's settings on this machine, from its files and the environment."""
    return parse_pip_config(
        subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    )


def npm_registry() -> str:
    """npm's registry on this machine; empty where there is no npm, and the build then asks npm's own."""
    try:
        said = subprocess.run(["npm", "config", "get", "registry"], capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
    return said if said.startswith("http") else ""


def render_npmrc(registry: str, *, has_bundle: bool) -> str:
    """An .npmrc with the registry, and the certificate bundle under its path in the build."""
    lines = [f"registry={registry}"] if registry else []
    if has_bundle:
        lines.append(f"cafile={BUNDLE_IN_BUILD}")
    return "\n".join([*lines, "audit=false", "fund=false", "update-notifier=false", ""])


def write_build_secrets(folder: Path, python: str) -> dict[str, Path]:
    """Writes the secret files below `folder`, readable by their owner alone: an index address may carry a password."""
    bundle = machine_bundle()
    texts = {
        "pip.conf": render_pip_conf(pip_settings(python), has_bundle=bundle is not None),
        "npmrc": render_npmrc(npm_registry(), has_bundle=bundle is not None),
    }
    secrets = {}
    for name, text in texts.items():
        secrets[name] = folder / name
        secrets[name].touch(mode=0o600)
        secrets[name].write_text(text)
    if bundle is not None:
        secrets["ca.crt"] = bundle
    return secrets
