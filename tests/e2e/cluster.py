"""The real cluster, as the tests speak to it: given, when, then."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

CACHE = Path(os.environ.get("YOLO_OPERATOR_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "yolo-operator")
KUBECTL = CACHE / "tools" / "kubectl"
KUBECONFIG = os.environ.get("KUBECONFIG") or str(CACHE / "state" / "kubeconfig")
AUDIT_LOG = CACHE / "state" / "audit.log"
WEIGHTS = CACHE / "weights"
HOST = "10.99.0.1"
"""The machine as the cluster's pods reach it: HOST_ADDRESS of tests/cluster/settings.py."""
PICTURES = ("bus.jpg", "zidane.jpg")
"""Photographs beside the weights: a tall and a wide one."""
TRITON = "docker.io/yolo-operator/tritonserver-cpu:24.10"
TRITON_B = "docker.io/yolo-operator/tritonserver-cpu:24.10-b"

Manifest = dict[str, Any]


class Refused(Exception):
    """kubectl said no; the text is its own."""


class Cluster:
    """kubectl, with waits that say what was last seen."""

    def kubectl(self, *arguments: str, text: str | None = None, timeout: float = 120) -> str:
        """Run kubectl; raises Refused with what it printed."""
        done = subprocess.run(
            [str(KUBECTL), *arguments], input=text, capture_output=True, text=True, timeout=timeout, env=os.environ | {"KUBECONFIG": KUBECONFIG}, check=False
        )
        if done.returncode:
            raise Refused(done.stderr or done.stdout)
        return done.stdout

    def apply(self, *manifests: Manifest) -> None:
        """kubectl apply, with strict validation."""
        self.kubectl("apply", "--validate=strict", "-f", "-", text=yaml.safe_dump_all(manifests))

    def patch(self, kind: str, namespace: str, name: str, patch: Manifest, *more: str) -> None:
        """kubectl patch --type=merge."""
        self.kubectl("patch", kind, name, "-n", namespace, "--type=merge", "-p", json.dumps(patch), *more)

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, None where there is none."""
        try:
            found: Manifest = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        except Refused as refused:
            if "NotFound" in str(refused) or "not found" in str(refused):
                return None
            raise
        return found

    def serves(self, kind: str) -> bool:
        """Whether the API server serves and describes a kind, which comes a moment after its CRD. `kubectl wait` fails on one that has no conditions yet."""
        try:
            self.kubectl("explain", f"{kind}.spec")
            self.kubectl("get", kind, "-A")
        except Refused:
            return False
        return True

    def service_ip(self, namespace: str, name: str) -> str:
        """The address of a Service that is there."""
        found = self.get("service", namespace, name)
        assert found is not None, f"no Service {namespace}/{name}"
        address: str = found["spec"]["clusterIP"]
        return address

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        """All objects of a kind."""
        items: list[Manifest] = json.loads(self.kubectl("get", kind, "-n", namespace, "-o", "json", *(["-l", selector] if selector else [])))["items"]
        return items

    def yolo(self, namespace: str, name: str) -> Manifest:
        """A YoloDeployment, which must be there."""
        found = self.get("yolodeployment", namespace, name)
        assert found is not None, f"no YoloDeployment {namespace}/{name}"
        return found

    def wait(self, what: str, check: Callable[[], Any], timeout: float = 300, describe: Callable[[], str] = str) -> Any:
        """Poll until `check` gives something true; fails with what was waited for and what is there instead. A build takes two minutes on a busy machine."""
        deadline = time.monotonic() + timeout
        while True:
            found = check()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout:g} s for {what}; now: {describe()}")
            time.sleep(0.5)

    def wait_ready(self, namespace: str, name: str, timeout: float = 360) -> Manifest:
        """Wait until Ready is True for the newest generation."""
        return self.wait_condition(namespace, name, "Ready", "True", timeout=timeout)

    def wait_condition(self, namespace: str, name: str, kind: str, status: str, reason: str = "", timeout: float = 300) -> Manifest:
        """Wait for a condition of the newest generation."""

        def check() -> Manifest | None:
            yolo = self.yolo(namespace, name)
            found = condition(yolo, kind)
            fits = found.get("status") == status and reason in ("", found.get("reason"))
            return yolo if fits and found.get("observedGeneration") == yolo["metadata"]["generation"] else None

        def describe() -> str:
            yolo = self.yolo(namespace, name)
            pods = [(p["metadata"]["name"], p["status"].get("phase")) for p in self.list("pods", namespace)]
            return f"generation {yolo['metadata']['generation']}, {yaml.safe_dump(yolo.get('status', {}).get('conditions'))} {pods}"

        found: Manifest = self.wait(f"{namespace}/{name} {kind}={status} {reason}", check, timeout, describe)
        return found

    def exec(self, namespace: str, pod: str, *command: str, timeout: float = 300) -> str:
        """Run a command in a Pod."""
        return self.kubectl("exec", "-n", namespace, pod, "--", *command, timeout=timeout)


def condition(yolo: Manifest, kind: str) -> Manifest:
    """A condition of a resource, empty where there is none."""
    return next((c for c in yolo.get("status", {}).get("conditions", ()) if c["type"] == kind), {})


def pod_ready(pod: Manifest) -> bool:
    """Whether a Pod is Ready and not on its way out."""
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))
    return ready and "deletionTimestamp" not in pod["metadata"]


def end_of_audit() -> int:
    """Where the API server's audit log ends now, in bytes: 0 where the cluster writes none."""
    return AUDIT_LOG.stat().st_size if AUDIT_LOG.exists() else 0


def audited(since: int, until: int | None = None) -> Iterable[Manifest]:
    """The API server's audit events from a byte of its log on, up to another or the end. What it answered 401 has an empty user name."""
    with AUDIT_LOG.open("rb") as log:
        log.seek(since)
        while (until is None or log.tell() < until) and (line := log.readline()).endswith(b"\n"):
            event = json.loads(line)
            event["user"].setdefault("username", "")
            yield event


def writes(since: int, namespace: str, agent: str = "yolo-operator") -> list[str]:
    """What the operator wrote to a namespace from a byte of the API server's audit log on."""
    return [
        f"{event['verb']} {event['requestURI']}"
        for event in audited(since)
        if event.get("stage") == "ResponseComplete"
        and event.get("verb") not in {"get", "list", "watch"}
        and agent in event.get("userAgent", "")
        and f"/namespaces/{namespace}/" in event["requestURI"]
    ]
