"""The operator as a process of the tests' own: started, killed and started again at will."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from e2e.cluster import KUBECONFIG, TRITON


class OperatorProcess:
    """`yolo-operator run` outside the cluster, with the tests' settings."""

    def __init__(self, log: Path, kubeconfig: str | Path = KUBECONFIG, **settings: str) -> None:
        self.log = log
        self._kubeconfig = str(kubeconfig)
        self._settings = {
            "TRITON_IMAGE": TRITON,
            "RETRY_MIN_SECONDS": "5",
            "RETRY_MAX_SECONDS": "10",
            "PORT": "0",
            "LOG_FORMAT": "json",
            "CLUSTER_NAME": "e2e",
            "RESYNC_SECONDS": "60",
        } | settings
        self._process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        """Unix time of its start."""
        self._log_before = 0
        """Bytes of log that earlier starts have left."""

    def start(self) -> None:
        """Start it, if it does not run."""
        if self.is_running:
            return
        env = os.environ | {"KUBECONFIG": self._kubeconfig} | {f"YOLO_OPERATOR_{key}": value for key, value in self._settings.items()}
        self.started = time.time()
        with self.log.open("ab") as log:
            self._log_before = log.tell()
            self._process = subprocess.Popen([str(Path(sys.executable).with_name("yolo-operator")), "run"], env=env, stdout=log, stderr=log)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, gracefully or by kill -9; returns its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(timeout=30)

    def kill(self) -> None:
        """kill -9."""
        self.stop(signal.SIGKILL)

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_at_work(self) -> bool:
        """Whether it has come to its work since its start, by its log: Python takes seconds to get there on a busy machine."""
        return b'"message": "running"' in self.log.read_bytes()[self._log_before :]

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid
