"""Pods that claim their GPUs by a ResourceClaimTemplate (dynamic resource allocation)."""

from datetime import timedelta

import gen
from simulation import Simulation, serving
from yolo_operator.core import resource_claims

CLAIM = {"resourceClaimTemplateName": "one-gpu"}
LATE = gen.T0 + timedelta(seconds=6)


def pod(**status):
    found = gen.pod(created=gen.T0)
    return found | {"spec": {"resourceClaims": [{"name": "gpu", **CLAIM}]}, "status": status}


def test_a_pod_claims_its_gpus_and_asks_for_no_extended_resource():
    cluster = serving(gpu=CLAIM)
    spec = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]["spec"]
    assert spec["resourceClaims"] == [{"name": "gpu", **CLAIM}]
    resources = spec["containers"][0]["resources"]
    assert resources["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in resources["requests"] | resources["limits"]


def test_without_a_template_nothing_is_claimed():
    spec = serving().objects["Deployment"]["helmet-v1"]["spec"]["template"]["spec"]
    assert "resourceClaims" not in spec
    assert "claims" not in spec["containers"][0]["resources"]


def test_a_claim_that_nobody_makes_is_told_after_five_seconds():
    problem = resource_claims.problem([pod()], LATE)
    assert problem is not None
    assert (problem.reason, "'one-gpu'" in problem.message) == ("ResourceClaimMissing", True)
    assert resource_claims.problem([pod()], gen.T0 + timedelta(seconds=5)) is None
    assert resource_claims.next_check([pod()], gen.T0) == LATE
    assert resource_claims.next_check([pod()], LATE) is None


def test_a_claim_that_is_made_is_waited_for_by_nobody():
    assert resource_claims.problem([pod(resourceClaimStatuses=[{"name": "gpu", "resourceClaimName": "a"}])], LATE) is None
    assert resource_claims.problem([gen.pod()], LATE) is None


def test_the_status_tells_of_it_and_looks_again_by_itself():
    cluster = Simulation(gpu=CLAIM)
    cluster.reconcile()
    cluster.build_succeeds()
    cluster.reconcile()
    cluster.start_pods()
    (made,) = cluster.pods()
    made["status"] = {"phase": "Pending"}
    made["spec"] = {"resourceClaims": [{"name": "gpu", **CLAIM}]}
    cluster.reconcile()
    assert cluster.plan.requeue_at is not None
    cluster.later(60)
    cluster.reconcile()
    assert cluster.condition("Reconciling") == ("True", "ResourceClaimMissing")
