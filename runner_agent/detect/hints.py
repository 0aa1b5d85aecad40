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
    return "; it ".join(told for told in (hosts.sentence(lines), _history(lines)) if told)


def next_step(lines: Sequence[str]) -> str:
    """Sentences of their own; "" when the lines tell of nothing that is known."""
    steps = []
    if reached := hosts.sentence(lines):
        steps.append(f"It {reached}: use what its mirrors have, or let the template allow it.")
    if asked := _history(lines):
        steps.append(f"It {asked}: let its configuration do without, or run git init and git commit by kubectl sandbox exec.")
    return " ".join(steps)


def _history(lines: Sequence[str]) -> str:
    found = any(_NO_REPOSITORY.search(line[:2000]) for line in lines[-_LINES:])
    return "asks git, and a sync brings no history" if found else ""
