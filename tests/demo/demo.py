"""The demo: from a running cluster to a Ready YoloDeployment and detections on a picture. `make demo` brings the cluster first.

What it does is what the README's quick start tells a user to do: install the chart with a small S3 server, put weights there, apply
a YoloDeployment, wait, and ask it with the unmodified Ultralytics client. A second run finds most of it done.
"""

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import yaml
from botocore.config import Config

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("YOLO_OPERATOR_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "yolo-operator")
WEIGHTS = CACHE / "weights"
RELEASE_NAMESPACE, NAMESPACE, NAME = "yolo-operator", "yolo-demo", "goldmine"
STARTED = time.monotonic()

YOLO = {
    "apiVersion": "yolo-operator.io/v1alpha1",
    "kind": "YoloDeployment",
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "spec": {
        "task": "detect",
        "versions": [{"version": 1, "source": {"uri": "s3://models/weights/goldmine.pt"}}],
        "triton": {"maxBatchSize": 4, "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}}},
        "gpu": {"count": 0},
    },
}
CLIENT = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "client", "namespace": NAMESPACE},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "client", "image": "docker.io/yolo-operator/client:dev", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "infinity"]}],
    },
}


class DemoError(Exception):
    """The demo cannot go on; the message says why and where to look."""


def main() -> int:
    """All steps."""
    try:
        install()
        copy_keys()
        upload(WEIGHTS / "goldmine-detect.pt", "weights/goldmine.pt")
        say("kubectl apply -f yolodeployment.yaml")
        sys.stdout.write(f"\n{yaml.safe_dump(YOLO, sort_keys=False)}\n")
        kubectl("apply", "-f", "-", text=yaml.safe_dump(YOLO))
        wait_ready()
        ask()
    except DemoError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    say("done. Look around: kubectl -n yolo-demo get yolodeployments,pods,jobs; remove it all: make cluster-down")
    return 0


def say(text: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"[{time.monotonic() - STARTED:4.0f}s] {text}\n")
    sys.stdout.flush()


