"""What is run for a Python project: a table of trees and their commands."""

import pytest

from runner_agent import detect
from tests.unit.runner_agent.files import Files

AT = "--host 0.0.0.0 --port 3000"
REQUIREMENTS = {"requirements.txt": "x"}
FAST = "from fastapi import FastAPI\napp = FastAPI()\n"


def run(files: dict[str, str]) -> detect.Plan:
    return detect.plan(Files({**REQUIREMENTS, **files}), None, 3000)


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"main.py": FAST}, f"-m uvicorn main:app {AT}"),
        ({"main.py": "from fastapi import FastAPI\napi: FastAPI = FastAPI()"}, f"-m uvicorn main:api {AT}"),
        (
            {"server.py": "from fastapi import FastAPI\ndef create_app():\n  return FastAPI()"},
            f"-m uvicorn server:create_app --factory {AT}",
        ),
        ({"app/main.py": FAST, "app/__init__.py": ""}, f"-m uvicorn app.main:app {AT}"),
        ({"src/main.py": FAST + "import routes", "src/routes.py": ""}, f"-m uvicorn main:app --app-dir src {AT}"),
        ({"src/shop/__init__.py": "", "src/shop/api.py": FAST}, f"-m uvicorn shop.api:app --app-dir src {AT}"),
        ({"shop/__init__.py": "", "shop/asgi.py": FAST}, f"-m uvicorn shop.asgi:app {AT}"),
        (
            {"asgi.py": "from starlette.applications import Starlette\napplication = Starlette()"},
            f"-m uvicorn asgi:application {AT}",
        ),
        (
            {"main.py": FAST + "if __name__ == '__main__':\n  import uvicorn\n  uvicorn.run('main:app', port=8000, reload=True)"},
            f"-m uvicorn main:app {AT}",
        ),
        (
            {"app.py": "from flask import Flask\napp = Flask(__name__)\nif __name__ == '__main__': app.run(port=5000)"},
            f"-m flask --app app run --debug --no-reload {AT}",
        ),
        ({"app.py": "from flask import Flask\nweb = Flask(__name__)"}, f"-m flask --app app:web run --debug --no-reload {AT}"),
        (
            {"wsgi.py": "from shop import create_app\napp = create_app()", "requirements.txt": "Flask==3"},
            f"-m flask --app wsgi run --debug --no-reload {AT}",
        ),
        (
            {"app.py": "from flask import Flask\napp = Flask(__name__)\nif __name__ == '__main__':\n  init_db()\n  app.run()"},
            "app.py",
        ),
        (
            {"app.py": "import streamlit as st"},
            "-m streamlit run app.py --server.address 0.0.0.0 --server.port 3000 --server.headless true --server.runOnSave true",
        ),
        ({"app.py": "import gradio as gr\ngr.Interface(f, 'text', 'text').launch()"}, "app.py"),
        ({"app.py": "from dash import Dash\napp = Dash()\nif __name__ == '__main__': app.run(debug=True)"}, "app.py"),
        ({"server.py": "from sanic import Sanic\napp = Sanic('x')"}, f"-m sanic server:app {AT} --single-process"),
        (
            {"manage.py": "", "package.json": '{"scripts": {"dev": "tailwindcss -w"}}'},
            "manage.py runserver 0.0.0.0:3000 --noreload",
        ),
        ({"main.py": "def f(:"}, "main.py"),
        ({"run.py": "from aiohttp import web\nweb.run_app(app)"}, "run.py"),
    ],
)
def test_the_application_is_found_and_run_plainly(files: dict[str, str], command: str) -> None:
    plan = run(files)
    assert " ".join(plan.command) == f".venv/bin/python {command}"
    assert plan.shown.startswith("python ")
    assert plan.reloads is (plan.framework == "streamlit")
    assert plan.triggered_by(["lib/x.py", "templates/a.html"]) is not plan.reloads


def test_what_takes_no_port_by_argument_gets_it_by_variable() -> None:
    env = run({"app.py": "import gradio as gr\ngr.Blocks().launch()"}).env
    assert env["GRADIO_SERVER_PORT"] == env["FLASK_RUN_PORT"] == env["NITRO_PORT"] == "3000"
    assert detect.declared(["python3", "w.py"], Files({})).env == {"BROWSER": "none"}


def test_the_front_end_has_the_port_and_the_server_beside_it_its_own() -> None:
    files = {
        "frontend/package.json": '{"scripts": {"dev": "vite"}, "devDependencies": {"vite": "7"}}',
        "frontend/vite.config.js": "proxy: {'/api': 'http://localhost:5001'}",
        "backend/main.py": FAST,
        "backend/requirements.txt": "fastapi",
    }
    plan = detect.plan(Files(files), None, 3000)
    text = plan.command[2]
    assert "(cd backend && exec env PORT=5001 .venv/bin/python -m uvicorn main:app --host 0.0.0.0 --port 5001) &" in text
    assert text.endswith("cd frontend && exec npm run dev -- --host 0.0.0.0 --port 3000 --strictPort")
    assert plan.reloads
    assert plan.triggered_by(["backend/lib.py"])
    assert not plan.triggered_by(["frontend/x.py"])
    assert [each.folder for each in detect.installs(Files(files))] == ["backend/.venv", "frontend/node_modules"]


