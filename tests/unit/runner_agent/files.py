from collections.abc import Sequence


class Files(dict[str, str]):
    """A tree as a table of path → content."""

    def __call__(self, path: str) -> bytes | None:
        return self[path].encode() if path in self else None

    def names(self, folder: str) -> Sequence[str]:
        start = f"{folder}/" if folder else ""
        inner = [path.removeprefix(start) for path in self if path.startswith(start)]
        return sorted({first + slash for first, slash, _ in (path.partition("/") for path in inner)})
