"""What is run where the app lies in a folder, and which folder's packages it finds."""

import json

import pytest

from runner_agent import detect
from tests.unit.runner_agent.files import Files

VITE = "--host 0.0.0.0 --port 3000 --strictPort"


def package(**scripts: str) -> str:
    return json.dumps({"scripts": scripts, "devDependencies": {"vite": "7"}})


def run(files: dict[str, str]) -> detect.Plan:
    return detect.plan(Files(files), None, 3000)


def installs(files: dict[str, str]) -> list[str]:
    return [each.shown for each in detect.installs(Files(files))]


def test_an_app_two_folders_down_is_found() -> None:
    files = {"README.md": "", "project/frontend/package.json": package(dev="vite")}
    assert run(files).shown == "npm run dev (in project/frontend)"
    assert installs(files) == ["npm install (in project/frontend)"]


def test_a_workspace_without_a_script_at_its_top_runs_its_web_and_its_api() -> None:
    files = {
        "package.json": json.dumps({"scripts": {"build": "turbo build"}, "workspaces": ["apps/*"]}),
        "apps/web/package.json": package(dev="vite"),
        "apps/web/index.html": "",
        "apps/docs/package.json": package(dev="vite"),
        "apps/api/package.json": package(dev="tsx watch src/index.ts"),
        "apps/api/src/index.ts": "",
    }
    plan = run(files)
    assert plan.shown == "npm run dev (in apps/web), npm run dev (in apps/api, port 8000)"
    assert plan.triggered_by(["apps/api/src/db.ts"])
    assert not plan.triggered_by(["apps/web/src/App.jsx"])
    assert installs(files) == ["npm install"]


def test_an_app_goes_before_documents_beside_it() -> None:
    files = {"docs/index.html": "", "backend/app.py": "app = Flask(__name__)", "backend/requirements.txt": "flask"}
    assert run(files).framework == "flask"


@pytest.mark.parametrize("folder", ["dist", "build", "docs", "public"])
def test_what_was_built_is_shown_where_nothing_runs(folder: str) -> None:
    assert run({f"{folder}/index.html": "", "README.md": ""}).shown == f"serve {folder}"


@pytest.mark.parametrize(
    ("names", "page"),
    [
        (["index.htm"], "index.htm"),
        (["Index.html"], "Index.html"),
        (["about.html", "home.html"], "home.html"),
        (["shop.html"], "shop.html"),
    ],
)
def test_a_site_begins_with_the_page_that_it_has(names: list[str], page: str) -> None:
    assert run(dict.fromkeys(names, "")).command[-1] == page


def test_what_makes_the_styles_runs_beside_the_pages() -> None:
    scripts = {"dev": "tailwindcss -i a.css -o b.css --watch"}
    plan = run({"index.html": "", "package.json": json.dumps({"scripts": scripts})})
    assert plan.shown == "serve . and npm run dev"
    assert "npm run dev & " in plan.command[2]


@pytest.mark.parametrize(
    "inner", [{"mysite/manage.py": ""}, {"site_/main.py": "app = FastAPI()"}, {"srv/app.py": "app = Flask(__name__)"}]
)
def test_an_app_in_a_folder_finds_the_packages_that_the_top_lists(inner: dict[str, str]) -> None:
    files = {"requirements.txt": "django\nfastapi\nflask\nuvicorn", **inner}
    assert "../.venv/bin/python" in run(files).command
    assert installs(files) == ["pip install -r requirements.txt"]


def test_pages_of_another_languages_project_are_not_shown_as_a_site() -> None:
    with pytest.raises(detect.NoCommandError, match="Hugo"):
        run({"hugo.toml": "", "layouts/index.html": ""})


@pytest.mark.parametrize("mark", ["artisan", "bin/rails", "symfony.lock"])
def test_the_assets_of_a_server_of_another_language_are_not_the_app(mark: str) -> None:
    files = {mark: "", "composer.json": "{}", "package.json": package(dev="vite")}
    with pytest.raises(detect.NoCommandError, match="PHP"):
        run(files)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("main.go", "a Go"),
        ("app.rb", "a Ruby"),
        ("Main.java", "a Java"),
        ("app.R", "an R"),
        ("home.php", "a PHP"),
        ("elm.json", "an Elm"),
    ],
)
def test_a_language_is_known_by_its_programs_too(file: str, said: str) -> None:
    with pytest.raises(detect.NoCommandError, match=f"{said} project"):
        run({file: ""})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"scripts": {"dev": "vite",}}', "line 1: the last comma before } is one too many"),
        ('{\n// why\n"a": 1}', "line 2: it cannot hold comments"),
        ("", "it is empty"),
        ('{\n<<<<<<< HEAD\n"a": 1\n=======\n', "merge conflict"),
    ],
)
def test_what_is_wrong_with_a_package_json_is_said_in_plain_words(content: str, words: str) -> None:
    with pytest.raises(detect.NoCommandError, match=words):
        run({"package.json": content})


@pytest.mark.parametrize("file", ["pyproject.toml", "Pipfile"])
def test_what_is_wrong_with_a_python_manifest_is_said_where_nothing_else_lists_packages(file: str) -> None:
    app = {"app.py": "app = Flask(__name__)", file: "[project\nname ="}
    with pytest.raises(detect.NoCommandError, match=r"is not TOML: .*line 1"):
        run(app)
    assert run({**app, "requirements.txt": "flask"}).framework == "flask"
