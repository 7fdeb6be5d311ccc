"""The cgroups above all pods': made before a kubelet starts, emptied when the cluster goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from steps import quiet, say


def create(name: str) -> None:
    """A folder in each hierarchy, for `cgroupRoot` of a kubelet."""
    for root in _roots():
        ours = root / name
        ours.mkdir(exist_ok=True)
        if root.name.startswith("cpuset") and not (ours / "cpuset.cpus").read_text().strip():
            for file in ("cpuset.cpus", "cpuset.mems"):
                (ours / file).write_text((root / file).read_text())
        controllers = root / "cgroup.controllers"
        if controllers.exists():
            for controller in controllers.read_text().split():
                for folder in (ours.parent, ours):
                    quiet("sh", "-c", f"echo +{controller} > {folder}/cgroup.subtree_control")


def kill(name: str) -> None:
    """End everything in it, and remove it, innermost first."""
    deadline = time.monotonic() + 15
    left: list[Path] = []
    while time.monotonic() < deadline:
        left = []
        for root in _roots():
            ours = root / name
            if not ours.exists():
                continue
            for folder in sorted((p for p in [ours, *ours.rglob("*")] if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
                try:
                    for pid in (folder / "cgroup.procs").read_text().split():
                        os.kill(int(pid), 9)
                    folder.rmdir()
                except ProcessLookupError:
                    pass
                except OSError:
                    left.append(folder)
        if not left:
            return
        time.sleep(0.2)
    say(f"warning: could not remove {left[0]}")


def _roots() -> list[Path]:
    """One folder per hierarchy with cgroup v1, the only one with v2."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return [top]
    points = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(point) for _, point, kind_, *_ in points if kind_ in ("cgroup", "cgroup2") and Path(point).is_relative_to(top)]
