"""Files whose sync a dev server may have missed, brought to its notice afterwards.

Vite answers, and has read its files for it, before its watcher is up: what a sync changes in between stays unseen until the next
change (measured in this cluster). A newer modification time is a change to every watcher, and changes nothing else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence

from runner_agent import paths
from runner_agent.paths import RefusedError
from runner_agent.workspace_tree import Tree

Touch = Callable[[Sequence[str]], Awaitable[None]]
"""Gives synced files a new modification time, so that who watches them looks again."""


def touch(tree: Tree, changed: Iterable[str]) -> int:
    """Sets the modification time of each plain file to now; returns how many. What is gone, or is a link, is left alone."""
    touched = 0
    for path in sorted(changed):
        with contextlib.suppress(OSError, RefusedError):
            there = tree.look(path)
            if there is None or there.kind != "file":
                continue
            parent, name = paths.split(path)
            # not opened, which would look as if the app read it; of a link that has just been planted it is the link's own time
            os.utime(name, dir_fd=tree.directory(parent), follow_symlinks=False)
            touched += 1
    return touched
