"""What is installed: a table of manifests and the steps that they ask for."""

import json
from typing import Any

import pytest

from runner_agent import detect
from runner_agent.detect import failures, hosts
from runner_agent.detect.versions import good_nodes, good_pythons
from tests.unit.runner_agent.files import Files


def package(**more: Any) -> str:
    return json.dumps({"scripts": {"dev": "vite"}, "devDependencies": {"vite": "7"}, **more})


def installs(files: dict[str, str]) -> tuple[detect.Install, ...]:
    return detect.installs(Files(files))


def text(files: dict[str, str]) -> str:
    (found,) = installs(files)
    return found.command[2]


@pytest.mark.parametrize(
    ("files", "tool", "command"),
    [
        ({"package.json": package(packageManager="pnpm@10.13.1+sha512.abc")}, "pnpm@10.13.1", "pnpm install --prod=false"),
        ({"package.json": package(), "pnpm-lock.yaml": "lockfileVersion: '9.0'"}, "pnpm@10", "pnpm install"),
        ({"package.json": package(), "pnpm-lock.yaml": "lockfileVersion: 5.4"}, "pnpm@7", "pnpm install"),
        ({"package.json": package(), "yarn.lock": "# yarn lockfile v1"}, "yarn@1", "yarn install --production=false"),
        ({"package.json": package(packageManager="yarn@4.1.0")}, "@yarnpkg/cli-dist@4.1.0", "yarn install"),
        ({"package.json": package(), "yarn.lock": "__metadata:\n  version: 6\n"}, "@yarnpkg/cli-dist@3", "yarn install"),
        ({"package.json": package(), "bun.lock": ""}, "bun@1", "bun install"),
        ({"package.json": package(scripts={"dev": "bunx vite"})}, "bun@1", "bun install"),
    ],
)
def test_the_package_manager_comes_from_the_registry_in_the_version_of_the_project(
    files: dict[str, str], tool: str, command: str
) -> None:
    script = text(files)
    assert f" {tool}) || exit" in script
    assert command in script
    assert "NPM_CONFIG_REGISTRY" in script


def test_npm_installs_what_a_dev_server_needs_also_under_node_env_production() -> None:
    assert text({"package.json": package()}).endswith("npm install --include=dev --no-audit --no-fund")


@pytest.mark.parametrize(("settings", "mark"), [("", ".pnp.cjs"), ("nodeLinker: node-modules\n", "node_modules")])
def test_yarn_4_leaves_one_of_two_marks(settings: str, mark: str) -> None:
    (found,) = installs({"package.json": package(packageManager="yarn@4.1.0"), ".yarnrc.yml": settings})
    assert found.folder == mark


def test_a_members_manifest_is_part_of_the_digest() -> None:
    tree = {"package.json": package(workspaces=["apps/*"]), "apps/web/package.json": package()}
    other = {**tree, "apps/web/package.json": package(dependencies={"dayjs": "1"})}
    assert installs(tree)[0].digest != installs(other)[0].digest


def test_a_lock_file_that_the_install_writes_leaves_the_digest_of_manifests() -> None:
    tree = {"package.json": package()}
    locked = {**tree, "package-lock.json": "{}"}
    assert installs(tree)[0].digest != installs(locked)[0].digest
    assert installs(tree)[0].manifests == installs(locked)[0].manifests


def test_both_languages_of_one_tree_are_installed() -> None:
    tree = {"package.json": package(), "requirements.txt": "flask"}
    assert [each.folder for each in installs(tree)] == ["node_modules", ".venv"]


GROUPS = '[project]\ndependencies = ["flask"]\n[dependency-groups]\ndev = ["ruff", {include-group = "t"}]\nt = ["pytest"]'
POETRY = """[tool.poetry.dependencies]
python = "^3.11"
flask = "^3.0"
uvicorn = {version = "~0.30", extras = ["standard"]}
x = "*"
"""


@pytest.mark.parametrize(
    ("files", "arguments"),
    [
        ({"requirements.txt": "flask"}, "-r requirements.txt"),
        ({"requirements/dev.txt": "-r base.txt", "requirements/base.txt": "flask"}, "-r requirements/dev.txt"),
        ({"pyproject.toml": '[project]\nname = "a"\ndependencies = ["flask>=3"]'}, "'flask>=3'"),
        (
            {"pyproject.toml": GROUPS},
            "flask ruff pytest",
        ),
        ({"pyproject.toml": POETRY}, "'flask>=3.0,<4' 'uvicorn[standard]>=0.30,<0.31' x"),
        ({"Pipfile": '[packages]\nflask = "*"\nredis = {version = ">=5"}'}, "flask 'redis>=5'"),
        ({"setup.py": ""}, "-e ."),
        ({"requirements.txt": "fastapi"}, "-r requirements.txt uvicorn"),
        ({"requirements.txt": "fastapi[standard]"}, "-r requirements.txt"),
        ({"main.py": "import flask, bs4, os"}, "beautifulsoup4 flask"),
    ],
)
def test_python_manifests_of_all_kinds_become_one_pip_install(files: dict[str, str], arguments: str) -> None:
    (found,) = installs(files)
    assert found.shown == f"pip install {arguments}"
    assert found.folder == ".venv"


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": '[build-system]\nrequires = ["hatchling"]'},
        {"pyproject.toml": "[tool.ruff]"},
        {"pyproject.toml": "["},
        {"main.py": "import os"},
    ],
)
def test_a_project_that_names_no_package_installs_none(files: dict[str, str]) -> None:
    assert installs(files) == ()


