"""What `helm test` runs in the operator's image: is the operator there, does one replica lead, is the resource served?"""
# ruff: noqa: D103, S101, S310, T201  a script whose output is read by people; its URLs come from the chart

import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RESOURCES = "yolodeployments"
DEADLINE_SECONDS = 60


def answer_of(url: str, context: ssl.SSLContext | None = None, token: str = "") -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=5, context=context) as response:
        return response.read().decode()


def kubernetes(path: str) -> dict:
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    address = f"[{host}]" if ":" in host else host
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    url = f"https://{address}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}"
    return json.loads(answer_of(url, context, (ACCOUNT / "token").read_text().strip()))


def operator_is_healthy() -> str:
    return answer_of(f"{os.environ['OPERATOR_URL']}/healthz").strip()


def metrics_are_served() -> str:
    names = sorted({line.split()[2] for line in answer_of(f"{os.environ['OPERATOR_URL']}/metrics").splitlines() if line.startswith("# TYPE yolo_operator_")})
    assert "yolo_operator_resources" in names, f"only {names}"
    return f"{len(names)} of yolo_operator_*"


def one_replica_leads() -> str:
    holder = kubernetes(os.environ["LEASE"])["spec"].get("holderIdentity")
    assert holder, "nobody holds the Lease"
    return holder


def resource_is_served() -> str:
    namespaces = list(filter(None, os.environ["NAMESPACES"].split(",")))
    paths = [f"/apis/yolo-operator.io/v1alpha1/{f'namespaces/{name}/' if name else ''}{RESOURCES}?limit=1" for name in namespaces or [""]]
    kinds = [kubernetes(path)["kind"] for path in paths]
    return f"{kinds[0]} in {', '.join(namespaces) or 'the whole cluster'}"


def main() -> int:
    deadline = time.monotonic() + DEADLINE_SECONDS
    for check in (operator_is_healthy, metrics_are_served, one_replica_leads, resource_is_served):
        while True:
            try:
                print(f"{check.__name__.replace('_', ' ')}: {check()}", flush=True)
                break
            except (OSError, ValueError, KeyError, AssertionError) as error:
                if time.monotonic() > deadline:
                    print(f"{check.__name__.replace('_', ' ')}: NO: {error}", flush=True)
                    return 1
                time.sleep(2)
    return 0


sys.exit(main())
