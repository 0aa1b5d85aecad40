from tests.cluster.behaviour import page
from tests.cluster.behaviour.table import STATES, TABLE, VERBS, Answer, Expected


def test_the_page_is_the_table() -> None:
    assert page.PATH.read_text() == page.render(), "run: python -m tests.cluster.behaviour --write"


def test_every_verb_is_told_in_every_state_that_concerns_it() -> None:
    about_the_request = {"stale", "too-large", "too-many"}
    assert list(TABLE) != []
    assert set(TABLE) == set(STATES)
    for state, answers in TABLE.items():
        assert set(answers) <= set(VERBS)
        if state not in about_the_request:
            assert set(answers) == set(VERBS), state


def test_a_row_tells_what_differs() -> None:
    row = Expected(503, "no … here; …", "ServiceUnavailable", 2)
    assert row.differences(Answer(503, "no agent (x) here; try again", "ServiceUnavailable", 2)) == []
    assert len(row.differences(Answer(500, "no agent there", "InternalError", None))) == 4
