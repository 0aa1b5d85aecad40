"""What an app's own lines tell about its ports."""

import pytest

from runner_agent import log_lines


@pytest.mark.parametrize(
    ("line", "ports"),
    [
        ("          UI: http://localhost:3001", {3001}),
        (" UI External: http://localhost:\x1b[35m3001\x1b[39m", {3001}),
        ("Inspector: ws://127.0.0.1:9229/", {9229}),
        ("       Local: http://localhost:8123", set()),
        ("Web UI: http://localhost:8188", set()),
        ("Studio: http://localhost:3000/studio", set()),
    ],
)
def test_a_port_that_is_called_something_beside_the_app_is_known(line: str, ports: set[int]) -> None:
    assert log_lines.asides([line]) == ports
