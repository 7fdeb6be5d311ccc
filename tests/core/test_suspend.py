"""spec.suspend: no pods and no Jobs, and all else kept."""

import gen
from simulation import Simulation, serving
from yolo_operator.core import names

TWO = [gen.version(1, weight=1), gen.version(2, weight=1)]
CANARY = {"strategy": "Canary", "steps": [{"weight": 50, "duration": "10m"}], "analysis": {"enabled": False}}


def test_what_serves_gives_its_pods_up_and_keeps_the_rest():
    cluster = serving(replicas=2)
    before = cluster.body["status"]["versions"][0]
    template = names.canonical(cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"])
    cluster.edit(suspend=True)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0}
    assert cluster.condition("Ready") == ("False", "Suspended")
    assert cluster.condition("Reconciling") == ("False", "Done")
    assert cluster.condition("Stalled") == ("False", "NotStalled")
    after = cluster.body["status"]["versions"][0]
    assert {key: after[key] for key in ("artifact", "verified", "builtRevision")} == {key: before[key] for key in ("artifact", "verified", "builtRevision")}
    assert (after["phase"], after["reason"]) == ("Idle", "Suspended")
    assert cluster.objects["Service"].keys() == {"helmet", "helmet-v1"}
    assert names.canonical(cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]) == template


def test_it_goes_on_without_a_build_or_a_verification():
    cluster = serving(replicas=2)
    cluster.edit(suspend=True)
    cluster.run()
    jobs = cluster.jobs()
    cluster.edit(suspend=False)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 2}
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.jobs() == jobs


def test_while_pods_end_it_is_reconciling():
    cluster = serving(replicas=2)
    cluster.edit(suspend=True)
    cluster.reconcile()
    for pod in cluster.objects["Pod"].values():
        pod["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:01Z"
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "Suspended")
    assert cluster.condition("Reconciling") == ("True", "Suspended")
    assert cluster.body["status"]["display"]["replicas"] == "0/0"


def test_what_is_made_suspended_builds_nothing_until_it_is_let_go():
    cluster = Simulation(suspend=True)
    cluster.run()
    assert cluster.objects["Job"] == {}
    assert cluster.condition("Ready") == ("False", "Suspended")
    assert [each["reason"] for each in cluster.body["status"]["versions"]] == ["Suspended"]
    cluster.edit(suspend=False)
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_build_under_way_is_ended_and_begins_anew():
    cluster = Simulation()
    cluster.reconcile()
    assert len(cluster.objects["Job"]) == 1
    cluster.edit(suspend=True)
    cluster.reconcile()
    assert cluster.objects["Job"] == {}
    cluster.edit(suspend=False)
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")


def test_replicas_of_a_versions_own_are_none_too():
    gateway = {"mode": "Gateway", "gateway": {"parentRefs": [{"name": "public"}], "hostnames": ["helmet.example.com"]}}
    cluster = serving(versions=[TWO[0] | {"replicas": 3}, TWO[1]], traffic=gateway)
    cluster.edit(suspend=True)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0, "helmet-v2": 0}


def test_a_version_that_is_being_replaced_waits_with_the_rest():
    cluster = serving()
    cluster.edit(versions=[gen.version(2)], suspend=True)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0}
    cluster.edit(suspend=False)
    cluster.run()
    assert cluster.replicas() == {"helmet-v2": 1}


def test_a_canary_keeps_its_step_and_no_deadline_ends_it():
    cluster = serving(versions=[gen.version(1)], rollout=CANARY | {"progressDeadline": "5m"}, replicas=2)
    cluster.edit(versions=[gen.version(1), gen.version(2)])
    cluster.run()
    before = cluster.body["status"]["rollout"]
    assert (before["canary"], before["step"], before["weight"]) == (2, 1, 50)
    cluster.edit(suspend=True)
    cluster.run()
    cluster.later(3600)
    cluster.run()
    state = cluster.body["status"]["rollout"]
    assert (state["stable"], state["canary"], state["step"], state["weight"], state["reason"]) == (1, 2, 1, 50, "Suspended")
    assert set(cluster.replicas().values()) == {0}
    cluster.edit(suspend=False)
    cluster.run()
    assert cluster.body["status"]["rollout"]["step"] == 1
    assert all(cluster.replicas().values())


def test_no_revision_is_removed_meanwhile():
    cluster = serving(revisionHistoryLimit=2)
    for rebuild in "ab":
        cluster.edit(versions=[gen.version(rebuild=rebuild)])
        cluster.run()
    cluster.edit(revisionHistoryLimit=0, suspend=True)
    cluster.run()
    assert cluster.jobs("prune") == []
    cluster.edit(suspend=False)
    cluster.run()
    assert len(cluster.plan.status.published) == 1


def test_a_deletion_removes_what_was_published_all_the_same():
    cluster = serving(deletionPolicy="Delete")
    cluster.edit(suspend=True)
    cluster.run()
    cluster.body["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    for _ in range(3):
        cluster.reconcile()
    assert len(cluster.jobs("prune")) == 1
