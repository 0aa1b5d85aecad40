"""The table of conditions: type, status, reason, message and generation together."""

from __future__ import annotations

import pytest

from sandbox_operator.controller.conditions import Condition, Facts, conditions, merged
from sandbox_operator.controller.pods import PodFacts, Why

WAITS = Why("AwaitingFirstSync", "waits for its first files")
STARTING = Why("Starting", "The pod is being made.")
PULL = Why("ImagePullBackOff", "no such image")
NOT_READY = Why("NotReady", "Container app runs and is not ready yet.")


def pod(gate: Why | None = None, agent: Why | None = None, app: Why | None = None) -> PodFacts:
    return PodFacts("runner-1", ending=False, gate=gate, agent=agent, app=app, image="")


def facts(**changes: object) -> Facts:
    return Facts(**{"generation": 4, "suspended": None, "provision": None, "pod": pod(), "no_pod": STARTING, **changes})  # type: ignore[arg-type]


APPLIED, FENCED, ANSWERS, UP, WANTED = "True Applied", "True PolicyEnforced", "True AgentAnswers", "True Ready", "False Running"
COLUMNS = ("Ready", "Provisioned", "NetworkReady", "AgentReady", "AppReady", "Suspended")
BY_WISH, BY_TIME = Why("Suspended", "s"), Why("ShutdownTime", "s")


@pytest.mark.parametrize(
    ("given", "row"),
    [
        (facts(), (UP, APPLIED, FENCED, ANSWERS, UP, WANTED)),
        (facts(pod=pod(app=NOT_READY), app=WAITS, heard=True), (UP, APPLIED, FENCED, ANSWERS, "False AwaitingFirstSync", WANTED)),
        (facts(app=WAITS, heard=True), (UP, APPLIED, FENCED, ANSWERS, "False AwaitingFirstSync", WANTED)),
        (facts(pod=pod(app=NOT_READY), heard=True), (UP, APPLIED, FENCED, ANSWERS, UP, WANTED)),
        (facts(pod=pod(app=NOT_READY)), (UP, APPLIED, FENCED, ANSWERS, "False NotReady", WANTED)),
        (facts(pod=pod(app=PULL), app=WAITS, heard=True), (UP, APPLIED, FENCED, ANSWERS, "False ImagePullBackOff", WANTED)),
        (facts(pod=None), ("False Starting", APPLIED, *["False Starting"] * 3, WANTED)),
        (
            facts(pod=pod(agent=PULL, app=PULL)),
            ("False ImagePullBackOff", APPLIED, FENCED, *["False ImagePullBackOff"] * 2, WANTED),
        ),
        (facts(provision=Why("TemplateInvalid", "t")), (*["False TemplateInvalid"] * 2, FENCED, ANSWERS, UP, WANTED)),
        (facts(pod=None, suspended=BY_WISH), ("False Suspended", APPLIED, *["False Suspended"] * 3, "True Suspended")),
        (facts(pod=None, suspended=BY_TIME), ("False Suspended", APPLIED, *["False Suspended"] * 3, "True ShutdownTime")),
        (facts(suspended=BY_WISH), ("False Suspended", APPLIED, *["False Suspended"] * 3, "False Suspending")),
        (
            facts(suspended=BY_WISH, provision=Why("SpecInvalid", "p"), pod=None),
            (*["False SpecInvalid"] * 2, *["False Suspended"] * 3, "True Suspended"),
        ),
    ],
)
def test_conditions(given: Facts, row: tuple[str, ...]) -> None:
    made = {
        condition.type: f"{condition.status} {condition.reason}" for condition in conditions(given) if condition.type in COLUMNS
    }
    assert made == dict(zip(COLUMNS, row, strict=True))


def test_ready_repeats_the_message_of_what_stands_in_the_way() -> None:
    ready = conditions(facts(provision=Why("SpecInvalid", "spec.image: not allowed")))[0]
    assert ready.message == "spec.image: not allowed"


def test_every_condition_has_a_reason_and_a_sentence() -> None:
    for given in (facts(), facts(pod=None), facts(suspended=Why("Suspended", "s"))):
        assert all(condition.reason and condition.message for condition in conditions(given))


def test_the_transition_time_moves_only_with_the_status() -> None:
    before = [
        {"type": "Ready", "status": "False", "lastTransitionTime": "old", "reason": "x", "message": "x"},
        {"type": "Suspended", "status": "False", "lastTransitionTime": "old", "reason": "x", "message": "x"},
    ]
    wanted = [Condition("Ready", "True", "Ready", "m"), Condition("Suspended", "False", "Running", "m")]
    made = merged(wanted, 7, before, "new")
    assert made == [
        {
            "type": "Ready",
            "status": "True",
            "observedGeneration": 7,
            "lastTransitionTime": "new",
            "reason": "Ready",
            "message": "m",
        },
        {
            "type": "Suspended",
            "status": "False",
            "observedGeneration": 7,
            "lastTransitionTime": "old",
            "reason": "Running",
            "message": "m",
        },
    ]
