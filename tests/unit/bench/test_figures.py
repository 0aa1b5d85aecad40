from __future__ import annotations

from tests.bench.figures import Figure, Series, table

TWENTY = tuple(float(value) for value in range(1, 21))


def test_percentiles_are_values_that_were_measured_or_between_two() -> None:
    assert Series("x", TWENTY, "ms").p50 == 10.5
    assert Series("x", TWENTY, "ms").p95 == 20.0
    assert Series("x", (3.0,), "ms").p95 == 3.0


def test_a_few_values_show_their_range_instead_of_a_percentile() -> None:
    assert str(Series("sync", (1.0, 2.0, 4.0), "s")) == "sync: p50 2.00 s, 1.00 to 4.00"
    assert str(Series("sync", TWENTY, "ms")) == "sync: p50 10.50 ms, p95 20.00"


def test_a_figure_says_whether_its_goal_is_met() -> None:
    slow, quick = Series("sync", (3.0,), "ms"), Series("no-op", (2.0,), "ms")
    assert str(Figure("one file", slow, quick, goal=1.5)).endswith("ratio 1.50 (goal 1.50: met)")
    assert str(Figure("one file", slow, quick, goal=1.4)).endswith("ratio 1.50 (goal 1.40: MISSED)")
    assert str(Figure("one file", slow, quick)).endswith("ratio 1.50")


def test_the_table_has_a_row_for_each_figure() -> None:
    figure = Figure("one file", Series("sync", (3.0,), "ms"), Series("no-op", (2.0,), "ms"), goal=1.5)
    assert table([figure]).splitlines()[2:] == ["| one file | 3.00 ms | no-op 2.00 ms | 1.50 | ≤ 1.50 |"]


def test_a_pipe_in_a_name_does_not_end_its_cell() -> None:
    figure = Figure("tree", Series("sync", (1.0,), "s"), Series("tar | zstd", (1.0,), "s"))
    assert "| tar \\| zstd 1.00 s |" in table([figure])
