"""What an image is made of."""

import fnmatch
import os
from pathlib import Path

import pytest

from devcluster.images.definition import IMAGES, LANGUAGES, Image, content_key, copied_paths
from devcluster.settings import REPOSITORY

IMAGE = Image("app", "localhost/app", "Dockerfile.app")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile.app").write_text("FROM scratch\nCOPY a.txt /\nCOPY pkg /pkg\n")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "m.py").write_text("m")
    return tmp_path


def key(tree: Path, base: str = "debian", builder: str = "docker") -> str:
    return content_key(tree, IMAGE, base, builder)


def test_copied_paths_are_the_sources_read_from_the_context() -> None:
    text = "COPY a b /to/\n  copy --chown=1:1 c /d\nCOPY --from=build /x /y\nRUN cp COPY z\n# COPY commented /out\n"
    assert copied_paths(text) == ["a", "b", "c"]


def test_key_is_stable(tree: Path) -> None:
    before = key(tree)
    os.utime(tree / "a.txt", (1, 1))
    assert key(tree) == before


@pytest.mark.parametrize(
    ("file", "text"), [("a.txt", "b"), ("pkg/m.py", "n"), ("pkg/new.py", ""), ("Dockerfile.app", "COPY a.txt /\nCOPY pkg /p\n")]
)
def test_key_changes_with_what_goes_in(tree: Path, file: str, text: str) -> None:
    before = key(tree)
    (tree / file).write_text(text)
    assert key(tree) != before


def test_key_changes_with_mode_base_and_builder(tree: Path) -> None:
    keys = {key(tree), key(tree, base="other"), key(tree, builder="buildah")}
    (tree / "a.txt").chmod(0o755)
    keys.add(key(tree))
    assert len(keys) == 4


def test_key_ignores_what_python_compiles_and_what_is_not_copied(tree: Path) -> None:
    before = key(tree)
    (tree / "pkg" / "__pycache__").mkdir()
    (tree / "pkg" / "__pycache__" / "m.pyc").write_text("x")
    (tree / "elsewhere.txt").write_text("x")
    assert key(tree) == before


def test_moving_bytes_between_files_changes_the_key(tree: Path) -> None:
    before = key(tree)
    (tree / "pkg" / "m.py").rename(tree / "pkg" / "n.py")
    assert key(tree) != before


def test_a_missing_source_is_named(tree: Path) -> None:
    (tree / "a.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.txt"):
        key(tree)


def test_key_of_an_image_on_another_changes_with_that_one(tree: Path) -> None:
    (tree / "Dockerfile.more").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n")
    more = Image("more", "localhost/more", "Dockerfile.more", IMAGE)
    before = content_key(tree, more, "debian", "docker")
    (tree / "a.txt").write_text("b")
    assert content_key(tree, more, "debian", "docker") != before
    assert more.stack() == (more, IMAGE)


@pytest.mark.parametrize("image", LANGUAGES, ids=lambda image: image.name)
def test_an_image_on_another_has_no_base_of_its_own_and_runs_as_the_app_s_user(image: Image) -> None:
    lines = (REPOSITORY / image.dockerfile).read_text().splitlines()
    assert ("ARG BASE_IMAGE" in lines) == (image.on is not None)
    assert [line for line in lines if line.startswith("USER")][-1] == "USER 1000:1000"


@pytest.mark.parametrize("image", [*IMAGES, *LANGUAGES], ids=lambda image: image.name)
def test_dockerignore_lets_in_all_that_is_copied(image: Image) -> None:
    allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in copied_paths((REPOSITORY / image.dockerfile).read_text()):
        assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), f"{source} never reaches the builder"


def test_the_runner_image_holds_nothing_of_the_operator() -> None:
    copied = copied_paths((REPOSITORY / "Dockerfile.runner").read_text())
    packages = [source for source in copied if not source.startswith("requirements/")]
    assert sorted(packages) == ["launcher", "runner_agent", "sandbox_protocol"]


def test_both_images_start_with_the_same_steps_so_that_they_share_layers() -> None:
    def first_stage(name: str) -> str:
        text = (REPOSITORY / name).read_text()
        return text[text.index("ARG BASE_IMAGE") :].split("\n\n")[0]

    assert first_stage("Dockerfile.operator") == first_stage("Dockerfile.runner")
