from pathlib import Path

import pytest

from tests.walls import frame
from tests.walls.frame import Row, Walls, stopped, through


def test_every_row_of_the_page_belongs_to_a_test() -> None:
    rows = frame.parse(frame.PAGE.read_text())
    assert rows
    assert [row.test for row in rows if not frame.exists(row.test)] == []
    assert {row.profile for row in rows} <= set(frame.PROFILES)


def test_no_row_of_the_page_was_written_by_hand() -> None:
    text = frame.PAGE.read_text()
    assert frame.render(frame.parse(text)) == text, "run: make test-walls"
    assert [row for row in frame.parse(text) if not row.inside.startswith(("refused: ", "allowed: "))] == []


def test_a_run_of_some_tests_leaves_the_rows_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tests" / "walls"
    folder.mkdir(parents=True)
    (folder / "test_a.py").write_text("def test_one() -> None:\n    pass\n\n\ndef test_two() -> None:\n    pass\n")
    monkeypatch.setattr(frame, "ROOT", tmp_path)
    one, two, gone = (Row("runc", "w", "a | b", "refused: x", "", f"test_a.py::test_{name}") for name in ("one", "two", "gone"))
    again = Row("runc", "w", "c", "refused: y", "", one.test)
    assert sorted(frame.parse(frame.render([one, two, gone]))) == sorted([one, two, gone])
    elsewhere = Row("gvisor", "w", "a", "refused: x", "", one.test)
    assert frame.merged([one, two, gone, elsewhere], [again]) == [two, elsewhere, again]


def test_a_test_that_fails_below_one_kernel_keeps_its_rows_of_the_other() -> None:
    runc, gvisor = (Row(profile, "w", "a", "refused: x", "", "test_a.py::test_one") for profile in ("every sandbox", "gvisor"))
    other = Row("gvisor", "w", "b", "refused: x", "", "test_a.py::test_two")
    assert frame.without({runc.test}, [runc, gvisor, other], gvisor=True) == [runc, other]
    assert frame.without({runc.test}, [runc, gvisor, other], gvisor=False) == [gvisor, other]


def test_an_attack_that_goes_through_fails_and_so_does_one_that_proves_nothing() -> None:
    rows: list[Row] = []
    walls = Walls("t", rows)
    walls.refuse("a", wall="w", inside=lambda: stopped("timeout"), outside=lambda: through("open"))
    walls.allow("b", wall="w", inside=lambda: through("200"))
    with pytest.raises(AssertionError, match="went through: open"):
        walls.refuse("a", wall="w", inside=lambda: through("open"), outside=lambda: through("open"))
    with pytest.raises(AssertionError, match="The attempt proves nothing"):
        walls.refuse("a", wall="w", inside=lambda: stopped("timeout"), outside=lambda: stopped("timeout"))
    with pytest.raises(AssertionError, match="timeout"):
        walls.allow("b", wall="w", inside=lambda: stopped("timeout"))
    assert [row.inside for row in rows[:2]] == ["refused: timeout", "allowed: 200"]
