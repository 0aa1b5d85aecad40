"""What an app wanted in vain is told with the next step."""

import pytest

from runner_agent.detect import hints

GIT = ["Error: Command failed: git rev-parse --short HEAD", "fatal: not a git repository (or any parent up to mount point /)"]


def test_a_configuration_that_asks_git_is_told_that_a_sync_brings_no_history() -> None:
    assert hints.wants(GIT) == "asks git, and a sync brings no history"
    assert "git init" in hints.next_step(GIT)


def test_hosts_and_git_are_told_together() -> None:
    lines = ["getaddrinfo ENOTFOUND fonts.example.org", *GIT]
    assert hints.wants(lines) == (
        "wants fonts.example.org, which this sandbox may not reach; it asks git, and a sync brings no history"
    )


def test_of_other_lines_nothing_is_said() -> None:
    assert hints.wants(["SyntaxError: Unexpected token"]) == hints.next_step([]) == ""


@pytest.mark.parametrize(
    ("line", "told", "step"),
    [
        ("Error: Cannot find module 'express'", "imports express, which is not installed", "Add express to"),
        (
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find package '@hono/node-server' imported from /workspace/a.js",
            "@hono/node-server",
            "",
        ),
        ('[vite] Failed to resolve import "dayjs/locale/de" from "src/App.tsx". Does the file exist?', "imports dayjs,", ""),
        ("Module not found: Can't resolve 'zustand'", "imports zustand,", "Add zustand"),
        ("ModuleNotFoundError: No module named 'flask_cors'", "imports flask_cors,", "requirements.txt"),
        ("/workspace/.venv/bin/python: No module named uvicorn", "imports uvicorn,", ""),
        ("sh: 1: vite: not found", "calls vite, which is not installed", "add that to the dependencies"),
        ("bash: line 1: hugo: command not found", "calls hugo,", ""),
        ('npm error Missing script: "devv"', "calls the script devv, which package.json has not", "Add the script devv"),
        ("Error: connect ECONNREFUSED 127.0.0.1:5432", "wants PostgreSQL, where nothing answers", "SQLite"),
        ('connection to server at "localhost" (::1), port 5432 failed: Connection refused', "wants PostgreSQL", ""),
        ("MongooseServerSelectionError: connect ECONNREFUSED ::1:27017", "wants MongoDB", ""),
        ("redis.exceptions.ConnectionError: Error 111 connecting to localhost:6379. Connection refused.", "wants Redis", ""),
        ("Can't connect to MySQL server on 'localhost:3306' ([Errno 111] Connection refused)", "wants MySQL", ""),
    ],
)
def test_what_is_missing_is_named_with_the_next_step(line: str, told: str, step: str) -> None:
    assert told in hints.wants([line])
    assert step in hints.next_step([line])


@pytest.mark.parametrize("line", ["Error: Cannot find module './routes'", "Cannot find module '/workspace/dist/index.js'"])
def test_a_file_of_the_projects_own_is_no_package(line: str) -> None:
    assert hints.wants([line]) == ""
