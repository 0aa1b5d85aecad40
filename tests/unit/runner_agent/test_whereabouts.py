"""What is made of the listeners of a run: a table of views and findings."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runner_agent.ports import Listener
from runner_agent.probe import Answer, NoHttp, Said
from runner_agent.whereabouts import Finding, Seen, View, Where, judge

PAGE, API, MISSING = Answer(200, html=True), Answer(200), Answer(404)


def seen(port: int, said: Said | None, *, address: str = "127.0.0.1", seconds: float = 4.0, asked: float = 1.0) -> Seen:
    return Seen(Listener(port, address), seconds, asked, "", said)


def view(*listeners: Seen, running: float = 30.0, **more: object) -> View:
    return View(3000, "spec.port", running, listeners, **more)  # type: ignore[arg-type]


def test_an_app_is_at_once_where_its_last_run_was_found() -> None:
    new = seen(4321, PAGE, seconds=0.1, asked=0.1)
    assert judge(view(new)).answers is False
    assert judge(view(new, usual=4321)).where == Where("127.0.0.1", 4321)
    assert judge(view(new, seen(3000, PAGE), usual=4321)).where == Where("127.0.0.1", 3000)


def test_a_page_that_the_app_calls_something_beside_it_is_served_last() -> None:
    pages = seen(3001, PAGE), seen(8123, PAGE)
    assert judge(view(*pages)).where == Where("127.0.0.1", 3001)
    assert judge(view(*pages, asides=frozenset({3001}))).where == Where("127.0.0.1", 8123)
    assert judge(view(pages[0], asides=frozenset({3001}))).where == Where("127.0.0.1", 3001)


@pytest.mark.parametrize(
    ("listeners", "where"),
    [
        ([seen(3000, MISSING)], Where("127.0.0.1", 3000)),
        ([seen(3000, PAGE, address="::1")], Where("::1", 3000)),
        ([seen(3000, PAGE, address="10.1.2.3")], Where("10.1.2.3", 3000)),
        ([seen(3000, Answer(200, tls=True))], Where("127.0.0.1", 3000, tls=True)),
        ([seen(4321, PAGE, address="::1")], Where("::1", 4321)),
        ([seen(4000, API), seen(5173, PAGE)], Where("127.0.0.1", 5173)),
        ([seen(4000, MISSING), seen(5000, API)], Where("127.0.0.1", 5000)),
        ([seen(9229, Answer(400)), seen(24678, Answer(426)), seen(8080, MISSING)], Where("127.0.0.1", 8080)),
        ([seen(4321, PAGE), seen(3000, PAGE)], Where("127.0.0.1", 3000)),
        ([seen(3000, NoHttp("speaks Greek")), seen(8080, PAGE)], Where("127.0.0.1", 8080)),
        ([seen(5173, PAGE, seconds=1.0), seen(4000, API, seconds=11.0)], Where("127.0.0.1", 5173)),
    ],
)
def test_what_answers_is_served_port_first_then_pages(listeners: Sequence[Seen], where: Where) -> None:
    found = judge(view(*listeners))
    assert (found.where, found.answers, found.reason) == (where, True, "")


@pytest.mark.parametrize(
    "listeners",
    [
        [seen(4321, PAGE, seconds=1.0)],
        [seen(4321, PAGE), seen(3000, None)],
        [seen(4000, API), seen(5173, None, seconds=1.0)],
        [seen(4000, API), seen(5173, None)],
        [seen(9229, Answer(400))],
    ],
)
def test_nothing_is_chosen_while_something_better_may_come(listeners: Sequence[Seen]) -> None:
    found = judge(view(*listeners))
    assert (found.answers, found.reason) == (False, "")


def test_what_is_served_elsewhere_stays_served_until_port_answers() -> None:
    moved = judge(view(seen(4321, PAGE), seen(3000, None), moved=True))
    assert (moved.where, moved.answers) == (Where("127.0.0.1", 4321), True)
    assert judge(view(seen(4321, PAGE), seen(3000, MISSING), moved=True)).where == Where("127.0.0.1", 3000)


def test_the_choice_among_several_is_told() -> None:
    words = judge(view(seen(4000, API), seen(5173, PAGE))).words
    assert words == (
        "listens on port 5173, not on PORT (3000), and is served from there. "
        "It also answers on 4000: previews of those ports show them"
    )


def test_beside_processes_that_still_look_for_their_ports_only_a_page_is_taken() -> None:
    assert not judge(view(seen(4000, API), shared=True)).answers
    assert judge(view(seen(5173, PAGE), shared=True)).answers


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        (view(running=1), "", ""),
        (view(running=30), "", "runs, and listens on no port yet"),
        (view(running=121), "NoListener", "listens on no port: a server of HTTP is expected on $PORT (3000)"),
        (view(running=599, compiles=True), "", "runs, and listens on no port yet"),
        (view(running=601, compiles=True), "NoListener", "runs for more than 600 s"),
        (view(seen(3000, None)), "", ""),
        (view(seen(3000, None, asked=20)), "", "takes connections on port 3000, and has not answered GET / yet"),
        (view(seen(3000, None, asked=200)), "NoAnswer", "after 180 s"),
        (view(seen(3000, NoHttp("speaks Greek"))), "NotHTTP", "listens on port 3000 and speaks Greek"),
        (view(seen(5432, NoHttp("speaks Greek"))), "", "listens on 127.0.0.1:5432, not on PORT (3000)"),
        (
            view(seen(5432, NoHttp("speaks Greek"), address="::", seconds=30)),
            "WrongPort",
            "listens on [::]:5432, not on PORT (3000), and speaks Greek: let it listen on $PORT, or set spec.port",
        ),
        (view(seen(5000, None, seconds=30), movable=False), "WrongPort", "listens on 127.0.0.1:5000, not on PORT (3000): let it"),
        (view(lost=1.0), "", "does not answer on port 3000 any more"),
        (
            view(lost=9.0, synced=True),
            "StoppedAnswering",
            "stopped answering on port 3000 after the last sync: the process runs, nothing listens there",
        ),
        (view(seen(3000, None), lost=9.0), "StoppedAnswering", "takes connections, and nothing behind it answers"),
    ],
)
def test_what_does_not_answer_is_told_with_the_next_step(given: View, reason: str, words: str) -> None:
    found = judge(given)
    assert (found.answers, found.reason) == (False, reason)
    assert words in found.words
    assert (found.words == "") is (words == "")


def test_a_listener_that_owes_its_answer_is_where_a_browser_is_sent() -> None:
    assert judge(view(seen(3000, None, address="::1"))) == Finding(Where("::1", 3000))
