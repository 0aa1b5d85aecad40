"""What is built, and when it is built anew."""

from pathlib import Path

import pytest

from devcluster.programs import (
    API_PROGRAMS,
    BY_NAME,
    GVISOR_PROGRAMS,
    MODULES,
    NODE_PROGRAMS,
    PROGRAMS,
    UnknownProgramError,
    cache_key,
    select,
)

GO = "go1.26.8"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "go.mod").write_text("module m\n")
    (tmp_path / "go.sum").write_text("a v1 h1:x\n")
    (tmp_path / "cmd/etcd").mkdir(parents=True)
    (tmp_path / "cmd/etcd/main.go").write_text("package main\n")
    return tmp_path


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "cmd/etcd/main.go"])
def test_a_program_is_built_anew_when_any_source_changes(module: Path, name: str) -> None:
    before = cache_key(BY_NAME["etcd"], module, GO)
    (module / name).write_text("something else\n")
    assert cache_key(BY_NAME["etcd"], module, GO) != before


def test_a_change_of_our_own_main_leaves_other_programs_cached(module: Path) -> None:
    before = cache_key(BY_NAME["kubelet"], module, GO)
    (module / "cmd/etcd/main.go").write_text("package main // changed\n")
    assert cache_key(BY_NAME["kubelet"], module, GO) == before


def test_another_compiler_makes_another_program(module: Path) -> None:
    assert cache_key(BY_NAME["etcd"], module, GO) != cache_key(BY_NAME["etcd"], module, "go1.27.0")


def test_no_two_programs_share_a_place_in_the_cache() -> None:
    assert len({cache_key(program, MODULES / program.module.name, GO) for program in PROGRAMS}) == len(PROGRAMS)


def test_every_module_pins_everything_it_downloads() -> None:
    for program in PROGRAMS:
        folder = MODULES / program.module.name
        assert (folder / "go.mod").read_text().startswith("module ")
        assert (folder / "go.sum").stat().st_size > 0


def test_tiers_contain_each_other_and_leave_gvisor_out() -> None:
    assert set(API_PROGRAMS) < set(NODE_PROGRAMS) < set(PROGRAMS)
    assert not set(NODE_PROGRAMS) & set(GVISOR_PROGRAMS)


def test_selection_is_by_program_or_module_in_the_order_of_need() -> None:
    assert [p.name for p in select(["runsc", "etcd"])] == ["etcd", "runsc"]
    assert set(select(["gvisor"])) == set(GVISOR_PROGRAMS)
    assert select([]) == PROGRAMS


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownProgramError, match=r"unknown: etdc; .*etcd"):
        select(["etdc"])
