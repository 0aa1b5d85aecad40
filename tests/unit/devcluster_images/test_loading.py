"""The list of loaded images."""

from pathlib import Path

from devcluster.images.base import base_tag, debootstrap_argv
from devcluster.images.loading import read_references, references_file, write_references
from devcluster.settings import State


def test_references_grow_and_are_replaced_by_name(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert read_references(state) == {}
    write_references(state, {"runner": "localhost/sandbox-runner@sha256:1"})
    write_references(state, {"operator": "localhost/sandbox-operator@sha256:2"})
    write_references(state, {"runner": "localhost/sandbox-runner@sha256:3"})
    assert read_references(state) == {
        "runner": "localhost/sandbox-runner@sha256:3",
        "operator": "localhost/sandbox-operator@sha256:2",
    }
    assert [path.name for path in tmp_path.iterdir()] == [references_file(state).name]


def test_the_base_is_named_by_how_it_is_made() -> None:
    assert base_tag().startswith("localhost/debian:bookworm-")
    words = debootstrap_argv(Path("/t.tar"))
    assert words[-1] == "/t.tar"
    assert not any("://" in word for word in words), "the machine's own package sources are used"
