"""What an app wanted in vain is told with the next step."""

from runner_agent.detect import hints

GIT = ["Error: Command failed: git rev-parse --short HEAD", "fatal: not a git repository (or any parent up to mount point /)"]


def test_a_configuration_that_asks_git_is_told_that_a_sync_brings_no_history() -> None:
    assert hints.wants(GIT) == "asks git, and a sync brings no history"
    assert "git init" in hints.next_step(GIT)


def test_hosts_and_git_are_told_together() -> None:
    lines = ["getaddrinfo ENOTFOUND fonts.example.org", *GIT]
    assert hints.wants(lines) == (
        "wants fonts.example.org, which this sandbox may not reach; it asks git, and a sync brings no history"
    )


def test_of_other_lines_nothing_is_said() -> None:
    assert hints.wants(["SyntaxError: Unexpected token"]) == hints.next_step([]) == ""
