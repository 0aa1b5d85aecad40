"""Which reasons a person must act on is in the protocol; the operator writes them. Held together here."""

from __future__ import annotations

import re
from pathlib import Path

from sandbox_operator.errors import Rejected
from sandbox_protocol.reasons import HOPELESS

OPERATOR = Path(__file__).parents[2] / "operator" / "sandbox_operator"


def kinds(kind: type[Rejected]) -> list[type[Rejected]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]


def test_clients_stop_waiting_at_each_reason_that_a_person_must_act_on() -> None:
    assert {kind.reason for kind in kinds(Rejected)} <= HOPELESS


def test_reasons_given_where_something_is_rejected_are_known_too() -> None:
    sources = [file.read_text() for folder in ("controller", "model", "render") for file in (OPERATOR / folder).glob("*.py")]
    given = {reason for source in sources for reason in re.findall(r'Rejected\([^()]*reason="(\w+)"', source, re.DOTALL)}
    assert given
    assert given <= HOPELESS


def test_no_reason_is_known_that_nobody_gives() -> None:
    text = "".join(file.read_text() for file in OPERATOR.rglob("*.py"))
    assert [reason for reason in HOPELESS if f'"{reason}"' not in text] == []
