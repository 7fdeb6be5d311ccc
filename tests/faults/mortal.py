"""The operator as a process that dies, by SIGKILL, right before or right after a write of its own.

Processes are forked from a server that has the operator's modules in memory, so that a life costs a start of the operator and no import. What runs is
`yolo-operator run` as it is; only the class that writes is wrapped, in the process.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, Literal

from kubernetes.aio.config import kube_config

from yolo_operator.controller import operator
from yolo_operator.controller.kube import Kube
from yolo_operator.controller.settings import Settings

When = Literal["before", "after"]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["__main__", "kopf", "yolo_operator.controller.operator"])
SETTINGS = {"RETRY_MIN_SECONDS": "1", "RETRY_MAX_SECONDS": "2", "PORT": "0", "LOG_FORMAT": "text", "WORKERS": "1"}


class Mortal:
    """An operator over some namespaces, one life after the other."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: str) -> None:
        self.log = log
        self._arguments = (str(kubeconfig), {f"YOLO_OPERATOR_{name}": value for name, value in (SETTINGS | settings).items()}, str(log))
        self._countdown: Synchronized[int] = PROCESSES.Value("i", 0)
        self._process: Any = None
        self._born = 0

    def start(self, when: When = "after") -> None:
        """Begin a life; it lasts until `die_at` has been said and so many writes are done."""
        self._countdown.value = 0
        self._born = self.log.stat().st_size if self.log.exists() else 0
        self._process = PROCESSES.Process(target=live, args=(*self._arguments, when, self._countdown), daemon=True)
        self._process.start()

    def die_at(self, write: int) -> None:
        """Die at the write of this number from now on; 0 is never."""
        self._countdown.value = write

    @property
    def writes(self) -> int:
        """Begun since the last `die_at(0)`, or since the start."""
        return -self._countdown.value

    def lines(self) -> list[str]:
        """What it has logged in this life, an empty line where that is nothing."""
        return self.log.read_bytes()[self._born :].decode().splitlines() or [""]

    @property
    def dead(self) -> bool:
        """Whether it died as it was told; any other end is an error."""
        code = self._process.exitcode if self._process is not None else None
        assert code in {None, -signal.SIGKILL}, f"the operator ended with {code}: {self.log.read_text(encoding='utf-8')[-4000:]}"
        return code is not None

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.join()


def live(kubeconfig: str, environment: Mapping[str, str], log: str, when: When, countdown: "Synchronized[int]") -> None:
    """In the forked process: run the operator."""

    class MortalKube(Kube):
        async def _request(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
            if method == "GET":
                return await super()._request(method, path, body, **more)
            with countdown.get_lock():
                countdown.value -= 1
                last = countdown.value == 0
            if last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return await super()._request(method, path, body, **more)
            finally:
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)

    # The client has read the variable when it was imported, kopf reads it now.
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = os.environ["KUBECONFIG"] = kubeconfig
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 2)
    operator.Kube = MortalKube
    sys.exit(operator.main(Settings.from_env(environment)))
