"""One line of progress per step, and programs run so that a failure is one clear sentence with the path of its log."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from settings import KUBECONFIG, KUBECTL, LOGS

_STARTED = time.monotonic()


class ClusterError(Exception):
    """What went wrong, as one sentence for the person at the terminal."""


def say(text: str) -> None:
    print(f"[{time.monotonic() - _STARTED:4.0f}s] {text}", flush=True)


def run(
    command: Sequence[str | Path],
    *,
    log: str,
    what: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a program, its output into LOGS/`log`.log; raise a ClusterError that says `what` failed and where to read on."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{log}.log"
    with path.open("a") as out:
        out.write(f"+ {' '.join(map(str, command))}\n")
        out.flush()
        done = subprocess.run(
            check=False,
            args=[str(c) for c in command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
        )
    if done.returncode:
        raise ClusterError(f"{what} failed with exit code {done.returncode}; the log is {path}")


def output(command: Sequence[str | Path]) -> str:
    """What a program prints; a ClusterError with its last words if it fails."""
    done = subprocess.run([str(c) for c in command], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise ClusterError(f"{Path(command[0]).name} {command[1]} failed: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def kubectl(*arguments: str) -> str:
    """What kubectl prints of the running cluster; raises as `output` does."""
    return output([KUBECTL, "--kubeconfig", KUBECONFIG, *arguments])


def quiet(*command: str | Path) -> bool:
    """Run a program whose failure does not matter; whether it succeeded."""
    done = subprocess.run(
        check=False,
        args=[str(c) for c in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode == 0


def wait_for(what: str, ready: Callable[[], bool], *, seconds: float, log: Path | None = None) -> None:
    """Ask every 0.3 s until `ready`; a ClusterError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            where = f"; the log is {log}" if log else ""
            raise ClusterError(f"{what} was not ready within {seconds:.0f} s{where}")
        time.sleep(0.3)
