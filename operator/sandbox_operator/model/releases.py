"""A mirror of what packages download when they are installed, as the variables by which their tools find it. Pure.

Each tool asks a host of its own: a release page, a storage bucket. A mirror holds them in a folder each, in the layout of the
original below that folder, as the public mirrors of npm binaries do. docs/images.md lists the folders.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from sandbox_operator.model.egress import has_dns
from sandbox_operator.model.parts import FixedEnvVar
from sandbox_operator.model.template import Egress, TemplateSpec

_VARIABLES = {
    # prebuild-install, which most native addons call: a template of the whole address, for all of them at once
    "npm_config_download": "/{name}/{tag_prefix}{version}/{name}-v{version}-{runtime}-v{abi}-{platform}{libc}-{arch}.tar.gz",
    # node-gyp: headers of Node for what is compiled
    "NODEJS_ORG_MIRROR": "/node",
    "NVM_NODEJS_ORG_MIRROR": "/node",
    "PRISMA_ENGINES_MIRROR": "/prisma",
    "PLAYWRIGHT_DOWNLOAD_HOST": "/playwright",
    "PUPPETEER_CHROME_DOWNLOAD_BASE_URL": "/chrome-for-testing",
    "PUPPETEER_CHROME_HEADLESS_SHELL_DOWNLOAD_BASE_URL": "/chrome-for-testing",
    # until version 22
    "PUPPETEER_DOWNLOAD_BASE_URL": "/chrome-for-testing",
    "CHROMEDRIVER_CDNURL": "/chromedriver",
    "GECKODRIVER_CDNURL": "/geckodriver",
    # it puts the version right behind
    "ELECTRON_MIRROR": "/electron/",
    "CYPRESS_DOWNLOAD_MIRROR": "/cypress",
    "SASS_BINARY_SITE": "/node-sass",
    "SENTRYCLI_CDNURL": "/sentry-cli",
    "FFMPEG_BINARIES_URL": "/ffmpeg-static",
    "UV_PYTHON_INSTALL_MIRROR": "/python-build-standalone",
}
"""Where each tool looks, below the mirror's address. One tool's variable is no other's, so all are set always."""


def environment(egress: Egress) -> tuple[FixedEnvVar, ...]:
    """None without a mirror."""
    if egress.releases is None:
        return ()
    url = egress.releases.url.rstrip("/")
    return tuple(FixedEnvVar(name=name, value=f"{url}{below}") for name, below in _VARIABLES.items())


def template_faults(template: TemplateSpec) -> Iterator[str]:
    """Why the sandboxes of a template could never reach its mirror: they would wait for it in vain."""
    egress = template.egress
    if egress.releases is None:
        return
    field = "spec.egress.releases.url"
    try:
        parts = urlsplit(egress.releases.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        yield f"{field}: {egress.releases.url!r} is no address: {error}"
        return
    host = parts.hostname or ""
    if egress.profile == "none":
        yield f"{field}: egress.profile none lets no sandbox reach it; set profile mirror, and list it in egress.mirrors"
        return
    try:
        address = ip_address(host)
    except ValueError:
        if not has_dns(egress):
            yield f"{field}: {host} is a name, and these sandboxes have no DNS; name its address, or set egress.dns to cluster"
        return
    opened = (port in mirror.ports and address in ip_network(mirror.cidr, strict=False) for mirror in egress.mirrors)
    if egress.profile == "mirror" and not any(opened):
        yield f"{field}: no entry of egress.mirrors opens {host} on port {port}"
