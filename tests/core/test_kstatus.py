"""What Flux, kpt and others make of the status: their library, sigs.k8s.io/cli-utils' kstatus, asked of every status that the search comes by."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

import gen
from e2e.cluster import CACHE
from search import Search, searched
from simulation import Simulation, serving
from yolo_operator.core.names import Manifest


def absent(plural: str) -> Manifest:
    """What the API server shows where there is no status: not yet, or not any more."""
    crd = yaml.safe_load((Path(__file__).parents[2] / "crds" / f"{plural}.yaml").read_text(encoding="utf-8"))
    found: Manifest = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
    return found


ABSENT = absent("yolodeployments")
STEPS = 2_000


def asked(*bodies: Manifest) -> list[str]:
    """The library's word for each object."""
    done = subprocess.run([CACHE / "tools" / "kstatus"], input="\n".join(map(json.dumps, bodies)), capture_output=True, text=True, check=True)
    return done.stdout.split()


def meant(body: Manifest) -> str:
    """What the operator means, by its own words."""
    status = body.get("status", {})
    found = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    if "deletionTimestamp" in body["metadata"]:
        return "Terminating"
    if status.get("observedGeneration") != body["metadata"]["generation"]:
        return "InProgress"
    return "Failed" if found["Stalled"] == "True" else "Current" if found["Ready"] == "True" else "InProgress"


class Recorded(Search):
    """Keeps what each pass leaves in the status."""

    bodies: ClassVar[dict[str, Manifest]] = {}

    def one_pass(self, **how: Any) -> Any:
        seen = super().one_pass(**how)
        body = self.cluster.body
        shown = body.get("status") or ABSENT
        status = {key: shown[key] for key in ("observedGeneration", "conditions") if key in shown}
        kept = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": body["metadata"], "status": status}
        alike = {condition["type"]: (condition["status"], condition["reason"]) for condition in status.get("conditions", ())}
        self.bodies.setdefault(json.dumps([alike, status.get("observedGeneration") == body["metadata"]["generation"]]), json.loads(json.dumps(kept)))
        return seen


@pytest.mark.timeout(600)
def test_every_status_means_to_others_what_it_means_to_us() -> None:
    searched(Recorded, STEPS)
    bodies = list(Recorded.bodies.values())
    found = asked(*bodies)
    wrong = [(said, meant(body), body["status"]["conditions"]) for said, body in zip(found, bodies, strict=True) if said != meant(body)]
    assert wrong == []
    assert Counter(found).keys() >= {"Current", "InProgress", "Failed"}


def test_what_is_not_seen_yet_or_is_on_its_way_out():
    fresh, cluster = Simulation(), serving(deletionPolicy="Delete")
    fresh.body["status"] = ABSENT
    edited = json.loads(json.dumps(cluster.body)) | {"metadata": cluster.body["metadata"] | {"generation": 99}}
    cluster.body["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    cluster.reconcile()
    # What has no status at all would be Current.
    assert asked(fresh.body, edited, cluster.body) == ["InProgress", "InProgress", "Terminating"]


def test_a_suspended_resource_is_not_done():
    cluster = serving()
    cluster.edit(suspend=True)
    cluster.run()
    assert asked(cluster.body) == ["InProgress"]


def test_a_server_that_nobody_has_seen_is_not_taken_for_done():
    fresh = gen.written_server() | {"status": absent("yoloservers")}
    fresh["metadata"] = fresh["metadata"] | {"generation": 1}

    def shown(ready: bool, reason: str, **metadata: str) -> Manifest:
        conditions = [
            {"type": kind, "status": str(value), "reason": reason} for kind, value in (("Ready", ready), ("Reconciling", not ready), ("Stalled", False))
        ]
        return fresh | {"metadata": fresh["metadata"] | metadata, "status": {"observedGeneration": 1, "conditions": conditions}}

    in_use = shown(ready=False, reason="InUse", deletionTimestamp="2026-11-23T00:00:00Z")
    assert asked(fresh, shown(ready=True, reason="Serving"), shown(ready=False, reason="Starting"), in_use) == [
        "InProgress",
        "Current",
        "InProgress",
        "Terminating",
    ]
