import pytest

from runner_agent import content_policy
from runner_agent.injection import HEADER, Insertion, Script, asks_for_page, injected, wants_scripts
from sandbox_protocol.http1 import Head, parse_request

TAG = b'<script src="/.sandbox/x.js"></script>'
SCRIPTS = (Script(b"/.sandbox/x.js"),)
ORIGIN = b"https://3000-abc.preview.example"
SOURCE = ORIGIN + b"/.sandbox/"


def page(html: bytes, step: int) -> bytes:
    insertion = Insertion(SCRIPTS, ORIGIN)
    return b"".join(insertion.feed(html[at : at + step]) for at in range(0, len(html), step)) + insertion.end()


@pytest.mark.parametrize("step", [1, 7, 4096])
@pytest.mark.parametrize(
    ("html", "at"),
    [
        (b"<!doctype html><html lang=en><head><title>t</title></head>", b"<title>"),
        (b"<!DOCTYPE html>\n<!-- <head> --><HTML>\n<HEAD data-x='1'>\n<meta charset=utf-8>", b"\n<meta"),
        (b"<!doctype html><h1>no head</h1>", b"<h1>"),
        (b"<header>no head</header>", b"<header>"),
        (b"<html><body>b", b"<body>"),
        (b"plain words <head>", b"plain"),
        (b"\xef\xbb\xbf<!doctype html><p>", b"<p>"),
        (b"<script>1</script><head>", b"<script>1"),
        (b"<htmlx>", b"<htmlx>"),
    ],
)
def test_a_script_stands_behind_head_or_before_the_first_thing_of_the_page(html: bytes, at: bytes, step: int) -> None:
    made = page(html, step)
    assert made == html.replace(at, TAG + at, 1)


@pytest.mark.parametrize("html", [b"", b"\xff\xfe<\x00h\x00"])
def test_what_is_no_page_of_ascii_s_family_stays_as_it_is(html: bytes) -> None:
    assert page(html, 3) == html


@pytest.mark.parametrize("step", [1, 4096])
@pytest.mark.parametrize(
    ("body", "is_page"),
    [(b"<h1>hi</h1>", True), (b" <!DOCTYPE html><p>", True), (b'{"a": 1}', False), (b"<svg></svg>", False), (b"<bold>", False)],
)
def test_an_answer_without_a_type_is_a_page_if_browsers_take_it_for_one(body: bytes, is_page: bool, step: int) -> None:
    insertion = injected(Head((), 1, status=200, reason=b"OK"), SCRIPTS, ORIGIN)
    assert insertion is not None
    made = b"".join(insertion.feed(body[at : at + step]) for at in range(0, len(body), step)) + insertion.end()
    assert (TAG in made) is is_page
    assert made.replace(TAG, b"") == body
    nosniff = Head(((b"X-Content-Type-Options", b"nosniff"),), 1, status=200, reason=b"OK")
    assert injected(nosniff, SCRIPTS, ORIGIN) is None


@pytest.mark.parametrize("step", [1, 7, 4096])
@pytest.mark.parametrize(
    ("html", "at"),
    [
        (b'<html lang=\'a>b\'><head data-x="<head>" y=c"d><title>', b"<title>"),
        (b'<html data-x=a"b><head><meta charset="utf-8">', b"<meta"),
        (b"<html/><head/ class=x ><p>", b"<p>"),
        (b"<!--><head><script>'-->'</script>", b"<script>"),
        (b"<!---><head><script>'-->'</script>", b"<script>"),
        (b"<!-- a --!><head><p>-->", b"<p>"),
        (b"<!-x><!><!doctype html><head><p>", b"<p>"),
        (b"<!--[if IE]><html class=ie><![endif]--><!--[if !IE]><!--><html><!--<![endif]--><head><p>", b"<p>"),
    ],
)
def test_tags_and_comments_end_where_browsers_end_them(html: bytes, at: bytes, step: int) -> None:
    assert page(html, step) == html.replace(at, TAG + at, 1)


@pytest.mark.parametrize("step", [1, 2, 4096])
@pytest.mark.parametrize(
    "html",
    [
        b"\xff\xfe<\0h\0e\0a\0d\0>\0",
        b"\xfe\xff\0<\0h\0e\0a\0d\0>",
        b"<\0?\0x\0m\0l\0 \0?\0>\0",
        b"\0<\0?\0x\0m\0l\0 \0?\0>",
    ],
)
def test_a_page_of_two_bytes_a_character_stays_as_it_is_in_whatever_pieces(html: bytes, step: int) -> None:
    assert page(html, step) == html


@pytest.mark.parametrize(
    "kind", [b"text/html; charset=utf-16le", b'text/html;charset="UTF-16"', b"text/html; a=b; Charset = 'ISO-10646-UCS-2'"]
)
def test_a_page_that_says_so_in_its_type_is_left_alone(kind: bytes) -> None:
    assert injected(Head(((b"Content-Type", kind),), status=200), SCRIPTS, ORIGIN) is None


def test_an_answer_without_a_type_that_does_not_get_to_its_first_word_is_not_kept_in_memory() -> None:
    insertion = Insertion(SCRIPTS, ORIGIN, sniffed=True)
    sent = [insertion.feed(b" " * 10_000) for _ in range(4)]
    assert sum(map(len, sent)) >= 20_000
    assert b"".join(sent) + insertion.end() == b" " * 40_000


def test_nothing_is_held_back_once_the_place_is_found() -> None:
    insertion = Insertion(SCRIPTS, ORIGIN)
    assert insertion.feed(b"<!doctype html><head>") == b"<!doctype html><head>" + TAG
    assert insertion.feed(b"<tit") == b"<tit"


