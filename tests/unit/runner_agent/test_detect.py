import json

import pytest

from runner_agent import detect
from runner_agent.detect import NoCommandError, Plan
from runner_agent.detect.languages import compiles
from tests.unit.runner_agent.files import Files


def reader(files: dict[str, str]) -> detect.Reader:
    return Files(files)


def plan(files: dict[str, str], command: list[str] | None = None) -> Plan:
    return detect.plan(reader(files), command, 3000)


def install(files: dict[str, str]) -> detect.Install | None:
    found = detect.installs(reader(files))
    assert len(found) < 2
    return found[0] if found else None


def package(**scripts: str) -> str:
    return json.dumps({"scripts": scripts, "dependencies": {"left-pad": "1"}})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"package.json": package(dev="vite", start="node x")}, "npm run dev -- --host 0.0.0.0 --port 3000 --strictPort"),
        ({"package.json": package(dev="next dev")}, "npm run dev -- --hostname 0.0.0.0 --port 3000"),
        ({"package.json": package(start="node server.js"), "app.py": ""}, "npm run start"),
        ({"app.py": "x", "requirements.txt": "aiohttp"}, ".venv/bin/python app.py"),
        ({"main.py": "app = FastAPI()"}, "python3 -m uvicorn main:app --host 0.0.0.0 --port 3000"),
        ({"app.py": "app = Flask(__name__)"}, "python3 -m flask --app app run --debug --no-reload --host 0.0.0.0 --port 3000"),
        ({"manage.py": "", "app.py": ""}, "python3 manage.py runserver 0.0.0.0:3000 --noreload"),
    ],
)
def test_the_command_is_found_from_the_tree(files: dict[str, str], expected: str) -> None:
    assert " ".join(plan(files).command) == expected


def test_a_procfile_with_a_nul_makes_a_command_that_can_be_run() -> None:
    assert not any("\0" in word for word in plan({"Procfile": "web: serve\0 $PORT"}).command)


def test_a_static_site_is_served_and_needs_no_restart() -> None:
    found = plan({"index.html": "", "style.css": ""})
    assert (found.framework, found.reloads, found.command[-3:]) == ("static", True, ("3000", ".", "index.html"))
    assert not found.triggered_by(["style.css", "index.html"])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "nothing at the top"),
        ({"package.json": "{}"}, "neither a dev nor a start script"),
        ({"package.json": "{"}, "not JSON"),
        ({"package.json": "[]"}, "not a JSON object"),
        ({"package.json": "[" * 100_000}, "not JSON"),
        ({"package.json": '{"scripts": {"dev": 3}}'}, "neither"),
    ],
)
def test_a_tree_without_a_command_says_what_would_help(files: dict[str, str], words: str) -> None:
    with pytest.raises(NoCommandError, match=words):
        plan(files)


def test_a_given_command_wins() -> None:
    assert plan({"package.json": package()}, ["node", "x.js"]).command == ("node", "x.js")


@pytest.mark.parametrize(("lock", "manager"), [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("package-lock.json", "npm")])
def test_the_lock_file_names_the_package_manager(lock: str, manager: str) -> None:
    found = install({"package.json": package(dev="vite"), lock: ""})
    assert found is not None
    assert found.folder == "node_modules"
    assert found.shown == f"{manager} install"


def test_an_install_is_due_again_when_manifest_or_lock_change() -> None:
    def digest(files: dict[str, str]) -> str:
        found = install(files)
        assert found is not None
        return found.digest

    base = {"package.json": package(dev="vite"), "package-lock.json": "1"}
    assert digest(base) == digest({**base, "src.js": "x"})
    assert len({digest(base), digest({**base, "package-lock.json": "2"}), digest({**base, ".npmrc": "x"})}) == 3


@pytest.mark.parametrize("manifest", ["{}", '{"dependencies": {}}', '{"scripts": {"dev": "vite"}}'])
def test_a_package_without_dependencies_needs_no_install(manifest: str) -> None:
    assert install({"package.json": manifest}) is None


@pytest.mark.parametrize(
    ("script", "restarts"), [("node server.js", True), ("node --watch server.js", True), ("nodemon server.js", True)]
)
def test_node_is_restarted_for_its_sources_whoever_watched_them(script: str, restarts: bool) -> None:
    assert plan({"package.json": package(start=script)}).triggered_by(["lib/server.js"]) is restarts


@pytest.mark.parametrize(
    ("path", "python", "node"),
    [
        ("app.py", True, False),
        ("lib/x.py", True, False),
        ("package.json", True, True),
        ("web/package.json", True, True),
        ("vite.config.ts", True, True),
        (".env.local", True, True),
        ("src/App.jsx", False, False),
        ("my.package.jsonl", False, False),
    ],
)
def test_what_nothing_reloads_needs_a_restart(path: str, python: bool, node: bool) -> None:
    assert plan({"app.py": ""}).triggered_by([path]) is python
    assert plan({"package.json": package(dev="vite")}).triggered_by([path]) is node


@pytest.mark.parametrize(
    ("command", "restarts"),
    [
        (["node", "w.js"], True),
        (["/usr/bin/node", "--watch", "w.js"], True),
        (["python3", "w.py"], False),
        (["sh", "w.js"], False),
    ],
)
def test_a_declared_command_that_reads_its_sources_once_is_restarted_for_them(command: list[str], restarts: bool) -> None:
    assert detect.declared(command, reader({})).triggered_by(["lib/a.js"]) is restarts


def test_a_language_that_the_template_has_an_image_for_is_one_command_away() -> None:
    error = detect.NoCommandError("go.mod found: this is a Go project, and this image has no Go", "go", "Choose an image")
    assert str(detect.with_image(error, ("go", "bun"))).endswith(
        "has no Go. Switch to the image that has it: kubectl sandbox use NAME go"
    )
    assert detect.with_image(error, ("bun",)) is error


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("go run .", True),
        ("cd api && exec cargo run --release", True),
        ("./gradlew bootRun", True),
        ("sh -c 'dotnet run'", True),
        ("npm run dev", False),
        ("python3 going.py", False),
        ("", False),
    ],
)
def test_a_command_that_builds_a_program_first_is_known(shown: str, expected: bool) -> None:
    assert compiles(shown) is expected
