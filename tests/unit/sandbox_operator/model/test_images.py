"""Names of images: one image has one spelling, and nothing that only looks like an allowed name is one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.model.images import (
    ImageError,
    ImageRef,
    allowed,
    canonical,
    faults,
    parse,
    parse_pattern,
    template_faults,
)
from sandbox_operator.model.record import read
from sandbox_operator.model.template import TemplateSpec

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"

_ALNUM = "abcdefghijklmnopqrstuvwxyz0123456789"
words = st.text(_ALNUM, min_size=1, max_size=8)
parts = st.builds(lambda *some: "".join(some), words, st.sampled_from(["", ".x", "_x", "__x", "-x", "---x"]))
hosts = st.builds("{}.{}".format, words, words) | st.builds("{}:{}".format, words, st.integers(1, 65535)) | st.just("localhost")
repositories = st.lists(parts, min_size=1, max_size=4).map("/".join)
digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)
tags = st.text(_ALNUM + "ABC_.-", min_size=1, max_size=20).filter(lambda tag: tag[0] not in ".-")
names = st.builds("{}/{}".format, hosts, repositories)


def template(*patterns: str, **bounds: Any) -> TemplateSpec:
    return read(
        TemplateSpec,
        {
            "agentImage": f"registry.test/agent@{A}",
            "defaults": {"image": f"registry.test/base@{A}"},
            "bounds": {"images": list(patterns), **bounds},
            "resources": [],
        },
    )


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("node", "docker.io/library/node:latest"),
        ("node:22", "docker.io/library/node:22"),
        (f"node@{A}", f"docker.io/library/node@{A}"),
        ("team/app", "docker.io/team/app:latest"),
        ("docker.io/node", "docker.io/library/node:latest"),
        ("index.docker.io/node", "docker.io/library/node:latest"),
        ("docker.io/team/app", "docker.io/team/app:latest"),
        ("library/node", "docker.io/library/node:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("registry.test/a/b/c", "registry.test/a/b/c:latest"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        # the digest decides; the tag beside it is only for people
        (f"registry.test:443/a:v1@{A}", f"registry.test:443/a@{A}"),
        ("registry.test", "docker.io/library/registry.test:latest"),
        # not a host: no dot, no port, not localhost
        ("registry/app", "docker.io/registry/app:latest"),
        ("xn--nde-5ua.test/a", "xn--nde-5ua.test/a:latest"),
    ],
)
def test_an_image_has_one_normal_form(text: str, normal: str) -> None:
    assert str(parse(text)) == canonical(text) == normal


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "path part ''"),
        ("registry.test/", "path part ''"),
        ("/a", "path part ''"),
        ("registry.test//a", "path part ''"),
        ("registry.test/../a", "path part '..'"),
        ("registry.test/./a", "path part '.'"),
        ("registry.test/a/..", "path part '..'"),
        ("registry.test/A", "a-z and 0-9"),
        ("registry.test/a%2Fb", "path part 'a%2Fb'"),
        ("registry.test/a\\b", "path part"),
        ("registry.test/a?b=c", "path part"),
        ("registry.test/a#b", "path part"),
        ("registry.test/-a", "path part '-a'"),
        ("registry.test/a___b", "path part"),
        ("registry.test/a..b", "path part"),
        ("registry.test/a:", "tag ''"),
        ("registry.test/a:.b", "tag '.b'"),
        ("registry.test/a:b:c", "tag 'b:c'"),
        ("registry.test/a:" + "x" * 129, "at most 128"),
        ("registry.test/a@", "no sha256 digest"),
        ("registry.test/a@sha256:abc", "no sha256 digest"),
        (f"registry.test/a@sha256:{'A' * 64}", "no sha256 digest"),
        (f"registry.test/a@{A}0", "no sha256 digest"),
        (f"registry.test/a@{A}\n", "U+000A"),
        (f"registry.test/a@{A}@{A}", "no sha256 digest"),
        (f"registry.test/a@sha512:{'a' * 128}", "no sha256 digest"),
        (f"registry.test/a@{A}/b", "no sha256 digest"),
        (f"registry.test@{A}/b", "no sha256 digest"),
        ("Registry.test/a", "in lower case"),
        ("REGISTRY/a", "in lower case"),
        ("registry.test./a", "in lower case"),
        (".registry.test/a", "in lower case"),
        ("registry..test/a", "in lower case"),
        ("-registry.test/a", "in lower case"),
        ("registry_x.test/a", "in lower case"),
        ("[::1]:5000/a", "in lower case"),
        ("user@registry.test/a", "no sha256 digest"),
        ("user:pass@registry.test/a", "no sha256 digest"),
        ("https://registry.test/a", "port ''"),
        ("registry.test:0/a", "port '0'"),
        ("registry.test:0443/a", "port '0443'"),
        ("registry.test:65536/a", "port '65536'"),
        ("registry.test:443:443/a", "port '443:443'"),
        ("registry.test/a b", "U+0020"),
        ("registry.test/\u0430pp", "U+0430"),
        ("registry\u2024test/a", "U+2024"),
        ("registry.test\u2215a", "U+2215"),
        ("registry.test/a\u200b", "U+200B"),
        ("registry.test/a\0", "U+0000"),
        ("registry.test/" + "a" * 242, "at most 255"),
        ("a" * 64, "is the id of an image"),
    ],
)
def test_what_could_be_read_two_ways_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse(text)
    assert complaint in str(caught.value)


@given(names, st.none() | tags, st.none() | digests)
def test_the_normal_form_is_a_fixed_point_that_keeps_what_decides(name: str, tag: str | None, digest: str | None) -> None:
    ref = parse(name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else ""))
    assert ref.digest == (digest or "")
    again = parse(str(ref))
    assert str(again) == str(ref)
    assert (again.registry, again.repository, again.digest) == (ref.registry, ref.repository, ref.digest)


@given(st.text(max_size=120) | st.text("ab./:@*-_A0", max_size=40))
def test_any_text_is_an_image_or_an_error(text: str) -> None:
    try:
        ref = parse(text)
    except ImageError:
        assert canonical(text) == text
    else:
        assert canonical(str(ref)) == str(ref)


@given(names, st.sampled_from([".evil.com", "-evil", ":1", "evil", ".", "@evil.com", "%2e", "/evil", "_evil"]))
def test_a_longer_host_is_another_host(name: str, more: str) -> None:
    host, _, path = name.partition("/")
    everything = parse_pattern(f"{host}/*")
    try:
        ref = parse(f"{host}{more}/{path}")
    except ImageError:
        return
    assert everything.matches(ref) == (more == "/evil" and ref.registry == host)


@given(names, parts)
def test_a_repository_is_compared_whole(name: str, more: str) -> None:
    pattern, below = parse_pattern(name), parse_pattern(f"{name}/*")
    assert pattern.matches(parse(f"{name}:tag"))
    assert pattern.matches(parse(f"{name}@{A}"))
    assert not below.matches(parse(name))
    assert below.matches(parse(f"{name}/{more}"))
    assert not pattern.matches(parse(f"{name}/{more}"))
    for joint in ("-", "_", "."):
        assert not pattern.matches(parse(f"{name}{joint}{more}"))
        assert not below.matches(parse(f"{name}{joint}{more}/app"))


@pytest.mark.parametrize(
    ("pattern", "image", "matches"),
    [
        ("registry.test/*", "registry.test/a/b", True),
        ("registry.test/*", "registry.test.evil.com/a", False),
        ("registry.test/*", "evil.com/registry.test/a", False),
        ("registry.test/*", "registry.test:5000/a", False),
        ("registry.test:5000/*", "registry.test:5000/a", True),
        ("registry.test/team/*", "registry.test/team/a/b", True),
        ("registry.test/team/*", "registry.test/team", False),
        ("registry.test/team/*", "registry.test/team-evil/a", False),
        ("registry.test/team/*", "registry.test/x/team/a", False),
        ("registry.test/tool", "registry.test/toolbox", False),
        ("docker.io/*", "node", True),
        ("docker.io/*", "team/app", True),
        ("library/*", "node", True),
        ("node", "docker.io/library/node:22", True),
        ("node", "team/node", False),
        ("node", "localhost/node", False),
        ("localhost/*", "localhost/app", True),
        ("localhost/*", "localhost:5000/app", False),
        (f"registry.test/a@{A}", f"registry.test/a:v1@{A}", True),
        (f"registry.test/a@{A}", f"registry.test/a@{B}", False),
        (f"registry.test/a@{A}", "registry.test/a:latest", False),
    ],
)
def test_patterns(pattern: str, image: str, matches: bool) -> None:
    assert parse_pattern(pattern).matches(parse(image)) is matches


@pytest.mark.parametrize(
    "pattern", ["*", "/*", "registry.test/team*", "*/app", "registry.test/*/app", "*.test/a", "a/**", "a:v1"]
)
def test_a_pattern_that_says_less_than_it_seems_is_refused(pattern: str) -> None:
    with pytest.raises(ImageError):
        parse_pattern(pattern)


def test_the_templates_own_images_are_allowed_as_they_are_named() -> None:
    assert allowed(parse(f"registry.test/base:shown@{A}"), template())
    assert allowed(parse(f"registry.test/agent@{A}"), template())
    assert not allowed(parse(f"registry.test/base@{B}"), template())
    assert not allowed(ImageRef("registry.test", "base"), template())


def test_each_fault_of_an_image_is_told() -> None:
    made = template("registry.test/team/*")
    assert [*faults(f"registry.test/team/a@{A}", made, "t")] == []
    assert [*faults("registry.test/team/a:v1", made, "t")] == [
        "registry.test/team/a:v1 has no digest, and template t requires one (…@sha256:…)"
    ]
    assert [*faults(f"evil.test/a@{A}", made, "t")] == [f"evil.test/a@{A} is not allowed by template t (registry.test/team/*)"]
    assert len([*faults("evil.test/a", made, "t")]) == 2
    assert [*faults("registry.test/team/a:v1", template("registry.test/team/*", requireDigest=False), "t")] == []


def test_a_template_whose_own_images_have_no_digest_is_told_by_field() -> None:
    made = read(
        TemplateSpec,
        {"agentImage": "sandbox-runner", "defaults": {"image": "Bad"}, "bounds": {"images": ["*"]}, "resources": []},
    )
    told = [*template_faults(made)]
    assert [entry.partition(": ")[0] for entry in told] == ["spec.bounds.images[0]", "spec.agentImage", "spec.defaults.image"]
    assert "has no digest: name it as repository@sha256:…" in told[1]
    assert [*template_faults(template("registry.test/*"))] == []
