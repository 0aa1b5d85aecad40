"""What is run for a package.json: a table of projects and their commands."""

import json
from typing import Any

import pytest

from runner_agent import detect
from tests.unit.runner_agent.files import Files

VITE = "--host 0.0.0.0 --port 3000 --strictPort"
AT = "--host 0.0.0.0 --port 3000"


def package(scripts: dict[str, str], **more: Any) -> str:
    return json.dumps({"name": "x", "scripts": scripts, **more})


def run(files: dict[str, str] | str) -> detect.Plan:
    tree = {"package.json": package({"dev": files})} if isinstance(files, str) else files
    return detect.plan(Files(tree), None, 3000)


def text(plan: detect.Plan) -> str:
    """What the shell or the package manager is given, without the line that sets PATH."""
    words = " ".join(plan.command)
    return words.rpartition(':$PATH"; ')[2].removeprefix("export npm_package_name=x; ").removeprefix('exec "$0" "$@" ')


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("vite", VITE),
        ("tsc -b && vite", VITE),
        ("cross-env NODE_ENV=development vite", VITE),
        ("dotenv -e .env.local -- vite", VITE),
        ("npx vite", VITE),
        ("rimraf .cache && npx --yes vite dev", VITE),
        ("next dev --turbopack", "--hostname 0.0.0.0 --port 3000"),
        ("nuxt dev", AT),
        ("astro dev", AT),
        ("ng serve", AT),
        ("react-router dev", AT),
        ("remix vite:dev", AT),
        ("vinxi dev", AT),
        ("gatsby develop", AT),
        ("vue-cli-service serve", AT),
        ("webpack serve --mode development", AT),
        ("parcel index.html", AT),
        ("storybook dev", f"{AT} --exact-port --ci"),
        ("expo start --web", "--port 3000"),
        ("docusaurus start", f"{AT} --no-open"),
        ("eleventy --serve", "--port=3000"),
        ("vitepress dev docs", AT),
        ("hexo server", "-i 0.0.0.0 -p 3000"),
        ("rsbuild dev", AT),
        ("nx serve web", "--port=3000"),
    ],
)
def test_a_dev_server_is_told_its_port_by_the_flags_that_it_knows(script: str, flags: str) -> None:
    plan = run(script)
    assert " ".join(plan.command) == f"npm run dev -- {flags}"
    assert plan.reloads
    assert plan.framework
    assert not plan.triggered_by(["src/App.jsx"])


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("vite --port 5173 --open", f"exec vite {VITE}"),
        ("next dev -p 4000", "exec next dev --hostname 0.0.0.0 --port 3000"),
        ("NODE_ENV=development vite --host localhost", f"exec env NODE_ENV=development vite {VITE}"),
        ("storybook dev -p 6006", f"exec storybook dev {AT} --exact-port --ci"),
    ],
)
def test_a_port_of_the_scripts_own_gives_way(script: str, expected: str) -> None:
    assert text(run(script)) == expected


@pytest.mark.parametrize(
    "script", ["react-scripts start", "BROWSER=none react-scripts start", "remix dev", "strapi develop", "make dev", "vite > log"]
)
def test_what_reads_port_or_is_not_understood_runs_as_written(script: str) -> None:
    plan = run(script)
    assert plan.command == ("npm", "run", "dev")
    assert plan.env["BROWSER"] == "none"


