import pytest

from tests.apps import projects
from tests.apps.expectation import Expectation, ExpectationError, Place, parse

GOOD = 'framework = "Flask"\nfile = "app.py"\ntext = "HELLO"\n'
EVERY = projects.every()


def test_a_project_needs_only_what_is_edited() -> None:
    project = parse("shop", GOOD)
    assert (project.kind, project.places, project.broken, project.sample) == ("up", (Place("app.py", "HELLO"),), None, False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("framework = ", "shop/expect.toml: "),
        (GOOD + 'freq = "x"\n', "unknown field freq"),
        (GOOD + 'expect = "maybe"\n', "expect is one of up, told, either, not 'maybe'"),
        ('framework = "x"\n', "needs file and text"),
        ('expect = "told"\n', "needs says"),
        ('file = "app.py"\n', "an edit needs file and text"),
        (GOOD + '[broken]\nappend = "x"\n', "broken needs shows"),
        (GOOD + '[broken]\nshows = ["x"]\n', "either append or find"),
    ],
)
def test_an_expectation_that_says_too_little_is_told_by_name(content: str, words: str) -> None:
    with pytest.raises(ExpectationError, match=words):
        parse("shop", content)


def test_a_broken_edit_changes_the_file_that_is_edited_or_the_one_it_names() -> None:
    appended = parse("shop", GOOD + '[broken]\nappend = "x("\nshows = ["y"]\n').broken
    replaced = parse("shop", GOOD + '[broken]\nfile = "b.py"\nfind = "a"\nwrite = ""\nshows = ["y"]\n').broken
    assert appended is not None
    assert replaced is not None
    assert (appended.file, appended.applied("a")) == ("app.py", "a\nx(\n")
    assert (replaced.file, replaced.applied("aa")) == ("b.py", "a")


@pytest.mark.parametrize("project", [item for item in EVERY if not item.generator], ids=lambda item: item.name)
def test_what_a_project_edits_stands_in_its_files_exactly_once(project: Expectation) -> None:
    folder = projects.CORPUS / project.name
    for place in project.places:
        assert (folder / place.file).read_text().count(place.text) == 1
    if project.broken is not None:
        content = (folder / project.broken.file).read_text()
        assert project.broken.applied(content) != content


def test_every_folder_of_the_corpus_says_what_is_expected_of_it() -> None:
    assert sorted(folder.name for folder in projects.CORPUS.iterdir()) == [project.name for project in EVERY]


def test_ten_projects_are_the_sample() -> None:
    assert len([project for project in EVERY if project.sample]) == 10


def test_projects_are_chosen_by_name_or_by_the_beginning_of_one() -> None:
    names = [project.name for project in projects.chosen(EVERY, ["flask", "vite-v*", "flask"])]
    assert names == ["flask", "vite-vanilla", "vite-vue"]
    assert projects.chosen(EVERY, []) == EVERY
    with pytest.raises(ValueError, match="no project 'flusk'"):
        projects.chosen(EVERY, ["flusk"])
