"""How much memory a process of a test has had."""

from pathlib import Path


def peak_memory() -> int:
    """KiB that this process had resident at most. Not ru_maxrss, which a process takes over from the one that started it: of a large one's child it says nothing."""
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
