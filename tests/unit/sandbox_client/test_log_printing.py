"""How log records look to a person."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sandbox_client import LogRecord
from sandbox_client.log_printing import Printer

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def record(text: str, process: str = "web", *, partial: bool = False) -> LogRecord:
    return LogRecord("c", T0, process, "stdout", text, partial)


def test_without_colours_an_app_has_none_either() -> None:
    printer = Printer(prefix=False, colours=False, timestamps=False)
    assert printer.show(record("\x1b[31mred\x1b]0;title\x07")) == "red\n"


def test_each_process_has_its_name_and_colour() -> None:
    printer = Printer(prefix=True, colours=True, timestamps=False)
    shown = [printer.show(record("x", process)) for process in ("web", "worker", "web")]
    assert shown[0] == shown[2] == "\x1b[36mweb      | \x1b[0mx\n"
    assert shown[1] == "\x1b[32mworker   | \x1b[0mx\n"


def test_the_time_stands_in_front() -> None:
    assert Printer(prefix=True, colours=False, timestamps=True).show(record("x")) == "2026-01-02T03:04:05.000Z web      | x\n"


def test_parts_of_a_line_are_joined_unless_another_process_comes_between() -> None:
    printer = Printer(prefix=False, colours=False, timestamps=False)
    assert printer.show(record("a", partial=True)) + printer.show(record("b")) == "ab\n"
    assert printer.show(record("a", partial=True)) + printer.show(record("x", "worker")) == "a\nx\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;32mgreen\x1b[0m", "\x1b[1;32mgreen\x1b[0m\x1b[0m"),
        ("\x1b]52;c;ZXZpbA==\x07clipboard", "clipboard"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b[?1049hscreen\x9b31m", "screen31m"),
        ("10 %\r50 %\r100 %", "100 %"),
        ("tab\tstays, bell\x07 goes", "tab\tstays, bell goes"),
        ("\x1bc\x1b", "c"),
    ],
)
def test_an_app_cannot_reach_through_to_the_terminal(text: str, shown: str) -> None:
    assert Printer(prefix=False, colours=True, timestamps=False).show(record(text)) == f"{shown}\n"