def test_the_only_app_below_the_top_runs_in_its_folder() -> None:
    plan = detect.plan(Files({"README.md": "", "web/package.json": '{"scripts": {"dev": "node a.js"}}'}), None, 3000)
    assert plan.command[:3] == ("sh", "-c", 'cd web && exec "$0" "$@"')
    assert plan.shown == "npm run dev (in web)"


def test_several_apps_below_the_top_are_named_with_what_to_set() -> None:
    files = {f"{name}/package.json": '{"scripts": {"dev": "vite"}}' for name in ("a", "b", "c")}
    with pytest.raises(detect.NoCommandError, match="workingDir to /workspace/a"):
        detect.plan(Files(files), None, 3000)


@pytest.mark.parametrize(
    ("file", "language"),
    [
        ("go.mod", "go"),
        ("Cargo.toml", "rust"),
        ("Gemfile", "ruby"),
        ("composer.json", "php"),
        ("pom.xml", "java"),
        ("build.gradle.kts", "java"),
        ("deno.json", "deno"),
        ("Shop.csproj", "dotnet"),
        ("mix.exs", "elixir"),
        ("Makefile", ""),
    ],
)
def test_a_project_of_another_language_is_called_by_its_name(file: str, language: str) -> None:
    with pytest.raises(detect.NoCommandError, match=f"{file} found") as refused:
        detect.plan(Files({file: ""}), None, 3000)
    assert refused.value.language == language


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"go.mod": "", "main.go": "func main() {}"}, "go run ."),
        ({"go.mod": "", "cmd/shop/main.go": ""}, "go run ./cmd/shop"),
        ({"Cargo.toml": ""}, "cargo run"),
        ({"Gemfile": "", "config.ru": ""}, "bundle exec rackup -o 0.0.0.0 -p 3000"),
        ({"composer.json": "", "public/index.php": ""}, "php -S 0.0.0.0:3000 -t public"),
        ({"deno.json": '{"tasks": {"dev": "x"}}'}, "deno task dev"),
    ],
)
def test_it_runs_where_the_image_has_its_program(files: dict[str, str], command: str) -> None:
    program = detect.wanted_program(Files(files))
    assert program == command.split(maxsplit=1)[0]
    plan = detect.plan(Files(files), None, 3000, (program or "",))
    assert " ".join(plan.command) == command


def command_of(files: dict[str, str]) -> str:
    return " ".join(detect.plan(Files(files), None, 3000).command)


