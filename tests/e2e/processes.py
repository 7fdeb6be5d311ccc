"""What runs in Pods, as the node sees it, which is this machine."""

import contextlib
import os
import signal
from pathlib import Path

from e2e.cluster import Manifest


def processes_of(pod: Manifest) -> list[int]:
    """Process ids of a Pod's containers."""
    name = f"HOSTNAME={pod['metadata']['name']}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if name in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def kill(pod: Manifest) -> None:
    """End what runs in a Pod."""
    for pid in processes_of(pod):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def command_of(pid: int) -> str:
    """A process's name, as the kernel has it: its first 15 characters."""
    return (Path("/proc") / str(pid) / "comm").read_text().strip()