@pytest.mark.parametrize(
    ("script", "plain"),
    [
        ("node --watch server.js", "node server.js"),
        ("node --watch-path=./src --env-file=.env src/a.js", "node --env-file=.env src/a.js"),
        ("tsx watch --clear-screen=false src/index.ts", "tsx src/index.ts"),
        ("NODE_ENV=development nodemon server.js", "env NODE_ENV=development node server.js"),
        ("nodemon --watch src --ext ts,json --exec tsx src/index.ts", "tsx src/index.ts"),
        ('nodemon --exec "ts-node --files" src/index.ts', "ts-node --files src/index.ts"),
        ("nodemon app.ts", "ts-node app.ts"),
        ("ts-node-dev --respawn --transpile-only src/index.ts", "ts-node --transpile-only src/index.ts"),
        ("bun --watch index.ts", "bun index.ts"),
        ("bun run --hot index.ts", "bun run index.ts"),
        ("nest start --watch", "nest start"),
        ("uvicorn main:app --reload --reload-dir app --port 8000", f"uvicorn main:app {AT}"),
        ("gunicorn --reload app:app", "gunicorn app:app --bind 0.0.0.0:3000"),
        ("poetry run uvicorn main:app --reload", f"uvicorn main:app {AT}"),
        ("flask run --reload", f"flask run {AT} --no-reload"),
        ("python manage.py runserver", "python manage.py runserver 0.0.0.0:3000 --noreload"),
        ("dotnet watch run", "dotnet run"),
        ("watchexec -r -e js -- node a.js", "node a.js"),
    ],
)
def test_a_reloader_is_replaced_by_a_restart_of_ours(script: str, plain: str) -> None:
    plan = run(script)
    assert text(plan) == f"exec {plain}"
    assert plan.shown.endswith("run dev")
    assert not plan.reloads
    assert plan.triggered_by(["a.js", "a.py", "a.cs"])


@pytest.mark.parametrize(
    "script", ["nodemon --config other.json a.js", 'nodemon --exec "a && b"', "nodemon", "watchexec npm test"]
)
def test_a_reloader_that_is_not_understood_is_left_alone(script: str) -> None:
    assert run(script).command == ("npm", "run", "dev")


@pytest.mark.parametrize(
    "script",
    [
        "node server.js",
        "NODE_ENV=x node server.js",
        "cross-env A=b tsx server.ts",
        "npx ts-node src/a.ts",
        "nest start",
        "tsc && node dist/a.js",
    ],
)
def test_what_loads_once_is_restarted_for_its_sources(script: str) -> None:
    plan = run(script)
    assert plan.command == ("npm", "run", "dev")
    assert plan.triggered_by(["src/deep/a.ts"])
    assert not plan.triggered_by(["style.css"])


@pytest.mark.parametrize(
    "scripts",
    [
        {"start": "next build && next start"},
        {"start": "vite build && vite preview"},
        {"start": "npm run build && node server.js", "build": "vite build"},
        {"start": "npm run bundle && serve dist", "bundle": "rimraf dist && webpack && cp -r public dist"},
        {"start": "remix-serve ./build/index.js", "prestart": "remix vite:build && npm run build", "build": "vite build"},
        {"dev": "npm run start", "start": "astro preview", "prestart": "astro build"},
    ],
)
def test_what_shows_a_build_is_built_again_for_each_edit(scripts: dict[str, str]) -> None:
    plan = run({"package.json": package(scripts)})
    assert plan.triggered_by(["src/app.css"])
    assert not plan.reloads


def test_what_shows_a_build_of_nobody_sees_no_edit() -> None:
    plan = run("vite preview")
    assert not plan.triggered_by(["src/app.css"])
    assert not plan.reloads


