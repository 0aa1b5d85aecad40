"""What an app or an install wanted and a sandbox does not give, read from its lines, with the next step. Pure.

The lines are the app's: they are shown, and nothing follows from them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from runner_agent.detect import hosts

_NO_REPOSITORY = re.compile(r"not a git repository|No git repository found|is not in a git repo", re.IGNORECASE)
_LINES = 400


def wants(lines: Sequence[str]) -> str:
    """Follows a subject, such as "the app"; "" when the lines tell of nothing that is known."""
    return "; it ".join(told for told in (hosts.sentence(lines), _history(lines), _missing(lines)[0], _database(lines)) if told)


def next_step(lines: Sequence[str]) -> str:
    """Sentences of their own; "" when the lines tell of nothing that is known."""
    steps = []
    if reached := hosts.sentence(lines):
        steps.append(f"It {reached}: use what its mirrors have, or let the template allow it.")
    if asked := _history(lines):
        steps.append(f"It {asked}: let its configuration do without, or run git init and git commit by kubectl sandbox exec.")
    if step := _missing(lines)[1]:
        steps.append(step)
    if asked := _database(lines):
        steps.append(f"It {asked}: a sandbox runs no database; use SQLite or a file, or set spec.env to one that can be reached.")
    return " ".join(steps)


def _history(lines: Sequence[str]) -> str:
    found = any(_NO_REPOSITORY.search(line[:2000]) for line in lines[-_LINES:])
    return "asks git, and a sync brings no history" if found else ""


_NODE_PACKAGE = re.compile(
    r"Cannot find (?:module|package) '((?:@[\w.-]+/)?[\w-][\w.-]*)[^']*'|"
    r"Failed to resolve import \"((?:@[\w.-]+/)?[\w-][\w.-]*)[^\"]*\" from|"
    r"Can't resolve '((?:@[\w.-]+/)?[\w-][\w.-]*)[^']*'|Rollup failed to resolve import \"((?:@[\w.-]+/)?[\w-][\w.-]*)"
)
_PYTHON_PACKAGE = re.compile(r"No module named '?([\w-]+)'?")
_PROGRAM = re.compile(r"^\S*sh: (?:line )?(?:\d+: )?(?:exec: )?([\w.@/-]+): (?:command )?not found")
_SCRIPT = re.compile(r'Missing script: "?([\w:.-]+)"?|error Command "([\w:.-]+)" not found|Missing script: ([\w:.-]+)')


def _missing(lines: Sequence[str]) -> tuple[str, str]:
    """What is not installed or not there, and what to do about it."""
    for line in reversed(lines[-_LINES:]):
        short = line[:2000]
        if match := _SCRIPT.search(short):
            name = match[1] or match[2] or match[3]
            return (
                f"calls the script {name}, which package.json has not",
                f"Add the script {name} to package.json, or call another.",
            )
        if match := _PROGRAM.search(short):
            name = match[1].rpartition("/")[2]
            return f"calls {name}, which is not installed", f"If {name} comes with a package, add that to the dependencies."
        if match := _PYTHON_PACKAGE.search(short):
            return f"imports {match[1]}, which is not installed", f"Add the package of {match[1]} to requirements.txt."
        if match := _NODE_PACKAGE.search(short):
            name = next(group for group in match.groups() if group)
            return f"imports {name}, which is not installed", f"Add {name} to the dependencies of package.json."
    return "", ""


_REFUSED = re.compile(r"ECONNREFUSED|refused|could not connect|can't connect|is the server running", re.IGNORECASE)
_DATABASE = re.compile(r"(?::|\bport )(5432|3306|27017|6379|1433)\b")
_DATABASES = {"5432": "PostgreSQL", "3306": "MySQL", "27017": "MongoDB", "6379": "Redis", "1433": "SQL Server"}


def _database(lines: Sequence[str]) -> str:
    for line in reversed(lines[-_LINES:]):
        short = line[:2000]
        if _REFUSED.search(short) and (match := _DATABASE.search(short)):
            return f"wants {_DATABASES[match[1]]}, where nothing answers"
    return ""
