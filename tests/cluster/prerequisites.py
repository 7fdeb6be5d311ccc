#!/usr/bin/env python3
"""What the cluster without Docker needs of the machine; one clear sentence for each thing that is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys

from settings import BUILDS, CACHE, IMAGES
from steps import ClusterError, run, say

# Measured: tests/cluster/README.md.
_GIGABYTES_COLD, _GIGABYTES_WARM = 25, 3
_GO = (1, 26)
_PACKAGES = {  # Debian's packages and a program that each brings
    "buildah": "buildah",
    "ca-certificates": "update-ca-certificates",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "ethtool": "ethtool",
    "iproute2": "ip",
    "iptables": "iptables",
    "openssl": "openssl",
    "procps": "sysctl",
    "runc": "runc",
    "socat": "socat",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
}


def missing() -> list[str]:
    """One sentence per thing that only the user can bring."""
    found = []
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        found.append(f"the cluster without Docker runs on Linux x86-64 only, this is {platform.system()} {platform.machine()}: use kind")
    if os.geteuid() != 0:
        found.append("the cluster without Docker must be started by root: it makes a network namespace, mounts and cgroups")
    if (version := _go_version()) < _GO:
        have = f"version {'.'.join(map(str, version))}" if version[0] else "none"
        found.append(f"Go {'.'.join(map(str, _GO))} or later builds Kubernetes, there is {have}")
    if not shutil.which("npm"):
        found.append("npm fetches kubectl and helm, and is not installed")
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("pip") is None:
        found.append(f"{sys.executable} has no ensurepip or pip: apt-get install python3-venv python3-pip (or leave the virtual environment)")
    if not shutil.which("apt-get"):
        found.append("containerd, runc and the rest come from Debian's packages, and there is no apt-get: use kind")
    need = _GIGABYTES_WARM if BUILDS.exists() and IMAGES.exists() else _GIGABYTES_COLD
    CACHE.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(CACHE).free / 1e9
    if free < need:
        found.append(f"{need} GB of free disk are needed below {CACHE}, there are {free:.0f}")
    return found


def check() -> None:
    """Raise with every sentence at once; install Debian's packages that are missing."""
    if sentences := missing():
        raise ClusterError("; ".join(sentences))
    wanted = [package for package, program in _PACKAGES.items() if not shutil.which(program)]
    if wanted:
        say(f"apt-get install {' '.join(wanted)}")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-q"], log="apt", what="apt-get update", env=environment)
        run(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted],
            log="apt",
            what="apt-get install",
            env=environment,
        )


def _go_version() -> tuple[int, int]:
    go = shutil.which("go")
    text = subprocess.run([go, "version"], check=True, capture_output=True, text=True).stdout if go else ""
    match = re.search(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


if __name__ == "__main__":
    problems = missing()
    print("\n".join(problems) or "all there")
    sys.exit(1 if problems else 0)