@pytest.mark.parametrize("script", ["vue-tsc --noEmit && vite", "prisma generate && next dev", "npm run build && next dev"])
def test_a_dev_server_behind_a_build_sees_edits_by_itself(script: str) -> None:
    plan = run({"package.json": package({"dev": script, "build": "panda codegen"})})
    assert not plan.triggered_by(["src/app.css"])
    assert plan.reloads


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"package.json": package({"dev": "npm run serve", "serve": "vite"})}, f"npm run dev -- -- {VITE}"),
        (
            {
                "package.json": package({"dev": "npm run dev -w apps/web"}, workspaces=["apps/*"]),
                "apps/web/package.json": package({"dev": "astro dev"}),
            },
            f"npm run dev -- -- {AT}",
        ),
        (
            {
                "package.json": package({"dev": "pnpm -F web dev"}),
                "pnpm-workspace.yaml": "packages:\n  - 'apps/*'\n",
                "apps/web/package.json": json.dumps({"name": "web", "scripts": {"dev": "vite"}}),
            },
            f"pnpm run dev {VITE}",
        ),
        (
            {"package.json": package({"dev": "cd client && npm start"}), "client/package.json": package({"start": "vite"})},
            f"npm run dev -- -- {VITE}",
        ),
        (
            {
                "package.json": package({"dev": "yarn workspace web dev"}, workspaces=["web"]),
                "web/package.json": package({"dev": "ng serve"}).replace('"x"', '"web"'),
            },
            f"yarn run dev {AT}",
        ),
        (
            {
                "package.json": package({"dev": "npm run dev --prefix web"}),
                "web/package.json": package({"dev": "node --watch a.js"}),
            },
            '(cd web && PATH="$PWD/node_modules/.bin:$PATH" && node a.js)',
        ),
    ],
)
def test_scripts_that_call_scripts_are_followed(files: dict[str, str], expected: str) -> None:
    found = " ".join(run(files).command)
    assert found.endswith(expected)


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        (
            {"dev": 'concurrently -n a,b "vite" "node api.js"'},
            f"exec env -u PORT concurrently -n a,b 'vite {VITE}' 'node api.js'",
        ),
        (
            {"dev": "concurrently npm:dev:*", "dev:api": "node api.js", "dev:web": "vite"},
            f"exec env -u PORT concurrently 'npm run dev:api' 'npm run dev:web -- {VITE}'",
        ),
        ({"dev": "run-p web api", "web": "vite", "api": "node api.js"}, f"exec env -u PORT run-p 'web -- {VITE}' api"),
        ({"dev": "run-s build serve", "build": "tsc", "serve": "node a.js"}, "npm run dev"),
        ({"dev": "node api.js & vite"}, f"unset PORT; node api.js & vite {VITE}"),
    ],
)
def test_of_several_programs_the_front_end_gets_the_port(scripts: dict[str, str], expected: str) -> None:
    plan = run({"package.json": package(scripts), "api.js": "import './lib/db.js'", "lib/db.js": ""})
    assert text(plan) == expected
    if "vite" in str(scripts):
        assert plan.reloads
        assert plan.triggered_by(["api.js"])
        assert plan.triggered_by(["lib/db.js"])
        assert not plan.triggered_by(["src/App.js"])


def test_turbo_gives_the_flags_to_the_one_that_is_the_web() -> None:
    files = {
        "package.json": package({"dev": "turbo run dev"}, workspaces=["apps/*"]),
        "apps/api/package.json": json.dumps({"name": "api", "scripts": {"dev": "node a.js"}}),
        "apps/web/package.json": json.dumps({"name": "web", "scripts": {"dev": "vite"}}),
    }
    assert text(run(files)) == f"env -u PORT turbo run dev --filter=api & turbo run dev --filter=web -- {VITE}"


@pytest.mark.parametrize(
    ("scripts", "name"),
    [
        ({"dev": "vite", "start": "node x"}, "dev"),
        ({"start": "nest start", "start:dev": "nest start --watch", "build": "nest build"}, "start:dev"),
        ({"dev": "tsc -b", "start": "node x"}, "start"),
        ({"dev:web": "vite", "start": "node x"}, "dev:web"),
        ({"serve": "vite preview", "start": "vite"}, "start"),
        ({"serve": "docusaurus serve", "start": "docusaurus start"}, "start"),
        ({"build": "vite build", "serve": "vue-cli-service serve"}, "serve"),
    ],
)
def test_the_script_that_serves_is_found_by_its_usual_names(scripts: dict[str, str], name: str) -> None:
    assert run({"package.json": package(scripts)}).shown == f"npm run {name}"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"package.json": package({}, main="lib/a.js"), "lib/a.js": "app.listen(1)"}, "node lib/a.js"),
        ({"package.json": package({"build": "tsc"}), "server.js": "http.createServer()"}, "node server.js"),
    ],
)
def test_a_package_without_such_a_script_runs_its_main_program(files: dict[str, str], command: str) -> None:
    assert " ".join(run(files).command) == command


