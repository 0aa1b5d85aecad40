import pytest

from sandbox_operator.preview import session


@pytest.mark.parametrize(
    ("target", "token", "clean"),
    [
        (b"/?sandbox_token=abc", "abc", b"/"),
        (b"/a/b?x=1&sandbox_token=abc&y=%20&x=2", "abc", b"/a/b?x=1&y=%20&x=2"),
        (b"/a?sandbox_token=", "", b"/a"),
        (b"/a?sandbox_tokens=abc", None, b"/a?sandbox_tokens=abc"),
        (b"/a?x=sandbox_token=abc", None, b"/a?x=sandbox_token=abc"),
        (b"/a", None, b"/a"),
        (b"//evil.example/?sandbox_token=abc", "abc", b"/evil.example/"),
        (b"/\\evil.example/?sandbox_token=abc", "abc", b"/evil.example/"),
        (b"/\\/\\evil.example/a\\b?sandbox_token=abc", "abc", b"/evil.example/a\\b"),
    ],
)
def test_the_token_leaves_the_url_and_the_deep_link_stays(target: bytes, token: str | None, clean: bytes) -> None:
    assert session.split_token(target) == (token, clean)


def test_the_session_is_found_among_the_apps_cookies() -> None:
    assert session.cookie_token(b"a=1; __Host-sandbox-preview=tok.en; b=2") == "tok.en"
    assert session.cookie_token(b"a=__Host-sandbox-preview=1; X__Host-sandbox-preview=2") is None


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"__Host-sandbox-preview=t", b""),
        (b"a=1; __Host-sandbox-preview=t; b=2", b"a=1; b=2"),
        (b"a=1;b=2", b"a=1;b=2"),
        (b"__Host-sandbox-preview=t; __Host-sandbox-preview=u; a=1", b"a=1"),
    ],
)
def test_the_app_never_sees_the_session(sent: bytes, seen: bytes) -> None:
    assert session.without_session(sent) == seen


@pytest.mark.parametrize(
    "value", [b"__Host-sandbox-preview=mine", b" __host-SANDBOX-preview =x; Path=/", b"=__Host-sandbox-preview=x"]
)
def test_the_app_cannot_replace_the_session(value: bytes) -> None:
    assert session.apps_cookie(value) is None


def test_the_app_cannot_plant_a_cookie_on_its_neighbours() -> None:
    assert session.apps_cookie(b"sid=1; Domain=preview.localhost; HttpOnly") == b"sid=1; HttpOnly"


def test_the_cookie_is_bound_to_the_host_and_hidden_from_scripts() -> None:
    cookie = session.set_cookie("tok", 60)
    assert cookie.startswith(b"__Host-sandbox-preview=tok; Path=/; Max-Age=60")
    for attribute in (b"Secure", b"HttpOnly", b"SameSite=None", b"Partitioned"):
        assert attribute in cookie
    assert b"Domain" not in cookie
    assert session.apps_cookie(cookie) is None
