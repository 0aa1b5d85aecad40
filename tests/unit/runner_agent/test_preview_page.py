import pytest

from runner_agent.detect import hosts
from runner_agent.log_lines import SHOWN_LINES, excerpt, folded, lasted, plain
from runner_agent.preview_page import Look, page

TIMES = "\N{MULTIPLICATION SIGN}"
NODE_CRASH = ["/workspace/server.js:3", "const a = ;", "          ^", "", "SyntaxError: Unexpected token ';'"]


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        ("\x1b[31m[nodemon]\x1b[39m app crashed", "[nodemon] app crashed"),
        ("\x1b]8;;http://a\x07link\x1b]8;;\x1b\\ here", "link here"),
        (" 10%\r 50%\r100% done\r", "100% done"),
        ("bell\x07 and \x1b(Bbox", "bell and box"),
        ("tab\tstays", "tab\tstays"),
        ("<b>", "<b>"),
    ],
)
def test_a_line_is_read_without_what_only_a_terminal_understands(printed: str, read: str) -> None:
    assert plain(printed) == read


def test_equal_lines_are_folded_and_counted() -> None:
    assert folded(["a", *["warning"] * 10, "b", "b"]) == ["a", f"warning  {TIMES} 10", f"b  {TIMES} 2"]


def test_a_failure_is_shown_from_its_first_error_on_with_the_place_above_it() -> None:
    lines = ["noise"] + [f"line {n}" for n in range(50)] + NODE_CRASH + [f"    at f{n} (x.js)" for n in range(60)]
    shown = excerpt(lines, failed=True)
    assert shown.from_error
    assert "SyntaxError: Unexpected token ';'" in shown.lines[:6]
    assert "/workspace/server.js:3" in shown.lines
    assert len(shown.lines) <= SHOWN_LINES


def test_while_nothing_failed_the_newest_lines_are_shown() -> None:
    shown = excerpt([f"line {n}" for n in range(100)] + ["last"], failed=False)
    assert not shown.from_error
    assert (len(shown.lines), shown.lines[-1]) == (SHOWN_LINES, "last")


@pytest.mark.parametrize(
    "line",
    ["found 0 vulnerabilities", "0 errors", 'GET /error HTTP/1.1" 200', "npm warn deprecated inflight: not found any more"],
)
def test_what_only_names_errors_is_none(line: str) -> None:
    assert not excerpt([line], failed=True).from_error


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("npm error code EAI_AGAIN\nnpm error request to x failed", ""),
        ("getaddrinfo EAI_AGAIN binaries.prisma.sh", "binaries.prisma.sh"),
        ("Error: getaddrinfo ENOTFOUND github.com", "github.com"),
        ("curl: (6) Could not resolve host: nodejs.org", "nodejs.org"),
        ("HTTPSConnectionPool(host='example.org', port=443): Max retries exceeded", "example.org"),
        ("connect ECONNREFUSED 127.0.0.1:5432", ""),
        ("GET https://registry.test.example/left-pad: ENOTFOUND", "registry.test.example"),
    ],
)
def test_a_host_that_could_not_be_reached_is_named(line: str, host: str) -> None:
    assert hosts.wanted(line.splitlines()) == ((host,) if host else ())


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (65, "1 min 5 s"), (7380, "2 h 3 min"), (-1, "0 s")])
def test_a_duration_is_told_as_people_tell_it(seconds: float, words: str) -> None:
    assert lasted(seconds) == words


def web(**fields: object) -> Look:
    return Look(3000, "web", **{"state": "Starting", "reason": "Starting", **fields})  # type: ignore[arg-type]


def test_a_start_is_no_failure_and_says_how_long_it_lasts() -> None:
    made = page(web(since=100.0, command="vite", lines=["Error: of before"]), now=112.0)
    assert (made.title, made.failed, made.from_top) == ("The app is starting", False, False)
    assert ("For", "12 s") in made.facts
    assert ("Command", "vite") in made.facts


@pytest.mark.parametrize(
    ("reason", "title"),
    [
        ("CrashLoop", "The app keeps crashing"),
        ("OOMKilled", "The app ran out of memory"),
        ("InstallFailed", "Dependencies could not be installed"),
        ("NoCommand", "Nothing to run yet"),
        ("WrongPort", "The app listens on another port"),
        ("Exited", "The app has ended"),
    ],
)
def test_what_does_not_mend_by_itself_is_red_and_has_a_next_step(reason: str, title: str) -> None:
    made = page(web(state="BackOff", reason=reason, lines=NODE_CRASH), now=1.0)
    assert (made.title, made.failed, bool(made.next_step)) == (title, True, True)
    assert made.from_top


def test_a_process_that_was_ready_and_lost_its_port_is_red_once_that_is_its_state() -> None:
    now_and_then = page(web(state="Running", message="does not answer on port 3000 any more"), now=9.0)
    assert (now_and_then.title, now_and_then.failed) == ("The app is not answering just now", False)
    made = page(web(state="Running", reason="StoppedAnswering", message="stopped answering after the last sync"), now=9.0)
    assert (made.title, made.failed) == ("The app stopped answering", True)


def test_an_install_tells_how_often_it_failed_and_from_its_first_error_on() -> None:
    made = page(web(reason="InstallFailed", install_failures=3, install_lines=["npm error ERESOLVE", "npm error more"]), now=1.0)
    assert "(failed 3 times)" in made.message
    assert made.lines[0] == "npm error ERESOLVE"
    assert "failed once before" in page(web(reason="Installing", install_failures=1), now=1.0).message


def test_a_host_that_the_sandbox_may_not_reach_is_the_next_step() -> None:
    made = page(web(reason="InstallFailed", lines=["getaddrinfo EAI_AGAIN binaries.prisma.sh"]), now=1.0)
    assert made.next_step.startswith("It wants binaries.prisma.sh, which this sandbox may not reach")


def test_a_request_that_hangs_is_red_only_where_the_log_tells_of_an_error() -> None:
    assert not page(web(hung=10.0, ready=True, lines=["compiling /"]), now=1.0).failed
    made = page(web(hung=10.0, ready=True, lines=['File "main.py"', "SyntaxError: invalid syntax"]), now=1.0)
    assert (made.failed, made.title) == (True, "The app does not answer this request")


def test_of_an_install_s_shell_only_the_command_is_shown() -> None:
    command = "sh -c test -x .venv/bin/python || python3 -m venv .venv; exec .venv/bin/python -m pip install -r requirements.txt"
    assert ("Command", ".venv/bin/python -m pip install -r requirements.txt") in page(web(command=command), now=1.0).facts
