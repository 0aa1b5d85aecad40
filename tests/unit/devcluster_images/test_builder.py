"""Command lines of the three builders."""

from pathlib import Path

import pytest

from devcluster.images.builder import Builder, BuildRequest

REQUEST = BuildRequest(
    dockerfile=Path("/repo/Dockerfile.x"),
    context=Path("/repo"),
    tag="localhost/x:dev",
    arguments={"BASE_IMAGE": "localhost/debian:1"},
    secrets={"pip.conf": Path("/s/pip.conf")},
)
BUILDERS = [Builder(kind, (kind,), reaches_registries=kind != "buildah") for kind in ("docker", "podman", "buildah")]


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.kind)
def test_every_builder_gets_file_tag_arguments_secrets_and_the_context_last(builder: Builder) -> None:
    argv = builder.build_argv(REQUEST)
    assert argv[-1] == "/repo"
    for option, value in [
        ("--file", "/repo/Dockerfile.x"),
        ("--tag", "localhost/x:dev"),
        ("--build-arg", "BASE_IMAGE=localhost/debian:1"),
        ("--secret", "id=pip.conf,src=/s/pip.conf"),
    ]:
        assert argv[argv.index(option) + 1] == value


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.kind)
def test_no_builder_sees_a_certificate_or_an_index_as_a_build_argument(builder: Builder) -> None:
    words = builder.build_argv(REQUEST)
    assert [words[at + 1] for at, word in enumerate(words) if word == "--build-arg"] == ["BASE_IMAGE=localhost/debian:1"]
    assert "--env" not in words


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.kind)
def test_pull_builds_without_the_cache(builder: Builder) -> None:
    fresh = BuildRequest(REQUEST.dockerfile, REQUEST.context, REQUEST.tag, pull=True)
    assert "--no-cache" in builder.build_argv(fresh)
    assert "--no-cache" not in builder.build_argv(REQUEST)


def test_docker_makes_no_attestation_which_would_change_the_digest() -> None:
    assert "--provenance=false" in BUILDERS[0].build_argv(REQUEST)


def test_only_our_own_store_is_tidied() -> None:
    assert [bool(builder.tidy_argv()) for builder in BUILDERS] == [False, False, True]


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.kind)
def test_every_builder_saves_a_docker_archive(builder: Builder) -> None:
    argv = builder.save_argv("localhost/x:dev", Path("/out.tar"))
    assert "/out.tar" in " ".join(argv)
    assert "localhost/x:dev" in " ".join(argv)
