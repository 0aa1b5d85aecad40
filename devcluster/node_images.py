"""The images the node itself needs, made here without a registry: pause, CoreDNS, and netprobe/busybox for tests."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from devcluster.containerd import image_names, import_image
from devcluster.settings import State

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
PAUSE_SOURCE = Path(__file__).parent / "base_images" / "pause.c"
NAMES = ("localhost/pause:dev", "localhost/coredns:dev", "localhost/netprobe:dev", "localhost/busybox:dev")
_ENVIRONMENT = ["PATH=/bin:/usr/bin:/sbin:/usr/sbin:/"]


def ensure(state: State) -> None:
    """Import the images unless containerd already has the ones made from the same inputs."""
    inputs = [(state.bin / "coredns").resolve(), (state.bin / "netprobe").resolve()]
    words = [*map(str, inputs), hashlib.sha256(PAUSE_SOURCE.read_bytes() + BUSYBOX.read_bytes()).hexdigest()]
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()
    mark = state.root / "containerd" / "devcluster-images"  # beside containerd's own store, so that they go together
    if mark.exists() and mark.read_text() == key and set(NAMES) <= set(image_names(state)):
        return
    with tempfile.TemporaryDirectory(dir=state.root) as folder:
        _make(state, Path(folder))
    mark.write_text(key)


def _make(state: State, folder: Path) -> None:
    pause = folder / "pause"
    pause.mkdir()
    subprocess.run(["cc", "-static", "-Os", "-s", "-o", pause / "pause", PAUSE_SOURCE], check=True)
    _import(state, pause, "localhost/pause:dev", {"Entrypoint": ["/pause"], "User": "65535:65535"})

    coredns = folder / "coredns"
    coredns.mkdir()
    shutil.copy((state.bin / "coredns").resolve(), coredns / "coredns")
    _import(state, coredns, "localhost/coredns:dev", {"Entrypoint": ["/coredns"]})

    # One tree for both: the two names differ only in what runs by default.
    tools = folder / "tools"
    for name in ("bin", "etc", "tmp", "proc", "dev", "sys", "root", "home"):
        (tools / name).mkdir(parents=True)
    (tools / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, tools / "bin" / "busybox")
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in set(applets) - {"busybox"}:
        (tools / "bin" / applet).symlink_to("busybox")
    shutil.copy((state.bin / "netprobe").resolve(), tools / "netprobe")
    (tools / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    (tools / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    _import(state, tools, "localhost/netprobe:dev", {"Entrypoint": ["/netprobe"]})
    _import(state, tools, "localhost/busybox:dev", {"Cmd": ["sh"]})


def _import(state: State, root: Path, name: str, config: dict[str, object]) -> None:
    archive = root.with_suffix(".tar")
    write_archive(archive, root, name, {**config, "Env": _ENVIRONMENT})
    import_image(state, archive, name)


def write_archive(archive: Path, root: Path, name: str, config: dict[str, object]) -> None:
    """Pack `root` as a one-layer docker archive. Reproducible: owner 0:0, no times, sorted names."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, str(path.relative_to(root)), recursive=False, filter=_anonymous)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    image = {
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    }
    description = json.dumps(image, sort_keys=True).encode()
    identifier = hashlib.sha256(description).hexdigest()
    manifest = [{"Config": f"{identifier}.json", "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for member_name, data in (
            (f"{identifier}.json", description),
            (f"{digest}/layer.tar", layer.getvalue()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(member_name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
