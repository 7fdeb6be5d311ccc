"""Images without a registry: bases by debootstrap, the rest by buildah (or docker); rebuilt and loaded only if an input changed.

`make images`, or `cluster.py images operator exporter` for some of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import builds
import components
import kind
import processes
from settings import CONTAINERD, HERE, IMAGES, REPOSITORY, WEED
from steps import ClusterError, output, run, say

_RECIPES = HERE / "images"
_SOURCES = [REPOSITORY / n for n in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE", "operator")]
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_BASE_RECIPE = "1"  # raise it when _debootstrap changes: everything is rebuilt
_IN_IMAGE = "/etc/build-machine.crt"
# The machine's way to its package index: build arguments, never part of an image's environment.
_PIP_SETTINGS = {
    "PIP_INDEX_URL": "global.index-url",
    "PIP_EXTRA_INDEX_URL": "global.extra-index-url",
    "PIP_TRUSTED_HOST": "global.trusted-host",
}


@dataclass(frozen=True, slots=True)
class Image:
    """One image: `inputs` decide whether it is rebuilt, as do the images of `after`."""

    name: str
    tag: str
    dockerfile: Path | None = None
    context: Path | None = None
    inputs: tuple[Path, ...] = ()
    target: str = ""
    arguments: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    suite: str = ""  # of Debian, for a base image
    program: str = ""  # the one static program of an image FROM scratch
    loaded: bool = True


def catalogue() -> dict[str, Image]:
    """All images, in the order they are built."""
    triton = _RECIPES / "tritonserver-cpu"
    bases = ("debian-trixie",)
    listed = [
        Image("pause", components.PAUSE_IMAGE, program="pause", inputs=(HERE / "go/pause",)),
        Image("debian-trixie", "docker.io/library/debian:trixie-slim", suite="trixie", loaded=False),
        Image("debian-bookworm", "docker.io/library/debian:bookworm-slim", suite="bookworm", loaded=False),
        Image(
            "operator",
            "docker.io/yolo-operator/operator:dev",
            REPOSITORY / "Dockerfile",
            REPOSITORY,
            (*_SOURCES, REPOSITORY / "requirements/operator.txt", REPOSITORY / "requirements/pictures.txt"),
            "operator",
            after=bases,
        ),
        Image("seaweedfs", f"docker.io/chrislusf/seaweedfs:{_weed_tag()}", program="weed"),
        Image(
            "tritonserver-cpu",
            "docker.io/yolo-operator/tritonserver-cpu:24.10",
            triton / "Dockerfile",
            triton,
            (triton,),
            after=("debian-bookworm",),
        ),
        Image(
            "exporter",
            "docker.io/yolo-operator/exporter:dev",
            REPOSITORY / "Dockerfile",
            REPOSITORY,
            (*_SOURCES, REPOSITORY / "requirements/exporter.txt"),
            "exporter",
            after=bases,
        ),
        Image(
            "operator-next",
            "docker.io/yolo-operator/operator:next",
            _RECIPES / "operator-next/Dockerfile",
            _RECIPES / "operator-next",
            (_RECIPES / "operator-next",),
            after=("operator",),
        ),
        Image(
            "tritonserver-cpu-b",
            "docker.io/yolo-operator/tritonserver-cpu:24.10-b",
            triton / "Dockerfile",
            triton,
            (triton,),
            arguments=("VARIANT=b",),
            after=("debian-bookworm",),
        ),
        Image(
            "client",
            "docker.io/yolo-operator/client:dev",
            _RECIPES / "client/Dockerfile",
            _RECIPES / "client",
            (_RECIPES / "client",),
            after=("exporter",),
        ),
    ]
    return {image.name: image for image in listed}


def build(names: list[str]) -> None:
    """Build what changed, among `names` and what they stand on, or everything; load it into the cluster that runs."""
    known = catalogue()
    if unknown := [n for n in names if n not in known]:
        raise ClusterError(f"no image {', '.join(unknown)}; there are {', '.join(known)}")
    builds.fetch_tools()
    IMAGES.mkdir(parents=True, exist_ok=True)
    for image in known.values():
        if names and not any(_needs(known, n, image.name) for n in names):
            continue
        if missing := [p for p in image.inputs if not p.exists() and p.name != ".dockerignore"]:
            raise ClusterError(f"image {image.name} needs {missing[0]}, which does not exist")
        _build_one(known, image)
        if image.loaded:
            _load(known, image)


def ensure_pause() -> None:
    """What every pod needs, before the kubelet starts."""
    known = catalogue()
    IMAGES.mkdir(parents=True, exist_ok=True)
    _build_one(known, known["pause"])
    _load(known, known["pause"])


def load_built() -> None:
    """Load every image that was built earlier, whether or not its inputs changed since."""
    known = catalogue()
    for image in known.values():
        if image.loaded and _built(image):
            _load(known, image)


def _needs(known: dict[str, Image], name: str, other: str) -> bool:
    return name == other or any(_needs(known, n, other) for n in known[name].after)


def _key(known: dict[str, Image], image: Image) -> str:
    recipe = [_BASE_RECIPE] if image.suite else []
    after = (_key(known, known[n]) for n in image.after)
    return builds.fingerprint(image.tag, image.target, *image.arguments, *recipe, *after, files=[p for p in image.inputs if p.exists()])


def _record(image: Image) -> Path:
    return IMAGES / f"{image.name}.key"


def _built(image: Image) -> str:
    return _record(image).read_text() if _record(image).exists() else ""


def _build_one(known: dict[str, Image], image: Image) -> None:
    key = _key(known, image)
    if _built(image) == key:
        return
    started = time.monotonic()
    say(f"image {image.name}: building (log: logs/image-{image.name}.log)")
    if image.suite:
        if not kind.usable():
            _debootstrap(image)
    elif image.program:
        _from_scratch(image)
    else:
        assert image.dockerfile
        assert image.context
        _dockerfile(image, image.dockerfile, image.context)
    _record(image).write_text(key)
    say(f"image {image.name}: built in {time.monotonic() - started:.0f} s")


def _buildah(*arguments: str | Path) -> list[str | Path]:
    policy = IMAGES / "policy.json"
    if not policy.exists():
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}\n')
    return ["buildah", "--root", IMAGES / "storage", "--runroot", IMAGES / "run", "--storage-driver", "overlay", *arguments]


def _run(image: Image, command: Sequence[str | Path]) -> None:
    run(command, log=f"image-{image.name}", what=f"image {image.name}")


def _dockerfile(image: Image, dockerfile: Path, context: Path) -> None:
    options: list[str | Path] = ["-t", image.tag, "-f", dockerfile]
    if image.target:
        options += ["--target", image.target]
    for argument in (*image.arguments, *_pip_settings()):
        options += ["--build-arg", argument]
    if kind.usable():
        _run(image, ["docker", "build", *options, context])
    else:
        policy = [
            "--isolation",
            "chroot",
            "--layers",
            "--pull=never",
            "--format",
            "docker",
            "--signature-policy",
            str(IMAGES / "policy.json"),
        ]
        _run(image, _buildah("bud", *policy, *options, context))


def _pip_settings() -> list[str]:
    """PIP_INDEX_URL and its like, from the environment or pip's own configuration."""
    found = []
    for name, option in _PIP_SETTINGS.items():
        value = os.environ.get(name)
        if not value:
            done = subprocess.run([sys.executable, "-m", "pip", "config", "get", option], check=False, capture_output=True, text=True)
            value = done.stdout.strip() if done.returncode == 0 else ""
        if value:
            found.append(f"{name}={value}")
    return found


