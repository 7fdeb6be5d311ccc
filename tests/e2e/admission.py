"""A mutating webhook that does what others' clusters do to our objects: `python admission.py CERTIFICATE KEY` answers at /MODE on port 9443.

sidecar    each Pod of a Job gets a container that never ends, as a mesh's classic sidecar
autopilot  each Deployment's requests of CPU become 100m, as GKE Autopilot makes its own of them
openshift  each Pod that names no user gets one of its namespace's range, as from the SCC restricted-v2
policies   each Deployment's pods get a toleration and another time to end, as by the policies of a platform team
"""

import base64
import json
import ssl
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Manifest = dict[str, Any]
PORT = 9443
GRACE_SECONDS = 60
FIRST_UID = 1000680000
TOLERATION = {"key": "platform", "operator": "Exists", "effect": "NoSchedule"}


def sidecar(kind: str, body: Manifest) -> list[Manifest]:
    """Beside a worker, with its image."""
    if kind != "Pod" or not any(owner["kind"] == "Job" for owner in body["metadata"].get("ownerReferences", ())):
        return []
    added = {
        "name": "istio-proxy",
        "image": body["spec"]["containers"][0]["image"],
        "command": ["python3", "-c", "import signal; signal.sigwait([signal.SIGTERM])"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"limits": {"memory": "64Mi"}},
    }
    return [{"op": "add", "path": "/spec/containers/-", "value": added}]


def autopilot(kind: str, body: Manifest) -> list[Manifest]:
    """Requests as it wants them."""
    if kind != "Deployment":
        return []
    containers = body["spec"]["template"]["spec"]["containers"]
    return [
        {"op": "replace", "path": f"/spec/template/spec/containers/{number}/resources/requests/cpu", "value": "100m"}
        for number, container in enumerate(containers)
        if container.get("resources", {}).get("requests", {}).get("cpu") not in (None, "100m")
    ]


def openshift(kind: str, body: Manifest) -> list[Manifest]:
    """User and group of the range."""
    given = body["spec"].get("securityContext", {})
    if kind != "Pod" or "runAsUser" in given:
        return []
    return [{"op": "add", "path": "/spec/securityContext", "value": given | {"runAsUser": FIRST_UID, "fsGroup": FIRST_UID}}]


def policies(kind: str, body: Manifest) -> list[Manifest]:
    """A toleration, and another time to end."""
    if kind != "Deployment":
        return []
    template = body["spec"]["template"]
    found: list[Manifest] = []
    if TOLERATION not in template["spec"].get("tolerations", ()):
        found.append({"op": "add", "path": "/spec/template/spec/tolerations", "value": [*template["spec"].get("tolerations", ()), TOLERATION]})
    if template["spec"]["terminationGracePeriodSeconds"] != GRACE_SECONDS:
        found.append({"op": "replace", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": GRACE_SECONDS})
    return found


MODES: dict[str, Callable[[str, Manifest], list[Manifest]]] = {"sidecar": sidecar, "autopilot": autopilot, "openshift": openshift, "policies": policies}


class Handler(BaseHTTPRequestHandler):
    """One review."""

    def do_POST(self) -> None:
        """Answer it."""
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        patch = MODES[self.path.partition("?")[0].strip("/")](request["kind"]["kind"], request["object"])
        answer: Manifest = {"uid": request["uid"], "allowed": True}
        if patch:
            answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        text = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """The API server asks often."""


def main(certificate: str, key: str) -> None:
    """Answer until it is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:3])
