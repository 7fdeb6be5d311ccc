"""N resources on two cores: until all are Ready, at rest, and after a restart of the operator. `make bench-scale N=1000`.

The control plane and the simulated kubelet of tests/faults: a real API server, etcd and controllers, whose Pods and Jobs end as soon as they are there. The
operator is a process beside them; its CPU seconds and memory are /proc's, its requests those of its own metrics. The floor is as many Deployments as there
are resources, made in the same run without any controller of ours, until each has its Pod.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

import control_plane
from api_client import NAMESPACE, ApiError, Client
from kubelet import Kubelet
from renewals import Renewals
from urllib3.exceptions import HTTPError

import gen
from yolo_operator.controller.kinds import DEPLOYMENT, POD, SERVER, YOLO, Manifest
from yolo_operator.core import names

PORT = control_plane.free_port()
TICKS = os.sysconf("SC_CLK_TCK")
NAMESPACES = 10
QUIET_SECONDS, QUIET_CPU = 5.0, 0.03
"""At rest is a process that uses less than so much in half a second, for so long."""
REQUESTS = re.compile(r'^yolo_operator_api_requests_total{code="(\w+)",method="(\w+)"} (\S+)', re.MULTILINE)


class Kubelets(Kubelet):
    """Four at once, each Pod always with the same one."""

    def _run(self) -> None:
        pools = [ThreadPoolExecutor(1) for _ in range(4)]
        while not self._stopped.is_set():
            try:
                for pod in self._client.watch(POD):
                    pools[hash(pod["metadata"]["uid"]) % len(pools)].submit(self._tell, pod)
            except (ApiError, HTTPError):
                # The watch is opened again, after a moment.
                self._stopped.wait(0.2)

    def _tell(self, pod: Manifest) -> None:
        """Follow a Pod; what goes wrong would end in a future that nobody asks."""
        try:
            self._follow(pod)
        except (ApiError, HTTPError) as error:
            print(f"  kubelet: {pod['metadata']['name']}: {error}", file=sys.stderr)


class Operator:
    """The process, and what it has used."""

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        settings = {"PORT": PORT, "ADDRESS": "127.0.0.1", "LOG_FORMAT": "json", "LEASE_NAMESPACE": "default"}
        self._env = os.environ | {"KUBECONFIG": str(kubeconfig)} | {f"YOLO_OPERATOR_{key}": str(value) for key, value in settings.items()}
        # Compiled once, as in the image, where that is done when it is built.
        self._env |= {"PYTHONPYCACHEPREFIX": str(log.with_name("bytecode")), "PYTHONDONTWRITEBYTECODE": ""}
        self._log = log.open("ab")
        self._lives = 0
        self.start()

    def start(self) -> None:
        """A new process."""
        self._lives += 1
        program = [str(Path(sys.executable).with_name("yolo-operator")), "run"]
        self._process = subprocess.Popen(program, env=self._env | {"YOLO_OPERATOR_IDENTITY": self.identity}, stdout=self._log, stderr=self._log)

    @property
    def identity(self) -> str:
        """Who holds the Lease in this life."""
        return f"life-{self._lives}"

    def stop(self) -> None:
        """End it as the kubelet does."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def check(self) -> None:
        """End the measurement where it has ended by itself."""
        if self._process.poll() is not None:
            sys.exit(f"the operator has ended with {self._process.returncode}")

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak(self) -> int:
        """MiB at most so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) // 1024

    def requests(self) -> dict[str, float]:
        """Requests to the API server by method and code, those for the Lease among them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return {f"{method} {code}": float(value) for code, method, value in REQUESTS.findall(text)}

    def rests(self, *, longest: float = 900) -> float:
        """Wait until it uses no CPU any more; seconds until then."""
        started = last = time.monotonic()
        before = self.cpu()
        while time.monotonic() - last < QUIET_SECONDS and time.monotonic() - started < longest:
            time.sleep(0.5)
            now = self.cpu()
            if now - before > QUIET_CPU:
                last = time.monotonic()
            before = now
        return last - started


