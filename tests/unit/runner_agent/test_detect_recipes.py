"""What is run for projects whose other files name the command."""

import pytest

from runner_agent import detect
from tests.unit.runner_agent.files import Files


def run(files: dict[str, str]) -> detect.Plan:
    return detect.plan(Files(files), None, 3000)


def text(files: dict[str, str]) -> str:
    return " ".join(run(files).command).rpartition(':$PATH"; ')[2]


INNER = {"svc/a.py": "", "requirements.txt": "flask"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"Procfile": "web: uvicorn svc.a:x --port=${PORT:-5000}\nworker: python w.py"},
            "exec uvicorn svc.a:x --host 0.0.0.0 --port 3000",
        ),
        ({"Makefile": "dev: install\n\tflask --app svc.a run\ninstall:\n\tpip install -r requirements.txt\n"}, None),
        ({"Makefile": "A = svc.a\nrun:\n\t@$(MAKE) go\ngo:\n\tflask --app $(A) run"}, None),
        ({"Makefile": "up:\n\tdocker compose up\nserve:\n\tflask --app svc.a run"}, None),
        ({"justfile": 'app := "svc.a"\ndefault:\n  just --list\ndev:\n  flask --app {{app}} run'}, None),
        ({"Taskfile.yml": "version: 3\ntasks:\n  dev:\n    cmds:\n      - flask --app svc.a run\n  test:\n    cmds: [x]"}, None),
        ({"pyproject.toml": "[tool.poe.tasks]\ndev = 'flask --app svc.a run'"}, None),
        ({"pyproject.toml": "[tool.pdm.scripts]\nstart = {cmd = 'flask --app svc.a run -p 5001'}"}, None),
        (
            {"run.sh": "#!/bin/bash\nsource .venv/bin/activate\npip install -r requirements.txt\nflask --app svc.a run\n"},
            None,
        ),
        ({".replit": 'run = ["flask", "--app", "svc.a", "run"]'}, None),
        ({".devcontainer/devcontainer.json": '{\n// why\n"postStartCommand": "flask --app svc.a run",}'}, None),
        ({"Dockerfile": 'FROM a\nCMD ["x"]\nFROM b\nENV PORT=80\nCMD ["flask", "--app", "svc.a", "run"]'}, None),
        ({"docker-compose.yml": "services:\n  web:\n    command: flask --app svc.a run\n"}, None),
    ],
)
def test_the_command_of_another_file_is_told_its_port(files: dict[str, str], expected: str | None) -> None:
    assert text({**INNER, **files}) == (expected or "exec flask --app svc.a run --host 0.0.0.0 --port 3000 --no-reload")


def test_a_makefiles_port_is_the_environments() -> None:
    files = {"Makefile": "PORT ?= 8000\nrun:\n\tpython3 tool.py --port $(PORT)", "tool.py": ""}
    assert text(files) == "exec python3 tool.py --port ${PORT:-8000}"


def test_variables_of_a_dockerfile_are_set() -> None:
    assert text({"Dockerfile": "FROM a\nENV FLASK_APP=svc.a\nCMD flask run", **INNER}).startswith(
        "exec env FLASK_APP=svc.a flask run"
    )


@pytest.mark.parametrize(
    "files",
    [
        {"Makefile": "run:\n\t$(shell which x) y\n"},
        {"Makefile": "run:\n\tgcc -o a a.c && ./a\n"},
        {"Dockerfile": 'FROM nginx\nCMD ["nginx", "-g", "daemon off;"]'},
        {"justfile": "dev:\n  flask --app {{unknown}} run"},
    ],
)
def test_what_is_not_understood_is_not_run(files: dict[str, str]) -> None:
    with pytest.raises(detect.NoCommandError):
        run(files)


def test_a_program_that_serves_goes_before_what_a_dockerfile_says() -> None:
    assert run({"package.json": '{"scripts": {"dev": "node server.js"}}', "Dockerfile": "CMD npm start"}).shown == "npm run dev"


def test_a_makefile_of_another_language_is_told_with_that_language() -> None:
    with pytest.raises(detect.NoCommandError, match=r"go\.mod found"):
        run({"go.mod": "", "Makefile": "run:\n\tgo run ."})
