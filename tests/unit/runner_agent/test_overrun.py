from __future__ import annotations

from pathlib import Path

import pytest

from runner_agent import overrun
from runner_agent.overrun import PAUSE_SECONDS, Sysinfo, Watch

MIB = 1 << 20


def watch(used: int, total: int = 2432, processes: int = 0, limit: int = 512, files: int = 0) -> Watch:
    """Memory in MiB."""
    taken = Sysinfo(totalram=total * MIB, freeram=(total - used) * MIB, procs=processes, unit=1)
    return Watch(limit, lambda: taken, lambda: files * MIB)


def test_what_an_app_was_promised_it_may_take() -> None:
    assert watch(used=2048 + 120).look() == ("", False)


def test_memory_beyond_what_is_kept_for_the_agent_ends_the_app() -> None:
    why, memory = watch(used=2200).look()
    assert why == "out of memory: the limit of the pod is 2432 MiB, and of that some is kept for its agent"
    assert memory


def test_memory_of_files_is_no_overrun() -> None:
    assert watch(used=2200, files=30).look() == ("", False)


def test_of_a_small_pod_a_third_is_kept() -> None:
    assert watch(used=198, total=300).look() == ("", False)
    assert watch(used=202, total=300).look()[1]


def test_a_process_counts_for_more_than_its_memory() -> None:
    assert watch(used=2100, processes=100).look() == ("", False)
    assert watch(used=2100, processes=200).look()[1]


def test_processes_beyond_their_number_end_the_app() -> None:
    assert watch(used=100, processes=512).look() == ("", False)
    assert watch(used=100, processes=513).look() == ("more than 512 processes and threads", False)
    assert watch(used=100, total=64_000, processes=40_000, limit=0).look() == ("", False)


def test_it_looks_more_often_the_less_is_left() -> None:
    calm, close, over = watch(used=100, limit=4000), watch(used=2100), watch(used=100, processes=600)
    for one in (calm, close, over):
        one.look()
    assert calm.pause == PAUSE_SECONDS[1]
    assert PAUSE_SECONDS[0] < close.pause < PAUSE_SECONDS[1]
    assert over.pause == PAUSE_SECONDS[0]


def test_a_kernel_that_tells_nothing_ends_nothing() -> None:
    assert Watch(512, Sysinfo, lambda: 0).look() == ("", False)


def test_this_machine_tells_its_memory_and_processes() -> None:
    here = overrun.sysinfo()
    assert here.totalram * here.unit > here.freeram * here.unit > 0
    assert here.procs > 1


@pytest.mark.parametrize(("text", "size"), [("MemFree: 7 kB\nMapped:  28620 kB\n", 28620 * 1024), ("MemFree: 7 kB\n", 0)])
def test_memory_of_files_is_read_from_meminfo(tmp_path: Path, text: str, size: int) -> None:
    (tmp_path / "meminfo").write_text(text)
    assert overrun.mapped_bytes(str(tmp_path / "meminfo")) == size
    assert overrun.mapped_bytes(str(tmp_path / "none")) == 0
