import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_agent.ports import Listener, listening, parse

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\n"
ANY_3000 = "   0: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1\n"
LOOPBACK_8000 = "   1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1\n"
ESTABLISHED = "   2: 0100007F:1F41 0100007F:0001 01 00000000:00000000 00:00000000 00000000  1000        0 1\n"
CONTROL = "   3: 00000000:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1\n"
V6 = "   0: 00000000000000000000000001000000:0BB9 00000000000000000000000000000000:0000 0A 0 0 0\n"


def test_listening_ports_are_read_and_ours_left_out() -> None:
    found = listening([HEAD + ANY_3000 + LOOPBACK_8000 + ESTABLISHED + CONTROL, HEAD + V6])
    assert found == [Listener(3000, "0.0.0.0"), Listener(3001, "::1"), Listener(8000, "127.0.0.1")]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "0: zz:0BB8 x 0A",
        "0: 00:0BB8 x 0A y",
        "0: 00000000 x 0A y",
        "0: 00000000:FFFFF x 0A 0:0",
        "0: 00000000:0BB9 x 0A 0:-1",
    ],
)
def test_a_line_that_is_not_understood_is_passed_over(line: str) -> None:
    assert parse(HEAD + line + "\n" + ANY_3000) == {Listener(3000, "0.0.0.0")}


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse(HEAD + text)


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("0.0.0.0", ("127.0.0.1",)),
        ("::", ("127.0.0.1", "::1")),
        ("::1", ("::1",)),
        ("::ffff:127.0.0.1", ("127.0.0.1",)),
        ("10.1.2.3", ("10.1.2.3",)),
        ("fd00::7", ("fd00::7",)),
        ("fe80::1", ()),
    ],
)
def test_a_listener_is_reached_at_its_address_or_by_loopback(address: str, hosts: tuple[str, ...]) -> None:
    assert Listener(3000, address).hosts() == hosts


def test_connections_that_nobody_accepted_are_counted_of_the_socket_that_has_the_fewest() -> None:
    def line(waiting: int) -> str:
        return f"0: 00000000:0BB8 00000000:0000 0A 00000000:{waiting:08X} 00:00000000 00000000 1000 0 1\n"

    (one,) = parse(HEAD + line(18) + line(2))
    assert one.waiting == 2
