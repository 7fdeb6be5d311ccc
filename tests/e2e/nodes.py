"""Nodes beside the cluster's first, as pools of GPU machines have them: added, drained, without power, gone."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import Cluster, Manifest

PROGRAM = Path(__file__).parents[1] / "cluster" / "cluster.py"
POOL = "e2e.yolo-operator.io/pool"
ON_POOL: Manifest = {"nodeSelector": {POOL: "gpu"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}
"""Part of a spec whose Triton pods run on the nodes of the pool, whose taint they tolerate."""


class Nodes:
    """The nodes that a test has added."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.names: list[str] = []

    def add(self, *names: str, gpus: int = 1) -> None:
        """Machines of the pool, Ready and with the images of Triton's pods."""
        for name in names:
            self.remove(name)
            self.names.append(name)
            change("add", name, "--labels", f"{POOL}=gpu", "--gpus", str(gpus))

    def drain(self, name: str) -> None:
        """`kubectl drain`, as people and autoscalers do it."""
        self._cluster.kubectl("drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s", timeout=190)

    def off(self, name: str) -> None:
        """Its power fails: nothing of it answers any more, and nobody is told."""
        change("off", name)

    def remove(self, name: str) -> None:
        """The machine is given back, and its Node is gone."""
        change("remove", name)


def change(*arguments: str) -> None:
    """Run `cluster.py node`."""
    done = subprocess.run([sys.executable, str(PROGRAM), "node", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or done.stdout


@contextmanager
def pool(cluster: Cluster) -> Iterator[Nodes]:
    """Nodes for a while."""
    nodes = Nodes(cluster)
    try:
        yield nodes
    finally:
        for name in nodes.names:
            nodes.remove(name)