def test_a_page_that_never_gets_to_its_head_is_not_kept_in_memory() -> None:
    insertion = Insertion(SCRIPTS, ORIGIN)
    sent = [insertion.feed(b"<!-- " + b"x" * 40_000), insertion.feed(b"y" * 40_000), insertion.feed(b"z")]
    assert sum(map(len, sent)) >= 80_000
    assert sent[-1] == b"z"


def asked(*lines: str, method: str = "GET") -> Head:
    return parse_request("\r\n".join([f"{method} / HTTP/1.1", "Host: a", *lines, "", ""]).encode())


@pytest.mark.parametrize(
    ("lines", "page_wanted"),
    [
        (["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], True),
        (["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"], True),
        (["Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept: text/html"], False),
        (["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: object"], False),
        (["Accept: text/html,application/xhtml+xml"], True),
        (["Accept: text/html", "HX-Request: true"], False),
        (["Accept: text/html", "Turbo-Frame: x"], False),
        (["Accept: text/vnd.turbo-stream.html, text/html"], False),
        (["Accept: */*"], False),
        (["Accept: text/event-stream"], False),
    ],
)
def test_only_what_a_browser_goes_to_is_a_page(lines: list[str], page_wanted: bool) -> None:
    assert asks_for_page(asked(*lines)) == page_wanted
    assert not asks_for_page(asked(*lines, method="POST"))
    assert wants_scripts(asked(f"{HEADER.decode()}: reload", *lines)) == page_wanted
    assert not wants_scripts(asked(*lines))
    assert not wants_scripts(asked(f"{HEADER.decode()}: reload", "Range: bytes=0-1", *lines))


def answered(*headers: tuple[bytes, bytes], status: int = 200) -> Head:
    return Head(((b"Content-Type", b"text/html; charset=utf-8"), *headers), status=status, reason=b"OK")


@pytest.mark.parametrize("status", [200, 404, 500])
def test_pages_of_errors_get_the_script_too(status: int) -> None:
    assert injected(answered(status=status), SCRIPTS, ORIGIN) is not None


@pytest.mark.parametrize(
    ("response", "scripts"),
    [
        (answered(status=206), SCRIPTS),
        (answered(status=304), SCRIPTS),
        (answered(status=302), SCRIPTS),
        (answered((b"Content-Encoding", b"br")), SCRIPTS),
        (answered((b"Content-Disposition", b"attachment; filename=a.html")), SCRIPTS),
        (Head(((b"Content-Type", b"application/json"),), status=200), SCRIPTS),
        (answered(), ()),
    ],
)
def test_what_a_browser_does_not_show_as_a_page_is_left_alone(response: Head, scripts: tuple[Script, ...]) -> None:
    assert injected(response, scripts, ORIGIN) is None


def test_what_spoke_of_the_app_s_bytes_is_not_said_of_ours() -> None:
    head = Insertion(SCRIPTS, ORIGIN).head(answered((b"ETag", b'"1"'), (b"Last-Modified", b"x"), (b"X-App", b"1")))
    assert head.get(b"etag") is None
    assert head.get(b"last-modified") is None
    assert head.get(b"x-app") == b"1"


@pytest.mark.parametrize(
    ("policy", "made"),
    [
        (b"default-src 'self'", b"default-src 'self'; script-src 'self'; connect-src 'self'"),
        (b"default-src 'none'", b"default-src 'none'; script-src %s; connect-src %s" % (SOURCE, SOURCE)),
        (b"script-src cdn.example", b"script-src cdn.example %s" % SOURCE),
        (b"script-src 'unsafe-inline'; connect-src *", b"script-src 'unsafe-inline' %s; connect-src *" % SOURCE),
        (b"img-src 'self'", b"img-src 'self'"),
        (b"upgrade-insecure-requests", b"upgrade-insecure-requests"),
        (b"script-src-elem a.example; script-src 'none'", b"script-src-elem a.example %s; script-src 'none'" % SOURCE),
    ],
)
def test_a_policy_gets_what_the_script_needs_and_loses_nothing(policy: bytes, made: bytes) -> None:
    assert content_policy.nonce_for([policy]) == b""
    assert content_policy.extended(policy, SOURCE, b"") == made


def test_a_policy_that_goes_by_nonces_lends_its_own() -> None:
    policy = b"script-src 'nonce-abc123' 'strict-dynamic'"
    insertion = Insertion(SCRIPTS, ORIGIN)
    head = insertion.head(answered((b"Content-Security-Policy", policy)))
    assert head.get(b"content-security-policy") == policy
    assert b'nonce="abc123"' in insertion.feed(b"<head><p>")


def test_a_policy_that_goes_by_hashes_gets_a_new_nonce_each_time() -> None:
    policy = b"script-src 'sha256-abc=' 'strict-dynamic'"
    first, second = content_policy.nonce_for([policy]), content_policy.nonce_for([policy])
    assert first != second
    assert content_policy.extended(policy, SOURCE, first) == policy + b" 'nonce-%s'" % first


def test_a_policy_without_a_word_is_none() -> None:
    assert content_policy.extended(b"img-src *,; ,,", SOURCE, b"") == b"img-src *"


def test_several_policies_in_one_header_are_all_extended() -> None:
    made = content_policy.extended(b"script-src a.example, script-src b.example", SOURCE, b"")
    assert made == b"script-src a.example %s, script-src b.example %s" % (SOURCE, SOURCE)


def test_a_page_with_a_script_is_kept_by_browsers_for_other_visits_of_a_page_only() -> None:
    assert Insertion(SCRIPTS, ORIGIN).head(answered()).tokens(b"vary") == [b"sec-fetch-dest"]
    assert Insertion(SCRIPTS, ORIGIN).head(answered((b"Vary", b"Cookie"))).tokens(b"vary") == [b"cookie", b"sec-fetch-dest"]
