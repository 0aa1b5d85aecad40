"""A measured figure beside what it is measured against, in the same run; the ratio is what is compared between machines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """One thing measured several times; ``unit`` is ms, s or MiB."""

    what: str
    values: tuple[float, ...]
    unit: str

    @property
    def p50(self) -> float:
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        """The value that 95 % do not exceed; of few values, the largest."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]

    def __str__(self) -> str:
        spread = f", p95 {self.p95:.2f}" if len(self.values) >= 20 else f", {min(self.values):.2f} to {max(self.values):.2f}"
        return f"{self.what}: p50 {self.p50:.2f} {self.unit}{spread if len(self.values) > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Figure:
    """``goal`` is the ratio that we want at most, None where there is only a figure to watch."""

    name: str
    ours: Series
    against: Series
    goal: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours.p50 / self.against.p50

    def __str__(self) -> str:
        goal = "" if self.goal is None else f" (goal {self.goal:.2f}: {'met' if self.ratio <= self.goal else 'MISSED'})"
        return f"{self.name}\n  {self.ours}\n  {self.against}\n  ratio {self.ratio:.2f}{goal}"


def table(figures: Sequence[Figure]) -> str:
    """Markdown, as in docs/bench.md."""
    lines = ["| what | ours, p50 | against, p50 | ratio | goal |", "|---|---|---|---|---|"]
    for figure in figures:
        ours, against = figure.ours, figure.against
        goal = "" if figure.goal is None else f"≤ {figure.goal:.2f}"
        other = f"{against.what.replace('|', chr(92) + '|')} {against.p50:.2f} {against.unit}"
        lines.append(f"| {figure.name} | {ours.p50:.2f} {ours.unit} | {other} | {figure.ratio:.2f} | {goal} |")
    return "\n".join(lines)
