"""Where the runs of each process begin: the present one and the one before, which is ``previous``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner_agent.logs_block import epoch_of, line_of, position

PROCESSES = 64
"""Names that are remembered; a template allows a dozen, but a launcher that was taken over may make some up."""


class Runs:
    """By name of the process, oldest name first."""

    def __init__(self, starts: Mapping[str, tuple[int, ...]] | None = None) -> None:
        self._starts = dict(starts or {})

    def copy(self) -> Runs:
        return Runs(self._starts)

    def begin(self, process: str, place: int) -> None:
        # what was there before the first begin counts as a run, too: an app that was adopted has no begin
        before = self._starts.pop(process, (0,))
        self._starts[process] = (before[-1], place)
        while len(self._starts) > PROCESSES:
            del self._starts[next(iter(self._starts))]

    def present(self, process: str) -> int:
        """Where the run that goes on, or the last one, began."""
        return self._starts.get(process, (0,))[-1]

    def previous(self) -> dict[str, tuple[int, int]]:
        """By process: where the run before began, and where it was over."""
        return {process: (starts[0], starts[1]) for process, starts in self._starts.items() if len(starts) == 2}

    def to_json(self) -> dict[str, list[list[int]]]:
        return {name: [[epoch_of(place), line_of(place)] for place in starts] for name, starts in self._starts.items()}

    @classmethod
    def from_json(cls, body: Mapping[str, Sequence[Sequence[int]]]) -> Runs:
        """KeyError, TypeError or ValueError when it was not written by us."""
        return cls({str(name): tuple(position(*map(int, place)) for place in starts) for name, starts in body.items()})
