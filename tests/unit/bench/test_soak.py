from tests.bench.soak import Sample, figures
from tests.harness.processes import Usage, memory


def samples(growth: float) -> list[Sample]:
    """60 of them: a warm-up of 10 MiB in the first tenth, then ``growth`` MiB per 1,000 syncs."""
    return [Sample(n * 500, {"agent": Usage(40 + min(n, 6) * 10 / 6 + growth * n / 2, 30, 20, 3)}) for n in range(60)]


def test_what_fills_up_in_the_warm_up_is_no_leak() -> None:
    rss, descriptors, threads = figures("agent", samples(0))
    assert (rss.ratio, descriptors.ratio, threads.ratio) == (1, 1, 1)
    assert "+0 kB per 1,000 syncs" in rss.name


def test_a_leak_misses_the_goal_and_its_speed_is_told() -> None:
    rss = figures("agent", samples(0.25))[0]
    assert rss.goal is not None
    assert rss.ratio > rss.goal
    assert "+256 kB per 1,000 syncs" in rss.name


def test_memory_is_read_from_a_rollup() -> None:
    rollup = "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:     40960 kB\nPrivate_Clean:  1024 kB\nPrivate_Dirty:  2048 kB\n"
    assert memory(rollup) == (40, 3)
