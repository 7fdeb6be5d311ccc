"""Twenty models in one YoloServer, and in twenty YoloDeployments: memory, an update, and one model more. `make bench-many`, 20 minutes.

One pod each. Memory is that of the pods' processes, with what they share, at rest after some requests. The test cluster's Triton has ONNX Runtime
as a Python-based backend, where each model is a process of its own; NVIDIA's has it in Triton's process.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench import PORT
from wire import start_client

from e2e import storage as s3
from e2e.cluster import condition
from e2e.conftest import cluster_with_crds, make_namespace, remove_namespace, weed_image, yolo_deployment
from e2e.line import Line, server_of
from e2e.load import Load
from e2e.operator_process import OperatorProcess
from e2e.processes import command_of, processes_of
from e2e.twenty import serve, size_of, sources
from yolo_operator.core import names

DEADLINE = 1200.0


def main() -> None:
    """Measure and print a Markdown table."""
    cluster = cluster_with_crds()
    storage = s3.Storage(cluster, weed_image())
    namespace = make_namespace(cluster, "many")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as loads:
        operator = OperatorProcess(Path(folder) / "operator.log", PORT=str(PORT), ADDRESS="127.0.0.1", NAMESPACES=namespace)
        operator.start()
        try:
            start_client(cluster, namespace)
            *twenty, last = sources(cluster, storage, namespace).items()
            line = Line(cluster, namespace, loads)
            cluster.apply(server_of(namespace, replicas=1, memoryBudget="16Gi"))
            shared = measured(line, "shared", twenty, last, line.add)
            alone = measured(line, "alone", twenty, last, lambda name, source: cluster.apply(yolo_deployment(namespace, name, source)))
        finally:
            operator.stop()
            remove_namespace(cluster, namespace)
    sys.stdout.write("\n| 20 models | one YoloServer | 20 YoloDeployments | ratio |\n| --- | --- | --- | --- |\n")
    for name, ours in shared.items():
        sys.stdout.write(f"| {name} | {ours:.0f} | {alone[name]:.0f} | {ours / alone[name]:.2f} |\n")


def measured(line: Line, way: str, models: list[tuple[str, str]], last: tuple[str, str], add: Callable[[str, str], None]) -> dict[str, float]:
    """The figures of one way; what it made is gone then."""
    say(f"{way}: 20 models")
    serve(line, models, add)
    for name, _ in models:
        with Load(line.cluster.service_ip(line.namespace, name), name, http=1, grpc=0, size=size_of(name)) as load:
            line.cluster.wait(f"answers of {name}", lambda load=load: load.so_far().answers.total() >= 10, 60)
    time.sleep(10)  # memory is measured at rest
    pods = [pod for pod in line.cluster.list("pods", line.namespace, f"{names.COMPONENT}={names.TRITON}") if "deletionTimestamp" not in pod["metadata"]]
    pids = [pid for pod in pods for pid in processes_of(pod)]
    found = {
        "memory of all pods (MiB)": memory(pids) / 2**20,
        "of it the models' own processes (MiB)": memory([pid for pid in pids if command_of(pid).startswith("triton_python")]) / 2**20,
        "pods": float(len(pods)),
    }
    say(f"{way}: another batch size for all of them")
    began = time.monotonic()
    for name, _ in models:
        line.edit(name, triton={"maxBatchSize": 3})
    for name, _ in models:
        line.ready(name, DEADLINE)
    found["another batch size for all, to Ready (s)"] = time.monotonic() - began
    say(f"{way}: one more")
    name, source = last
    add(name, source)
    line.cluster.wait("its build", lambda: condition(line.cluster.yolo(line.namespace, name), "Built").get("status") == "True", DEADLINE)
    began = time.monotonic()
    with Load(line.cluster.service_ip(line.namespace, name), name, http=1, grpc=0, pause=0.05) as load:
        line.cluster.wait("its first answer", lambda load=load: load.so_far().answers.total(), DEADLINE)
        found["the 21st: from its build to its first answer (s)"] = time.monotonic() - began
    line.cluster.kubectl("delete", "yolodeployments,yoloservers", "-n", line.namespace, "--all", "--timeout=300s", timeout=310)
    line.cluster.wait("the pods' end", lambda: not line.cluster.list("pods", line.namespace, f"{names.COMPONENT}={names.TRITON}"), 300)
    return found


def memory(pids: Iterable[int]) -> int:
    """Bytes that processes have for themselves, and their parts of what they share in memory."""
    lines = (line.split() for pid in pids for line in (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines())
    return sum(int(line[1]) for line in lines if line[0] in {"Pss_Anon:", "Pss_Shmem:"}) << 10


def say(text: str) -> None:
    """Progress."""
    sys.stderr.write(f"bench-many: {text}\n")


if __name__ == "__main__":
    main()
