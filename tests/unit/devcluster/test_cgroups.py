"""Both cgroup layouts are understood."""

from pathlib import Path

import pytest

from devcluster import cgroups


def hierarchy(path: Path, v2: bool) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "cgroup.procs").touch()
    if v2:
        (path / "cgroup.controllers").touch()
    return path


def test_a_pure_v2_machine_has_one_hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "MOUNT", hierarchy(tmp_path, v2=True))
    (tmp_path / "system.slice").mkdir()
    assert cgroups.hierarchies() == [tmp_path]
    assert cgroups.unified() == tmp_path


def test_a_hybrid_machine_has_one_a_controller_and_the_v2_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "MOUNT", tmp_path)
    for name in ("cpu", "cpuset", "pids"):
        hierarchy(tmp_path / name, v2=False)
    unified = hierarchy(tmp_path / "unified", v2=True)
    (tmp_path / "cpu,cpuacct").symlink_to("cpu")
    assert cgroups.hierarchies() == [tmp_path / n for n in ("cpu", "cpuset", "pids", "unified")]
    assert cgroups.unified() == unified


def test_without_a_v2_hierarchy_the_error_says_how_to_mount_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "MOUNT", tmp_path)
    hierarchy(tmp_path / "cpu", v2=False)
    with pytest.raises(FileNotFoundError, match="mount -t cgroup2"):
        cgroups.unified()


def test_the_pods_group_gets_processors_before_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "MOUNT", tmp_path)
    cpuset = hierarchy(tmp_path / "cpuset", v2=False)
    (cpuset / "cpuset.cpus").write_text("0-1\n")
    group = cpuset / "devcluster"
    group.mkdir()
    (group / "cpuset.cpus").write_text("\n")
    hierarchy(tmp_path / "unified", v2=True)
    cgroups.make_pod_groups()
    assert (group / "cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "unified" / "devcluster").is_dir()
