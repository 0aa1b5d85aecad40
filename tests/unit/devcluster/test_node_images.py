"""Archives made here are reproducible, so their digest names their content."""

import json
import tarfile
from pathlib import Path

from devcluster.node_images import write_archive


def make(folder: Path, name: str) -> Path:
    root = folder / "root"
    (root / "bin").mkdir(parents=True, exist_ok=True)
    (root / "bin" / "tool").write_text("x")
    (root / "bin" / "link").unlink(missing_ok=True)
    (root / "bin" / "link").symlink_to("tool")
    archive = folder / name
    write_archive(archive, root, "localhost/x:dev", {"Cmd": ["tool"]})
    return archive


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = make(tmp_path, "1.tar"), make(tmp_path, "2.tar")  # files are newer the second time
    assert first.read_bytes() == second.read_bytes()


def test_the_archive_names_its_image_and_keeps_links(tmp_path: Path) -> None:
    with tarfile.open(make(tmp_path, "1.tar")) as tar:
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        assert manifest[0]["RepoTags"] == ["localhost/x:dev"]
        layer = tar.extractfile(manifest[0]["Layers"][0])
        with tarfile.open(fileobj=layer) as inner:
            assert inner.getmember("bin/link").linkname == "tool"
            assert {m.uid for m in inner} == {0}
