"""The operator as a process that dies, by SIGKILL, right before or right after a write of its own.

Processes are forked from a server that has the operator's modules in memory, so that a life costs a start of the operator and no import. What runs is
`yolo-operator run` as it is; only the class that writes is wrapped, in the process.
"""

import asyncio
import ctypes
import gc
import importlib
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import wait
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kubernetes.aio.config import kube_config

from yolo_operator.controller import operator
from yolo_operator.controller.kube import Kube
from yolo_operator.controller.settings import Settings

When = Literal["before", "after"]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["__main__", "kopf", "yolo_operator.controller.operator"])
LOCK = threading.Lock()
"""A start asks for the ends of all processes, and an end can be asked for by one thread at a time."""
SECONDS = 10
HELD = signal.SIGUSR1
SETTINGS = {"RETRY_MIN_SECONDS": "1", "RETRY_MAX_SECONDS": "2", "PORT": "0", "WORKERS": "1"}


class Held(NamedTuple):
    """What a process holds."""

    tasks: int
    """Of its event loop."""
    files: int
    """Open, sockets among them."""
    objects: int
    """That Python's garbage collector knows, after a collection."""
    kilobytes: int
    """Of memory."""


class Mortal:
    """An operator over one namespace or, without a name, all; one life after the other. `constants` of its modules are set before it runs, so that a test need not wait.

    Where it is `restarted` it may end by itself, with an error, and begins again as Kubernetes would have it.
    """

    def __init__(self, kubeconfig: Path, folder: Path, namespace: str, constants: Mapping[str, float] | None = None, **settings: str) -> None:
        self.log = folder / f"{namespace or 'everywhere'}.log"
        self._folder, self._kubeconfig = folder, kubeconfig
        environment = {f"YOLO_OPERATOR_{name}": value for name, value in (SETTINGS | {"NAMESPACES": namespace} | settings).items()}
        self._arguments = (str(kubeconfig), environment, dict(constants or {}), str(self.log))
        self._countdown: Synchronized[int] = PROCESSES.Value("i", 0)
        self._held: SimpleQueue[Held] = PROCESSES.SimpleQueue()
        self._process: Any = None
        self._born = 0
        self.restarted = False
        self.restarts = 0

    def everywhere(self) -> "Mortal":
        """Another one, over all namespaces."""
        return Mortal(self._kubeconfig, self._folder, "", WORKERS="8")

    def start(self, when: When = "after", at: int = 0) -> None:
        """Begin a life. It ends right before or after the write of this number, counted from 1; with 0 it lasts."""
        self._countdown.value = at
        self._born = self.log.stat().st_size if self.log.exists() else 0
        self._process = PROCESSES.Process(target=live, args=(*self._arguments, when, self._countdown, self._held), daemon=True)
        with LOCK:
            self._process.start()

    @property
    def writes(self) -> int:
        """Begun in a life that lasts."""
        return -self._countdown.value

    @property
    def held(self) -> Held:
        """What its process holds now."""
        os.kill(self._process.pid, HELD)
        return self._held.get()

    def lines(self) -> list[str]:
        """What it has logged in this life, an empty line where that is nothing."""
        written = self.log.read_bytes()[self._born :] if self.log.exists() else b""
        return written.decode().splitlines() or [""]

    def has_died(self, seconds: float) -> bool:
        """Whether it dies as it was told within so many seconds; an end of any other kind is an error, or a restart."""
        if self._process is None or not wait([self._process.sentinel], seconds):
            return False
        with LOCK:
            code = self._process.exitcode
        if code == 1 and self.restarted:
            self.restarts += 1
            self.start()
            return False
        assert code == -signal.SIGKILL, f"the operator ended with {code}: {self.log.read_text(encoding='utf-8')[-4000:]}"
        return True

    def kill(self) -> None:
        """kill -9, where it lives."""
        self.restarted = False
        if self._process is not None:
            with LOCK:
                self._process.kill()
            self.has_died(SECONDS)


def live(
    kubeconfig: str,
    environment: Mapping[str, str],
    constants: Mapping[str, float],
    log: str,
    when: When,
    countdown: "Synchronized[int]",
    told: "SimpleQueue[Held]",
) -> None:
    """In the forked process: run the operator."""

    class MortalKube(Kube):
        async def _request(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
            if method == "GET":
                return await super()._request(method, path, body, **more)
            with countdown.get_lock():
                countdown.value -= 1
                last = countdown.value == 0
            if last and when == "before":
                die()
            try:
                return await super()._request(method, path, body, **more)
            finally:
                if last:
                    die()

    threading.Thread(target=die_with_parent, daemon=True).start()
    signal.signal(HELD, lambda *_: told.put(held()))
    # The client has read the variable when it was imported, kopf reads it now.
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = os.environ["KUBECONFIG"] = kubeconfig
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 2)
    operator.Kube = MortalKube
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(f"yolo_operator.controller.{module}"), constant, value)
    sys.exit(operator.main(Settings.from_env(environment)))


def held() -> Held:
    """What this process holds, while its event loop runs: without what malloc keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    memory = re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return Held(len(asyncio.all_tasks()), sum(1 for _ in Path("/proc/self/fd").iterdir()), len(gc.get_objects()), int(memory[0]))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_with_parent() -> None:
    """However the tests end, no operator is left."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    die()
