"""Source trees to sync."""

from __future__ import annotations

import random
from pathlib import Path

_SOURCE = b"const value = render(component, props, children)\n"


def make_tree(root: Path, files: int, size: int) -> None:
    """``size`` bytes in all, in folders of 50; half of the files like source code, half like pictures."""
    pictures = random.Random(4)
    each = size // files
    for number in range(files):
        file = root / f"package{number // 50:02d}" / f"module-{number}.js"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((_SOURCE * (each // len(_SOURCE) + 1))[:each] if number % 2 else pictures.randbytes(each))
