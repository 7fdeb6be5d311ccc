"""How much memory a Triton beside us takes: of the GPUs by its own metrics, of the host by the kernel."""

from pathlib import Path

import urllib3
from prometheus_client.parser import text_string_to_metric_families

GPU_MEMORY = "nv_gpu_memory_used_bytes"
PROCESSES = "triton"
"""How the names of Triton's processes begin: tritonserver, triton_python_backend_stub."""


def used(metrics_url: str, processes: Path = Path("/proc")) -> int | None:
    """Bytes of all its GPUs; where it has none, what its processes have resident. None where neither can be seen."""
    of_gpus = gpu(metrics_url)
    return of_gpus if of_gpus is not None else host(processes)


def gpu(metrics_url: str) -> int | None:
    """Of all GPUs together, whoever uses them; None without one, or where the metrics cannot be read."""
    try:
        answer = urllib3.request("GET", metrics_url, timeout=5, retries=False)
    except urllib3.exceptions.HTTPError:
        return None
    samples = [sample.value for family in text_string_to_metric_families(answer.data.decode()) if family.name == GPU_MEMORY for sample in family.samples]
    return int(sum(samples)) if samples else None


def host(processes: Path) -> int | None:
    """What Triton's processes have resident and share with no file, in bytes; None where none can be seen: the containers of the pod do not share their processes."""
    found = None
    for status in processes.glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if lines.get("Name", "").strip().startswith(PROCESSES) and "RssAnon" in lines:
            found = (found or 0) + int(lines["RssAnon"].split()[0]) * 1024
    return found