def test_a_package_that_only_builds_says_so() -> None:
    with pytest.raises(detect.NoCommandError, match="build, lint only build or check"):
        run({"package.json": package({"build": "vite build", "lint": "eslint ."})})


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["node", "--watch", "api/server.js"], "node api/server.js"),
        (["npm", "run", "dev"], "node a.js"),
        (["sh", "-c", "cd api && nodemon b.js"], "cd api && node b.js"),
    ],
)
def test_a_given_command_loses_its_reloader_and_nothing_else(command: list[str], expected: str) -> None:
    plan = detect.declared(command, Files({"package.json": package({"dev": "node --watch a.js"}), "a.js": "", "api/b.js": ""}))
    assert text(plan).removeprefix("exec ") == expected
    assert plan.triggered_by(["x.js"])


def test_a_given_command_finds_what_the_project_installed() -> None:
    plan = detect.declared(["uvicorn", "main:app"], Files({"requirements.txt": "fastapi"}))
    assert plan.command[-2:] == ("uvicorn", "main:app")
    assert "$PWD/.venv/bin" in plan.command[2]
    assert detect.declared(["sleep", "60"], Files({})).command == ("sleep", "60")


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        ({"server": "nodemon index.js", "test": "jest"}, "exec node index.js"),
        ({"dve": "vite"}, f"npm run dve -- {VITE}"),
        ({"build": "vite build", "local": "vite"}, f"npm run local -- {VITE}"),
        ({"watch": "webpack serve", "build": "webpack"}, f"npm run watch -- {AT}"),
        ({"storybook": "storybook dev", "page": "vite"}, f"npm run page -- {VITE}"),
        ({"dev": "vite --port ${PORT:-5173}"}, f"exec vite {VITE}"),
        ({"start": "pm2 start server.js -i max"}, "exec node server.js"),
        ({"start": "pm2 start ecosystem.config.js"}, "exec pm2-runtime ecosystem.config.js"),
    ],
)
def test_a_script_of_any_name_serves_when_its_program_is_known_to(scripts: dict[str, str], expected: str) -> None:
    assert text(run({"package.json": package(scripts), "index.js": "", "server.js": ""})) == expected


@pytest.mark.parametrize(
    ("dependencies", "more", "expected"),
    [
        (["vite"], {"index.html": "<script type=module src=/src/main.jsx>"}, f"exec vite {VITE}"),
        (["next", "vite"], {}, "exec next dev --hostname 0.0.0.0 --port 3000"),
        (["vitepress"], {"docs/.vitepress/config.js": ""}, f"exec vitepress dev docs {AT}"),
        (["nx"], {"apps/web/project.json": '{"name": "shop", "targets": {"serve": {}}}'}, "exec nx serve shop --port=3000"),
        (["express"], {"server.js": "app.listen(1)"}, "node server.js"),
        (["@types/bun"], {"index.ts": "Bun.serve({})"}, "bun index.ts"),
    ],
)
def test_without_a_script_the_dependencies_or_a_listening_file_say_what_serves(
    dependencies: list[str], more: dict[str, str], expected: str
) -> None:
    content = json.dumps({"name": "x", "devDependencies": dict.fromkeys(dependencies, "1")})
    assert text(run({"package.json": content, **more})) == expected


def test_a_script_that_shows_what_nobody_built_gives_way_to_the_dev_server() -> None:
    scripts = {"start": "next start", "build": "next build"}
    assert text(run({"package.json": package(scripts, dependencies={"next": "15"})})) == (
        "exec next dev --hostname 0.0.0.0 --port 3000"
    )


@pytest.mark.parametrize("script", ["vite build && vite preview", "npm run build && serve -s dist", "next build && next start"])
def test_what_is_built_before_it_is_served_is_built_again_for_every_source(script: str) -> None:
    plan = run({"package.json": package({"start": script, "build": "vite build"}, dependencies={"next": "15"})})
    assert plan.shown == "npm run start"
    assert plan.triggered_by(["src/App.vue"])
    assert plan.triggered_by(["src/style.css"])
    assert not plan.reloads