def _from_scratch(image: Image) -> None:
    """One static program and an empty /tmp."""
    source = WEED if image.program == "weed" else builds.program(image.program)
    with tempfile.TemporaryDirectory(dir=IMAGES) as temporary:
        folder = Path(temporary)
        shutil.copy(source, folder / image.program)
        (folder / "tmp").mkdir(mode=0o1777)
        place = "/usr/bin/weed" if image.program == "weed" else f"/{image.program}"
        (folder / "Dockerfile").write_text(f'FROM scratch\nCOPY {image.program} {place}\nUSER 65532:65532\nENTRYPOINT ["{place}"]\n')
        _dockerfile(image, folder / "Dockerfile", folder)


def _debootstrap(image: Image) -> None:
    """Debian as small as it gets, with the machine's own mirror and certificates, under the name the Dockerfiles' FROM has."""
    root = IMAGES / f"rootfs-{image.suite}"
    shutil.rmtree(root, ignore_errors=True)
    mirror = _apt_mirror()
    _run(image, ["debootstrap", "--variant=minbase", image.suite, root, mirror])
    for folder in (
        "dev",
        "proc",
        "sys",
        "var/lib/apt/lists",
        "var/cache/apt",
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
    ):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    (root / "var/lib/apt/lists/partial").mkdir()
    (root / "etc/apt/sources.list").write_text("".join(f"deb {mirror} {s} main\n" for s in (image.suite, f"{image.suite}-updates")))
    options = 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n'
    environment = []
    if _CERTIFICATES.exists():
        shutil.copy(_CERTIFICATES, root / _IN_IMAGE.lstrip("/"))
        options += f'Acquire::https::CAInfo "{_IN_IMAGE}";\n'
        environment = ["--env", f"PIP_CERT={_IN_IMAGE}"]
    (root / "etc/apt/apt.conf.d/90-build-machine").write_text(options)
    (root / "etc/dpkg/dpkg.cfg.d/90-slim").write_text(
        "force-unsafe-io\npath-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n"
    )
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    container = output(_buildah("from", "--signature-policy", IMAGES / "policy.json", "scratch")).strip()
    _run(image, _buildah("copy", "-q", container, f"{root}/", "/"))
    _run(image, _buildah("config", *environment, "--cmd", "bash", container))
    _run(
        image,
        _buildah("commit", "-q", "--rm", "--format", "docker", "--signature-policy", IMAGES / "policy.json", container, image.tag),
    )
    shutil.rmtree(root)