@pytest.mark.parametrize("lock", ["uv.lock", "poetry.lock"])
def test_a_lock_files_versions_are_constraints(lock: str) -> None:
    locked = '[[package]]\nname = "flask"\nversion = "3.0.1"\n[[package]]\nname = "me"\nversion = "1"\nsource = {virtual = "."}\n'
    script = text({"pyproject.toml": '[project]\ndependencies = ["flask"]', lock: locked})
    assert "printf flask==3.0.1" in script
    assert "-c " in script
    assert "me==1" not in script


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [
        (">=18", 24, 16),
        ("20.x", 20, 24),
        ("^20 || >=22", 24, 21),
        ("v18.12.0", 18, 24),
        (">=18 <23", 22, 24),
        (">= 20.19.0", 24, 18),
        ("18 - 20", 19, 24),
    ],
)
def test_ranges_of_node_are_understood_by_their_major(wanted: str, good: int, bad: int) -> None:
    majors = good_nodes(wanted) or []
    assert good in majors
    assert bad not in majors


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [(">=3.12", 12, 11), ("^3.11", 12, 10), (">=3.8,<3.12", 11, 12), ("~=3.10", 11, 9), ("==3.11.*", 11, 12)],
)
def test_ranges_of_python_are_understood_by_their_minor(wanted: str, good: int, bad: int) -> None:
    minors = good_pythons(wanted) or []
    assert good in minors
    assert bad not in minors


def test_a_version_that_the_image_lacks_is_said() -> None:
    assert ".nvmrc asks for Node 18" in text({"package.json": package(), ".nvmrc": "18\n"})
    assert "asks for Python >=3.99" in text({"pyproject.toml": '[project]\nrequires-python = ">=3.99"\ndependencies = ["x"]'})
    assert "asks for" not in text({"package.json": package(engines={"node": "$(reboot)"})})


@pytest.mark.parametrize(
    ("line", "host"),
    [
        (
            "npm error request to https://packages.example.org/vite failed, reason: getaddrinfo EAI_AGAIN packages.example.org",
            "packages.example.org",
        ),
        ("Error: getaddrinfo ENOTFOUND binaries.prisma.sh", "binaries.prisma.sh"),
        ("curl: (6) Could not resolve host: example.com", "example.com"),
        (
            "HTTPSConnectionPool(host='index.example.org', port=443): NewConnectionError: Temporary failure in name resolution",
            "index.example.org",
        ),
        ("dial tcp: lookup modules.example.org: no such host", "modules.example.org"),
        ("connect ECONNREFUSED https://github.com/a/b", "github.com"),
        ("see https://example.com for help", None),
        ("connect ECONNREFUSED 127.0.0.1:5432", None),
    ],
)
def test_a_host_that_was_wanted_in_vain_is_named(line: str, host: str | None) -> None:
    assert hosts.wanted([line]) == ((host,) if host else ())


def test_lines_begin_with_the_first_error() -> None:
    lines = ["added 1", "npm error code ERESOLVE", "npm error peer x", "npm error A complete log of this run"]
    assert failures.from_first_error(lines) == tuple(lines[1:])
    assert not failures.network_failed(lines)
    assert failures.network_failed(["npm error code ECONNRESET", "npm error network"])
    assert failures.network_failed(["error: 502 Bad Gateway"])
    assert failures.network_failed(["Service Unavailable (503)"])
    assert failures.from_first_error(["\x1b[31m➤ YN0001: │ it failed", "x"])[0].endswith("it failed")
    assert len(failures.from_first_error([str(n) for n in range(100)])) == 40


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Looking in indexes: https://me:pa55@pypi.example/simple", "Looking in indexes: https://***@pypi.example/simple"),
        ("//r/:_authToken=abc", "//r/:_authToken=***"),
        ("Looking in https://tok@pypi.example/", "Looking in https://***@pypi.example/"),
    ],
)
def test_credentials_are_not_shown(line: str, shown: str) -> None:
    assert failures.without_secrets(line) == shown