AT = "--host 0.0.0.0 --port 3000"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"todo.py": "app = Flask(__name__)"}, f"flask --app todo run --debug --no-reload {AT}"),
        ({"chat_api.py": "api = FastAPI()", "models.py": "x = FastAPI()", "z.py": "import models"}, f"uvicorn chat_api:api {AT}"),
        ({"pkg/__init__.py": "", "pkg/web.py": "api = FastAPI()"}, f"uvicorn pkg.web:api {AT}"),
        ({"pkg/__init__.py": "", "pkg/__main__.py": "import uvicorn\nuvicorn.run('pkg.a:x')"}, "python3 -m pkg"),
        ({"sales.py": "import streamlit as st\nimport charts", "charts.py": "import streamlit"}, "streamlit run sales.py"),
        ({"app.py": "from shiny import App, ui\napp = App(ui.page(), None)"}, f"shiny run app.py {AT}"),
        ({"app.py": "from shiny.express import ui"}, f"shiny run app.py {AT}"),
        (
            {"notebook.py": "import marimo\napp = marimo.App()\nif __name__ == '__main__':\n    app.run()"},
            f"marimo run notebook.py {AT}",
        ),
        ({"main.py": "from bokeh.plotting import curdoc"}, "bokeh serve main.py --address 0.0.0.0 --port 3000"),
        ({"app.py": "import falcon.asgi\napp = falcon.asgi.App()"}, f"uvicorn app:app {AT}"),
        ({"server.py": "from blacksheep import Application\napp = Application()"}, f"uvicorn server:app {AT}"),
        ({"asgi.py": "async def app(scope, receive, send): ..."}, f"uvicorn asgi:app {AT}"),
        (
            {"wsgi.py": "def application(environ, start_response): ...", "requirements.txt": "gunicorn"},
            "gunicorn --bind 0.0.0.0:3000 --threads 8 wsgi:application",
        ),
        ({"wsgi.py": "def application(environ, start_response): ..."}, "make_server('0.0.0.0', 3000, m.application, S)"),
        ({"index.py": "from app import app\napp.run()", "app.py": "import dash\napp = dash.Dash()"}, "python index.py"),
        ({"x.py": "from http.server import test\ntest()", "main.py": "print(1)"}, "python3 main.py"),
        ({"mkdocs.yml": ""}, "mkdocs serve -a 0.0.0.0:3000"),
        ({"docs/conf.py": "project = 'x'"}, f"sphinx_autobuild docs /tmp/sphinx {AT}"),
        ({"a.ipynb": "{}", "requirements.txt": "voila"}, "voila a.ipynb"),
    ],
)
def test_an_app_is_known_by_what_it_makes_not_by_its_files_name(files: dict[str, str], expected: str) -> None:
    assert expected in command_of(files)


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        ({"a.py": "# /// script\n# dependencies = [\n#   'bottle',\n# ]\n# ///\nimport bottle"}, "pip install bottle"),
        (
            {"environment.yml": "dependencies:\n  - python=3.11\n  - flask=3.0\n  - pip\n  - pip:\n    - flask-cors==4.0.1\n"},
            "pip install 'flask==3.0.*' flask-cors==4.0.1",
        ),
        ({"mkdocs.yml": "theme:\n  name: material\n"}, "pip install mkdocs mkdocs-material"),
        ({"mkdocs.yml": "", "requirements.txt": "mkdocs-material"}, "pip install -r requirements.txt"),
        (
            {"docs/conf.py": "project = 'x'", "docs/requirements.txt": "sphinx"},
            "pip install -r docs/requirements.txt sphinx-autobuild",
        ),
        ({"main.py": "import db", "db.py": "import sqlalchemy, redis", "redis.py": ""}, "pip install sqlalchemy"),
    ],
)
def test_packages_are_found_wherever_a_project_lists_them(files: dict[str, str], shown: str) -> None:
    assert [each.shown for each in detect.installs(Files(files))] == [shown]


def test_a_member_of_the_workspace_is_imported_from_the_tree_and_never_asked_of_an_index() -> None:
    files = {
        "pyproject.toml": "[project]\nname='r'\ndependencies=['core','absent']\n[tool.uv.workspace]\nmembers=['packages/*']\n"
        "[tool.uv.sources]\ncore={workspace=true}\nabsent={workspace=true}\n",
        "packages/core/pyproject.toml": "[project]\nname='core'\ndependencies=['fastapi','uvicorn']",
        "packages/core/src/core/__init__.py": "",
        "main.py": "import core\napp = FastAPI()",
    }
    (found,) = detect.installs(Files(files))
    assert found.shown == "pip install fastapi uvicorn"
    assert '"$PWD"/packages/core/src' in found.command[2]
    more = {**files, "packages/core/pyproject.toml": "[project]\nname='core'\ndependencies=['fastapi','uvicorn','redis']"}
    assert detect.installs(Files(more))[0].manifests != found.manifests


@pytest.mark.parametrize("wrong", ["def broken(:", "x = (1,\n", "print 'hello'", '"""', "if True:"])
@pytest.mark.parametrize(
    "files",
    [
        {"todo.py": "from flask import Flask\napp = Flask(__name__)\n@app.get('/')\ndef index():\n    return ''\n"},
        {"main.py": "from fastapi import FastAPI\napi = FastAPI()\n"},
        {"app.py": "import streamlit as st\nst.title('x')\n"},
        {"app.py": "from flask import Flask\napp = Flask(__name__)\nif __name__ == '__main__':\n    app.run(debug=True)\n"},
        {"srv.py": "import http.server\nif __name__ == '__main__':\n    http.server.test()\n"},
    ],
)
def test_a_syntax_error_leaves_an_app_what_it_was(files: dict[str, str], wrong: str) -> None:
    broken = {name: content + "\n" + wrong + "\n" for name, content in files.items()}
    assert command_of(broken) == command_of(files)
    assert detect.installs(Files(broken)) == detect.installs(Files(files))


def test_a_start_of_uvicorn_is_a_command_of_uvicorn() -> None:
    start = "import uvicorn\nif __name__ == '__main__':\n    uvicorn.run('svc.a:api', port=8000, reload=True)\n"
    assert f"uvicorn svc.a:api {AT}" in command_of({"run.py": start})
    assert "python run.py" in command_of(
        {"run.py": start.replace("reload=True", "ssl_keyfile='k'"), "requirements.txt": "uvicorn"}
    )


def test_a_script_that_does_not_even_start_anything_gives_way_to_a_page() -> None:
    assert detect.plan(Files({"main.py": "print(1)", "index.html": ""}), None, 3000).framework == "static"
    assert detect.plan(Files({"main.py": "print(1)"}), None, 3000).shown == "python main.py"