def run(program: str, *arguments: str, text: str | None = None, timeout: float = 300) -> str:
    """Run kubectl or helm."""
    try:
        done = subprocess.run([str(CACHE / "tools" / program), *arguments], input=text, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"{program} {arguments[0]} did not end within {timeout:g} s") from error
    if done.returncode:
        raise DemoError(f"{program} {' '.join(arguments[:4])}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


def kubectl(*arguments: str, text: str | None = None, timeout: float = 300) -> str:
    """Run kubectl."""
    return run("kubectl", *arguments, text=text, timeout=timeout)


def install() -> None:
    """The chart, with an S3 server to try things with; for the namespace of the demo only."""
    say("helm upgrade --install yolo-operator (with s3.enabled)")
    kubectl("apply", "-f", "-", text=yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
    values = {
        "namespaces": [NAMESPACE],
        "images": {"operator": "docker.io/yolo-operator/operator:dev", "exporter": "docker.io/yolo-operator/exporter:dev"},
        "triton": {"image": "docker.io/yolo-operator/tritonserver-cpu:24.10"},
        "s3": {"enabled": True},
        # Same tag, new content after a rebuild: the Pods must be made anew.
        "podAnnotations": {"yolo-operator.io/source": source_digest()},
    }
    run(
        "helm", "upgrade", "--install", "yolo-operator", str(ROOT / "helm" / "yolo-operator"), "-n", RELEASE_NAMESPACE, "--create-namespace",
        "--take-ownership", "--force-conflicts", "--wait", "--timeout=5m", "-f", "-", text=yaml.safe_dump(values), timeout=330,
    )  # fmt: skip


def source_digest() -> str:
    """Of the operator's code: it changes when the image does."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "operator").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def copy_keys() -> None:
    """The S3 server's keys into the namespace of the demo: the operator reads no Secrets."""
    keys = json.loads(kubectl("get", "secret", "-n", RELEASE_NAMESPACE, "s3-credentials", "-o", "json"))
    kubectl(
        "apply",
        "-f",
        "-",
        text=json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-credentials", "namespace": NAMESPACE}, "data": keys["data"]}),
    )


@contextmanager
def forwarded(service: str, port: int) -> Iterator[int]:
    """A local port that leads to a Service, as `kubectl port-forward` makes it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        local: int = free.getsockname()[1]
    forward = subprocess.Popen(
        [str(CACHE / "tools" / "kubectl"), "port-forward", "-n", RELEASE_NAMESPACE, f"service/{service}", f"{local}:{port}"], stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", local)) == 0:
                    break
            time.sleep(0.2)
        else:
            raise DemoError(f"kubectl port-forward to service/{service} does not answer")
        yield local
    finally:
        forward.terminate()
        forward.wait()


def upload(path: Path, key: str) -> None:
    """Weights into the bucket, as a user would with any S3 client."""
    say(f"upload {path.name} (YOLOv8n weights that somebody else has trained) to s3://models/{key}")
    data = json.loads(kubectl("get", "secret", "-n", RELEASE_NAMESPACE, "s3-credentials", "-o", "json"))["data"]
    keys = {name: base64.b64decode(value).decode() for name, value in data.items()}
    with forwarded("yolo-operator-s3", 8333) as port:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required", response_checksum_validation="when_required"),
        )
        client.put_object(Bucket="models", Key=key, Body=path.read_bytes())


def wait_ready(timeout: float = 600) -> None:
    """Tell what the resource says of itself until it is Ready."""
    last, deadline = "", time.monotonic() + timeout
    while time.monotonic() < deadline:
        conditions = json.loads(kubectl("get", "yolodeployment", "-n", NAMESPACE, NAME, "-o", "json")).get("status", {}).get("conditions", [])
        found = {condition["type"]: condition for condition in conditions}
        ready = found.get("Ready", {})
        line = f"{ready.get('reason', 'waiting for the operator')}: {ready.get('message', '')}"
        if line != last:
            say(f"  {line}")
            last = line
        if ready.get("status") == "True":
            sys.stdout.write(f"\n$ kubectl -n {NAMESPACE} get yolodeployments\n{kubectl('get', 'yolodeployments', '-n', NAMESPACE)}\n")
            return
        if found.get("Stalled", {}).get("status") == "True":
            raise DemoError(f"the YoloDeployment is stalled: {line}")
        time.sleep(1)
    raise DemoError(f"not Ready after {timeout:g} s ({last}): kubectl -n {NAMESPACE} describe yolodeployment {NAME}")


def ask() -> None:
    """The unmodified Ultralytics client, in a Pod beside the model, on a picture."""
    url = json.loads(kubectl("get", "yolodeployment", "-n", NAMESPACE, NAME, "-o", "json"))["status"]["url"]
    kubectl("apply", "-f", "-", text=yaml.safe_dump(CLIENT))
    kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/client", "--timeout=120s")
    kubectl("cp", "-n", NAMESPACE, str(WEIGHTS / "zidane.jpg"), "client:/tmp/zidane.jpg")
    code = f"""
from ultralytics import YOLO
result = YOLO("{url}", task="detect")("/tmp/zidane.jpg", verbose=False)[0]
for box in result.boxes:
    print(f"  {{result.names[int(box.cls)]:10}} {{float(box.conf):.3f}}  {{[round(v) for v in box.xyxy[0].tolist()]}}")
"""
    say(f'YOLO("{url}", task="detect")("zidane.jpg"):')
    answer = kubectl("exec", "-n", NAMESPACE, "client", "--", "python3", "-c", code)
    boxes = [line for line in answer.splitlines() if line.startswith("  ")]
    if not boxes:
        raise DemoError(f"the served model found nothing: {answer[-500:]}")
    sys.stdout.write("\n".join(boxes) + "\n")


if __name__ == "__main__":
    sys.exit(main())
