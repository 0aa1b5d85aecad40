from pathlib import Path

from tests.apps import page, results
from tests.apps.results import Record

UP = Record(
    "flask", "Flask", "up", "r1", "up", detected="flask | run", ready=9.876, edits=[0.3, 0.1, 0.2], notes=["installed 2 times"]
)
TOLD = Record("go", "Go", "told", "r1", "told", says="go.mod found")
FAILED = Record("astro", "Astro", "up", "r0", failure="up: not within 240 s")


def test_each_project_is_a_row_by_how_it_ended() -> None:
    text = page.render([UP, TOLD, FAILED], "r1")
    assert "| flask | Flask | `flask \\| run` | - | - | 9.88 s | 0.20 s |  | installed 2 times |" in text
    assert "| go | Go | go.mod found |  |" in text
    assert "| astro | Astro | - | up: not within 240 s; of an earlier revision |" in text
    assert "1 of 2 sound projects came up by themselves (50 %); 2 of all 3 did all that they should." in text


def test_a_run_of_some_projects_leaves_the_records_of_the_others(tmp_path: Path) -> None:
    for record in (UP, TOLD, Record("gone", "x", "up")):
        results.save(record, tmp_path)
    again = Record("go", "Go", "told", "r2", "told", says="another sentence")
    results.save(again, tmp_path)
    assert results.newest(results.load(tmp_path), ["flask", "go"]) == [UP, again]


def test_the_revision_of_the_product_is_the_same_until_its_sources_change() -> None:
    assert results.product_revision() == results.product_revision()
    assert len(results.product_revision()) == 12
