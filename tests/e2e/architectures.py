"""Ultralytics' own architecture files, read from its package in a client Pod: random weights for those that nobody's package brings."""

from e2e.cluster import Cluster

FOLDER = "import ultralytics, pathlib; print(pathlib.Path(ultralytics.__file__).parent / 'cfg/models')"


def architecture(cluster: Cluster, namespace: str, file: str) -> str:
    """The text of one, such as 11/yolo11.yaml. The package's first import prints about settings, so the file is read by another command."""
    folder = cluster.exec(namespace, "client", "python3", "-c", FOLDER).strip().splitlines()[-1]
    return cluster.exec(namespace, "client", "cat", f"{folder}/{file}")
