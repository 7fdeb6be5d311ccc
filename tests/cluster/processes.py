"""Background processes of the cluster: started detached, remembered by pid and start time, ended only if still the same."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from settings import LOGS, STATE
from steps import ClusterError

PIDS = STATE / "pids"


def log_of(name: str) -> Path:
    return LOGS / f"{name}.log"


def running(name: str) -> int | None:
    """The pid of the process started under this name, if it still runs."""
    try:
        known = json.loads((PIDS / f"{name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    pid = int(known["pid"])
    # A pid alone may belong to somebody else by now: the start time and the program's path make it ours. For a moment, while nsenter gives its place
    # to the program, the kernel shows no command line: taken for an end, it would be started twice, and the second one finds the port taken.
    line = _command_line(pid)
    if _start_time(pid) != known["start"] or (line and known["program"] not in line):
        return None
    return pid


def start(name: str, command: Sequence[str | Path], *, inside: Sequence[str] = ()) -> None:
    """Start it unless it runs already. `inside` is a prefix that execs the program (nsenter)."""
    if running(name):
        return
    PIDS.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    with log_of(name).open("ab") as log:
        process = subprocess.Popen(
            [*inside, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    record = {"pid": process.pid, "start": _start_time(process.pid), "program": str(command[0])}
    (PIDS / f"{name}.json").write_text(json.dumps(record))
    time.sleep(0.05)
    if process.poll() is not None:
        raise ClusterError(f"{name} ended at once with exit code {process.returncode}; the log is {log_of(name)}")


def stop(name: str, *, seconds: float = 15) -> None:
    """SIGTERM, and SIGKILL after `seconds`; nothing if it does not run."""
    pid = running(name)
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while running(name) and time.monotonic() < deadline:
            _reap(pid)
            time.sleep(0.1)
        if running(name):
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            _reap(pid)
    (PIDS / f"{name}.json").unlink(missing_ok=True)


def kill(name: str) -> None:
    """SIGKILL at once; nothing if it does not run."""
    if pid := running(name):
        os.kill(pid, signal.SIGKILL)
        _reap(pid)
    (PIDS / f"{name}.json").unlink(missing_ok=True)


def kill_where(fragment: str, *, program: str) -> int:
    """SIGKILL every process whose program is named `program` and whose command line holds `fragment` (a path of ours)."""
    killed = 0
    for entry in Path("/proc").glob("[0-9]*"):
        line = _command_line(int(entry.name))
        words = line.split("\0")
        if words and Path(words[0]).name.startswith(program) and fragment in line:
            os.kill(int(entry.name), signal.SIGKILL)
            killed += 1
    return killed


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # started by an earlier command: init reaps it
        os.waitpid(pid, os.WNOHANG)


def _start_time(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