def test_a_server_without_a_package_runs_and_a_pages_own_script_does_not() -> None:
    assert text(run({"server.js": "require('http').createServer().listen(1)", "index.html": ""})) == "node server.js"
    assert run({"index.js": "socket.listen(1)", "index.html": ""}).framework == "static"


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        (
            {"dev": 'concurrently "vite --port 5000" "wait-on http://localhost:5000 tcp:4000 && electron ."'},
            f"exec env -u PORT concurrently 'vite {VITE}' 'wait-on http://localhost:3000 tcp:4000 && electron .'",
        ),
        (
            {"dev": 'concurrently "vite" "npm:app"', "app": "wait-on tcp:5173 && electron ."},
            "exec env -u PORT concurrently vite 'npm run app'",
        ),
    ],
)
def test_what_waits_for_the_web_finds_it(scripts: dict[str, str], expected: str) -> None:
    assert text(run({"package.json": package(scripts)})) == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "lerna run dev --parallel",
            f"env -u PORT lerna run dev --stream --scope=api & lerna run dev --stream --scope=web -- {VITE}",
        ),
        ("yarn workspaces foreach -Api run dev", f"env -u PORT yarn workspace api run dev & yarn workspace web run dev {VITE}"),
        ("bun --filter '*' dev", f"env -u PORT bun run --cwd p/api dev & bun run --cwd p/web dev {VITE}"),
        ("pnpm recursive run dev", f"env -u PORT pnpm --filter api run dev & pnpm --filter web run dev {VITE}"),
        ("pnpm -r --filter './p/*' dev", f"env -u PORT pnpm --filter api run dev & pnpm --filter web run dev {VITE}"),
    ],
)
def test_of_all_workspaces_the_front_end_gets_the_port(script: str, expected: str) -> None:
    files = {
        "package.json": package({"dev": script}, workspaces=["p/*"]),
        "p/web/package.json": json.dumps({"name": "web", "scripts": {"dev": "vite"}}),
        "p/api/package.json": json.dumps({"name": "api", "scripts": {"dev": "node index.js"}}),
    }
    assert text(run(files)) == expected


@pytest.mark.parametrize(
    ("said", "manager"),
    [
        ("pnpm@9.x", "pnpm@9"),
        ("pnpm@9", "pnpm@9"),
        ("pnpm", "pnpm@10"),
        ("yarn@stable", "@yarnpkg/cli-dist@4"),
        ("yarn@1", "yarn@1"),
    ],
)
def test_a_package_manager_without_an_exact_version_is_still_the_one_that_was_named(said: str, manager: str) -> None:
    content = json.dumps({"packageManager": said, "dependencies": {"ms": "2"}})
    (found,) = detect.installs(Files({"package.json": content}))
    assert f" {manager})" in found.command[2]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("vite --open /login", f"exec vite {VITE}"),
        ("vite --open ./demo", f"exec vite ./demo {VITE}"),
        ("npx vite@latest --port 1", f"exec npx vite@latest {VITE}"),
        ("vite --port 1 | cat", f"vite {VITE} | cat"),
    ],
)
def test_flags_find_their_program_also_there(script: str, expected: str) -> None:
    assert text(run(script)) == expected


def test_a_server_behind_a_pipe_is_restarted_for_its_sources() -> None:
    plan = run("node server.js | pino-pretty")
    assert plan.command == ("npm", "run", "dev")
    assert plan.triggered_by(["server.js"])


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        ({"start": "node dist/index.js", "build": "tsc"}, "npm run build && npm run start"),
        ({"start": "node dist", "build": "tsc", "prestart": "npm run build"}, "npm run start"),
        ({"dev": "docker compose up", "start": "node server.js"}, "npm run start"),
        ({"start": "electron ."}, "serve ."),
    ],
)
def test_what_cannot_run_as_it_stands_is_built_or_left(scripts: dict[str, str], expected: str) -> None:
    assert run({"package.json": package(scripts), "server.js": "", "src/index.ts": "", "index.html": ""}).shown == expected