def _apt_mirror() -> str:
    """The mirror that this machine's own packages come from."""
    for line in output(["apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(SITE) $(REPO_URI)"]).splitlines():
        words = line.split()
        if len(words) == 4 and words[:2] == ["Debian", "main"] and "security" not in words[3]:
            return words[3]
    raise ClusterError("apt's sources name no Debian mirror: run apt-get update on a Debian machine, or use kind")


def _load(known: dict[str, Image], image: Image) -> None:
    """Into containerd of the cluster without Docker, or kind's node; nothing if neither runs."""
    if kind.usable():
        kind.load(image.tag)
        return
    if not processes.running("containerd"):
        return
    record = CONTAINERD / "loaded" / image.name
    key = _built(image)
    present = image.tag in output(components.ctr("images", "ls", "-q")).split()
    if present and record.exists() and record.read_text() == key:
        return
    started = time.monotonic()
    _import(image)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(key)
    say(f"image {image.name}: loaded as {image.tag} in {time.monotonic() - started:.0f} s")


def _import(image: Image) -> None:
    """Hand containerd the layers it does not have: a change of the code is a few kilobytes, not the whole image."""
    held = CONTAINERD / "io.containerd.content.v1.content/blobs/sha256"
    with tempfile.TemporaryDirectory(dir=IMAGES) as temporary:
        layout = Path(temporary)
        blobs = layout / "blobs/sha256"
        blobs.mkdir(parents=True)
        for digest in output(components.ctr("content", "ls", "-q")).split():
            blob = held / digest.removeprefix("sha256:")
            if blob.exists():
                os.link(blob, blobs / blob.name)  # buildah takes a layer that lies there as written
        known = set(blobs.iterdir())
        policy = ["--signature-policy", str(IMAGES / "policy.json")]
        _run(image, _buildah("push", "-q", "-D", "--format", "oci", *policy, image.tag, f"oci:{layout}:{image.tag}"))
        index = json.loads((layout / "index.json").read_text())
        index["manifests"][0]["annotations"] = {"io.containerd.image.name": image.tag}
        (layout / "index.json").write_text(json.dumps(index))
        new = [str(p.relative_to(layout)) for p in sorted(set(blobs.iterdir()) - known)]
        archive = layout / "new.tar"
        _run(image, ["tar", "-C", layout, "-cf", archive, "oci-layout", "index.json", *new])
        run(components.ctr("images", "import", archive), log=f"image-{image.name}", what=f"loading image {image.name}")


def _weed_tag() -> str:
    """The tag of SeaweedFS's image: the version that the program itself names."""
    return builds.weed_version() if WEED.exists() else "unknown"
