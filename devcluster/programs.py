"""Which programs the cluster is made of, and which source and flags make each: pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).with_name("go")
KUBERNETES = "1.37.2"
_KUBERNETES_VERSION = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in (("gitVersion", f"v{KUBERNETES}"), ("gitMajor", "1"), ("gitMinor", "37"))
)


@dataclass(frozen=True)
class Module:
    """A folder below `go/` with its own go.mod and go.sum; its programs are built by one `go build`, so that the compiler
    never waits for a linker. Versions of what two modules share are kept equal: a package is then compiled once for both."""

    name: str
    ldflags: str = ""
    cgo: bool = False
    tags: str = ""


CLUSTER = Module("cluster", _KUBERNETES_VERSION)
CONTAINERD = Module("containerd", "-X github.com/containerd/containerd/v2/version.Version=2.4.2")
RUNC = Module("runc", "-X main.version=1.5.2", cgo=True, tags="seccomp")
CILIUM = Module("cilium", "-X github.com/cilium/cilium/pkg/version.ciliumVersion=1.20.2")
GVISOR = Module("gvisor")


@dataclass(frozen=True)
class Program:
    """`name` below the bin folder, made from `package` of `module` (a package of our own starts with `./`)."""

    name: str
    module: Module
    package: str


def _kubernetes(name: str) -> Program:
    return Program(name, CLUSTER, f"k8s.io/kubernetes/cmd/{name}")


def _containerd(name: str) -> Program:
    return Program(name, CONTAINERD, f"github.com/containerd/containerd/v2/cmd/{name}")


# In the order of need.
PROGRAMS = (
    Program("etcd", CLUSTER, "./cmd/etcd"),
    *map(_kubernetes, ("kube-apiserver", "kube-controller-manager", "kubectl")),
    *map(_kubernetes, ("kube-scheduler", "kubelet", "kube-proxy")),
    *(Program(name, CLUSTER, f"./cmd/{name}") for name in ("coredns", "provisioner", "netprobe", "remoteexec")),
    *map(_containerd, ("containerd", "containerd-shim-runc-v2", "ctr")),
    Program("runc", RUNC, "github.com/opencontainers/runc"),
    Program("cilium-agent", CILIUM, "github.com/cilium/cilium/daemon"),
    Program("cni/cilium-cni", CILIUM, "github.com/cilium/cilium/plugins/cilium-cni"),
    Program("cilium-share", CILIUM, ""),  # not a program: BPF sources and CRDs out of the module
    Program("runsc", GVISOR, "gvisor.dev/gvisor/runsc"),
    Program("containerd-shim-runsc-v1", GVISOR, "gvisor.dev/gvisor/shim"),
)
BY_NAME = {program.name: program for program in PROGRAMS}

GVISOR_PROGRAMS = tuple(program for program in PROGRAMS if program.module is GVISOR)
API_PROGRAMS = tuple(BY_NAME[name] for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"))
TEST_PROGRAMS = (BY_NAME["remoteexec"],)  # not part of a cluster: built by the tests that run them
NODE_PROGRAMS = tuple(program for program in PROGRAMS if program.module is not GVISOR and program not in TEST_PROGRAMS)

DEBIAN_API = ("openssl", "iproute2", "nftables", "util-linux", "procps")
DEBIAN_NODE = (
    *DEBIAN_API,
    *("gcc", "libc6-dev", "pkg-config", "libseccomp-dev"),  # runc (cgo) and the pause image
    "clang-19",  # Cilium compiles its BPF programs when it starts
    *("iptables", "ipset", "conntrack", "e2fsprogs"),
    "busybox-static",
)


class UnknownProgramError(Exception):
    """Not a program of the cluster; the message lists those that are."""


def select(names: Iterable[str]) -> tuple[Program, ...]:
    """Programs by name, or all of a module by the module's name, in the order of need; everything if `names` is empty."""
    wanted = set(names)
    known = set(BY_NAME) | {program.module.name for program in PROGRAMS}
    if unknown := wanted - known:
        raise UnknownProgramError(f"unknown: {' '.join(sorted(unknown))}; there is {' '.join(sorted(known))}")
    return tuple(p for p in PROGRAMS if not wanted or p.name in wanted or p.module.name in wanted)


def cache_key(program: Program, folder: Path, go_version: str) -> str:
    """Names the content: changes with every input that could change the result. `folder` is the module's."""
    module = program.module
    flags = (program.package, module.ldflags, module.cgo, module.tags, go_version)
    digest = hashlib.sha256(repr(flags).encode())
    sources = [folder / "go.mod", folder / "go.sum"]
    if program.package.startswith("./"):
        sources += sorted((folder / program.package).glob("*.go"))
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
