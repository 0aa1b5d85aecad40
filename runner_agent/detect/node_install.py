"""How the packages of a Node project are installed: by the package manager and the version that it was made with."""

from __future__ import annotations

import re

from runner_agent.detect import packages
from runner_agent.detect.install import Install, step
from runner_agent.detect.packages import LOCKS, Manager
from runner_agent.detect.reading import Reader, below, text
from runner_agent.detect.versions import node_note

_SETTINGS = (".npmrc", ".yarnrc", ".yarnrc.yml", "pnpm-workspace.yaml", "bunfig.toml", ".pnpmfile.cjs", "lerna.json")
_NPM_ARGUMENTS = "--include=dev --no-audit --no-fund"
"""Dev servers are devDependencies, also where the app's NODE_ENV is production."""
_INSTALL = {
    # not `npm ci`: it deletes node_modules first, which makes the common case, one more package, as slow as the first install
    "npm": f"npm install {_NPM_ARGUMENTS}",
    # a store beside the tree: by itself pnpm would put one into it, as the tree is a mount of its own
    "pnpm": 'pnpm install --prod=false --no-frozen-lockfile --store-dir "$HOME/.pnpm-store"',
    "yarn": "yarn install --production=false --non-interactive",
    "berry": "yarn install",
    "bun": "bun install",
}
_REGISTRY = (
    'r="${NPM_CONFIG_REGISTRY:-$npm_config_registry}"; if [ -n "$r" ]; then '
    'export pnpm_config_registry="${pnpm_config_registry:-$r}" YARN_REGISTRY="${YARN_REGISTRY:-$r}" '
    'YARN_NPM_REGISTRY_SERVER="${YARN_NPM_REGISTRY_SERVER:-$r}" BUN_CONFIG_REGISTRY="${BUN_CONFIG_REGISTRY:-$r}"; '
    'case $r in http://*) h="${r#http://}"; h="${h#*@}"; h="${h%%[:/]*}"; '
    'export YARN_UNSAFE_HTTP_WHITELIST="${YARN_UNSAFE_HTTP_WHITELIST:-$h}";; esac; fi; '
)
"""npm's registry is the others' too. Yarn 4 speaks no plain HTTP unless it is told so by name."""
_PACKAGE_PATH = r"\(\(@[^/\"]*/\)\{0,1\}[^/\"]*/-/\)"
"""Path of an archive at a registry, ``name/-/`` or ``@scope/name/-/``, in the words of sed and between double quotes."""


def node_install(read: Reader, inside: str = "") -> Install | None:
    """None for a tree without package.json, or without dependencies: npm would leave no node_modules to tell that it was done."""
    tree = read if not inside else below(read, inside)
    package = packages.package_at(tree, "")
    if package is None:
        return None
    members = packages.workspaces(tree)
    if not package.has_dependencies and not any(member.has_dependencies for member in members):
        return None
    manager, version = packages.manager_of(tree)
    berry = manager == "yarn" and packages.is_berry(tree, version)
    body = _note(tree, package) + (_REGISTRY if manager != "npm" else "") + _tool(tree, manager, version, berry)
    for other in packages.called_managers(tree):
        if other != manager:
            body += _tool(tree, other, None, False)
    install = _INSTALL["berry" if berry else manager]
    body += _with_yarns_host(install) if manager == "yarn" and not berry else install
    mark = ".pnp.cjs" if berry and packages.plugs_and_plays(tree, version) else "node_modules"
    where = f"{inside}/" if inside else ""
    manifests = [
        f"{where}package.json",
        *(f"{where}{member.folder}/package.json" for member in members),
        *(where + s for s in _SETTINGS),
    ]
    return step(read, inside, mark, body, f"{manager} install", manifests=manifests, locks=[where + lock for lock in LOCKS])


def _note(read: Reader, package: packages.Package) -> str:
    for name in (".nvmrc", ".node-version"):
        if said := text(read, name).strip():
            return node_note(said.splitlines()[0], name)
    engines = package.json.get("engines")
    wanted = engines.get("node") if isinstance(engines, dict) else None
    return node_note(wanted, "engines.node of package.json") if isinstance(wanted, str) else ""


def _tool(read: Reader, manager: Manager, version: str | None, berry: bool) -> str:
    """Shell that puts the package manager on PATH: from the npm registry, onto the volume, unless the image has the very one."""
    if manager == "npm" and (version is None or "." not in version):
        return ""  # the image's own
    if version is None:
        version = _version_of_lock(read, manager, berry)
    package = "@yarnpkg/cli-dist" if berry else manager
    exact = version.count(".") == 2
    kept = f'[ "$({manager} --version 2>/dev/null)" = {version} ]' if exact else f"command -v {manager} >/dev/null"
    folder = f'"$HOME/.sandbox/tools/{manager}-{version}"'
    return (
        f'export PATH="$HOME/.sandbox/bin:$PATH"; '
        f"if ! {kept}; then t={folder}; "
        f'[ -e "$t/node_modules/.bin/{manager}" ] || (cd "$HOME" && '
        f'npm install --prefix "$t" --no-save --no-audit --no-fund --no-package-lock '
        f"{package}@{version}) || exit; "
        f'mkdir -p "$HOME/.sandbox/bin"; for b in "$t"/node_modules/.bin/*; '
        f'do ln -sfn "$b" "$HOME/.sandbox/bin/$(basename "$b")"; done; '
        f"hash -r; fi; "
    )


def _version_of_lock(read: Reader, manager: Manager, berry: bool) -> str:
    """The major that wrote the lock file, as the newest may not read it or would write it anew."""
    if manager == "pnpm":
        match = re.search(r"^lockfileVersion:\s*['\"]?(\d+)", text(read, "pnpm-lock.yaml"), re.MULTILINE)
        return {"5": "7", "6": "8"}.get(match[1] if match else "", "10")
    if manager == "yarn" and berry:
        match = re.search(r"^__metadata:\s+version:\s*(\d+)", text(read, "yarn.lock")[:2000], re.MULTILINE)
        return "3" if match is not None and int(match[1]) < 8 else "4"
    return "1"


def _with_yarns_host(install: str) -> str:
    """Yarn 1 asks the registry that its lock file names, whatever is set: it is another for the time of the install."""
    named = rf"^\(  resolved \"\)\(https\{{0,1\}}://[^/\"]*\)/{_PACKAGE_PATH}"
    return (
        f'if [ -n "$r" ] && [ -e yarn.lock ]; then l=$(sed -n "s#{named}.*#\\2#p" yarn.lock | head -n 1); '
        f'sed -i "s#{named}#\\1${{r%/}}/\\3#" yarn.lock; {install}; status=$?; '
        f'[ -z "$l" ] || sed -i "s#^\\(  resolved \\"\\)${{r%/}}/#\\1$l/#" yarn.lock; exit $status; else {install}; fi'
    )