class Ready:
    """Which resources are Ready, and when each had its first status."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ready: set[str] = set()
        self.first: dict[str, float] = {}
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            try:
                for body in self._client.watch(YOLO):
                    name, status = body["metadata"]["name"], body.get("status", {})
                    # What the API server fills in is nobody's word.
                    if "observedGeneration" in status:
                        self.first.setdefault(name, time.monotonic())
                    good = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ()))
                    (self._ready.add if good else self._ready.discard)(name)
            except (ApiError, HTTPError):
                time.sleep(0.2)

    def wait(self, operator: Operator, count: int, longest: float = 1800) -> None:
        """Until so many are."""
        end, told = time.monotonic() + longest, time.monotonic() + 30
        while len(self._ready) < count:
            if time.monotonic() > end:
                sys.exit(f"only {len(self._ready)} of {count} are Ready after {longest:.0f} s")
            operator.check()
            if time.monotonic() > told:
                print(f"  {len(self._ready)} of {count} Ready", file=sys.stderr)
                told += 30
            time.sleep(0.1)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("resources", type=int, nargs="?", default=1000)
    parser.add_argument("--per-server", type=int, default=0, help="so many of them on each YoloServer, of one pod; 0: each has pods of its own")
    parser.add_argument("--steady-seconds", type=float, default=130)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder, control_plane.running(Path(folder)) as plane, Kubelets(plane.client()):
        rows = list(measure(plane, Path(folder), given.resources, given.per_server, given.steady_seconds))
    print(f"| N = {given.resources} | |\n| --- | --- |")
    for what, value in rows:
        print(f"| {what} | {value} |")


def measure(plane: control_plane.ControlPlane, folder: Path, count: int, per_server: int, steady: float) -> Iterator[tuple[str, str]]:
    """Lines of the table, one after the other."""
    client = plane.client()
    for number in range(NAMESPACES):
        client.create(NAMESPACE, {"metadata": {"name": f"scale-{number}"}})
    yield "floor: as many Deployments, no controller of ours", f"{floor(plane, count):.0f} s"
    operator = Operator(plane.kubeconfig, folder / "operator.log")
    try:
        ready, renewals = Ready(client), Renewals(client, "yolo-operator")
        operator.rests()
        born: dict[str, float] = {}

        def make(number: int) -> None:
            body = resource(number, per_server)
            born[body["metadata"]["name"]] = time.monotonic()
            plane.client().create(YOLO, body)

        before, cpu, began = operator.requests(), operator.cpu(), time.monotonic()
        for number in range(-(-count // per_server) if per_server else 0):
            server = gen.written_server(server_name(number), storage=gen.STORAGE, gpu={"count": 0})
            client.create(SERVER, gen.merged(server, {"metadata": {"namespace": f"scale-{number % NAMESPACES}"}}))
        at_once(make, count)
        ready.wait(operator, count)
        seconds = time.monotonic() - began
        operator.rests()
        firsts = sorted(ready.first[name] - born[name] for name in born)
        yield "create → all Ready", f"{seconds:.0f} s"
        yield "CPU in it", f"{operator.cpu() - cpu:.1f} s"
        yield "first status in the burst", f"{firsts[len(firsts) // 2]:.1f} s, {firsts[-1]:.1f} at most"
        yield "requests per resource", shown(before, operator.requests(), count)
        yield "peak memory", f"{operator.peak()} MiB"
        before, cpu = operator.requests(), operator.cpu()
        time.sleep(steady)
        yield f"at rest for {steady:.0f} s", f"{operator.cpu() - cpu:.1f} CPU s, {shown(before, operator.requests(), 1) or 'no requests'}"
        yield "longest between two renewals of the Lease, 2 s apart", f"{renewals.longest(operator.identity):.1f} s"
        operator.stop()
        operator.start()
        quiet = operator.rests()
        yield "restart until at rest", f"{quiet:.1f} s, {operator.cpu():.1f} CPU s, {operator.peak()} MiB"
        yield "requests in it", shown({}, operator.requests(), 1)
        yield "longest between two renewals of the Lease", f"{renewals.longest(operator.identity):.1f} s"
    finally:
        operator.stop()


def floor(plane: control_plane.ControlPlane, count: int) -> float:
    """Seconds until so many Deployments have their Pods; they are removed again."""
    container = {"name": "server", "image": "example.com/none"}

    def deployment(number: int) -> Manifest:
        labels = {"scale": f"floor-{number}", names.MANAGED_BY: names.FIELD_MANAGER}
        template = {"metadata": {"labels": {"scale": labels["scale"]}}, "spec": {"containers": [container]}}
        metadata = {"name": f"floor-{number:05}", "namespace": f"scale-{number % NAMESPACES}", "labels": labels}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": {"scale": labels["scale"]}}, "template": template},
        }

    def lacks_a_pod() -> bool:
        found = [each for namespace in range(NAMESPACES) for each in plane.client().list(DEPLOYMENT, f"scale-{namespace}")]
        return len(found) < count or any(not each.get("status", {}).get("replicas") for each in found)

    began = time.monotonic()
    at_once(lambda number: plane.client().create(DEPLOYMENT, deployment(number)), count)
    while lacks_a_pod():
        time.sleep(0.5)
    seconds = time.monotonic() - began
    at_once(lambda number: plane.client().delete(DEPLOYMENT, f"scale-{number % NAMESPACES}", f"floor-{number:05}"), count)
    return seconds


def server_name(number: int) -> str:
    """Name of a YoloServer."""
    return f"line-{number:03}"


def resource(number: int, per_server: int) -> Manifest:
    """A YoloDeployment of one version; with several on a server one of those of its namespace."""
    server = number // per_server if per_server else number
    metadata: dict[str, Any] = {"namespace": f"scale-{server % NAMESPACES}", "name": f"m{number:05}", "uid": None, "generation": None, "resourceVersion": None}
    shared: dict[str, Any] = {"serverRef": {"name": server_name(server)}, "storage": None, "replicas": None} if per_server else {}
    return gen.body(metadata=metadata, **shared)


def at_once(what: Callable[[int], object], count: int) -> None:
    """Four at a time."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(what, range(count)))


def shown(before: dict[str, float], after: dict[str, float], count: int) -> str:
    """Requests by method and code, for each of so many resources."""
    found = {what: (value - before.get(what, 0)) / count for what, value in sorted(after.items())}
    return ", ".join(f"{value:.1f} {what}" if count > 1 else f"{value:.0f} {what}" for what, value in found.items() if value >= 0.05)


if __name__ == "__main__":
    main()
