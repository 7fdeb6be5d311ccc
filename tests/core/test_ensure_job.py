"""One Job, from wanted to its result: every state it can be found in, against every record of a failure."""

from datetime import timedelta
from typing import Any

import pytest

import gen
from simulation import Simulation, serving, started
from yolo_operator.core import api, clock, jobs, names
from yolo_operator.core.context import Context, Plan
from yolo_operator.core.contract import Verification
from yolo_operator.core.ensure_job import Ensured, ensure, told
from yolo_operator.core.pods import Problem
from yolo_operator.core.progress import Progress

NAME = "helmet-v1-verify-0"
WANTED = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": NAME}}
DONE = gen.outcome(result=gen.verification())
TRANSIENT, TERMINAL = ("StorageUnreachable", 1), ("WrongAnswers", 42)


def found_job(state: str) -> list[gen.Manifest]:
    """A Job and its Pods as they may be found, the Job first; nothing where it is absent."""
    reason, code = TERMINAL if "terminal" in state else TRANSIENT
    failed = gen.container_status("verify", state=gen.terminated(code, gen.outcome(reason=reason, message="…")))
    pods: dict[str, tuple[str, list[gen.Manifest]]] = {
        "succeeded": ("Succeeded", [gen.container_status("verify", state=gen.terminated(0, DONE))]),
        "succeeded, of another release": ("Succeeded", [gen.container_status("verify", state=gen.terminated(0, gen.outcome(result={"iou": 1})))]),
        "failed": ("Failed", [failed]),
        "failed, terminal": ("Failed", [failed]),
        "runs, a Pod failed, terminal": ("Failed", [failed]),
        "runs, a Pod cannot start": ("Pending", [gen.container_status("verify", state=gen.waiting("CreateContainerConfigError", 'secret "s3" not found'))]),
    }
    if state == "absent":
        return []
    ended = "Complete" if state.startswith("succeeded") else "Failed" if state.startswith("failed") else ""
    live = gen.job(NAME, ended=ended)
    if state == "is ending":
        live["metadata"]["deletionTimestamp"] = clock.text(gen.T0)
    if state not in pods:
        return [live]
    phase, containers = pods[state]
    return [live, gen.pod("asks", labels={names.JOB_NAME: NAME}, owner=live["metadata"]["uid"], phase=phase, containers=containers)]


FAILURES = {
    "nothing": None,
    "paused": gen.failure(key=NAME, job="an earlier one", reason="StorageUnreachable"),
    "due": gen.failure(key=NAME, job="an earlier one", time=clock.text(gen.T0 - timedelta(seconds=60)), reason="StorageUnreachable"),
    "terminal": gen.failure(key=NAME, job="an earlier one", permanent=True, reason="WrongAnswers"),
    "of another key": gen.failure(key="another", permanent=True, reason="WrongAnswers"),
}


class Pass:
    """What one call comes to."""

    def __init__(self, state: str, recorded: str = "nothing", *, result: Any = Verification, after: float = 60, **more: Any) -> None:
        live, *pods = found_job(state) or [None]
        cluster = Simulation()
        cluster.objects["Job"] = {} if live is None else {NAME: live}
        cluster.objects["Pod"] = {pod["metadata"]["name"]: pod for pod in pods}
        self.plan = Plan(status=api.Status())
        now = gen.T0 + timedelta(seconds=after if state.startswith("succeeded") else 0)
        context = Context(yolo=cluster.yolo, observed=cluster.observed(), defaults=cluster.defaults, now=now, result=self.plan)
        self.found: Ensured[Verification] = ensure(context, WANTED, FAILURES[recorded], answering=("verify",), result=result, **more)
        self.progress = told(Progress(version=cluster.yolo.spec.versions[0], status=api.VersionStatus(version=1)), self.found)

    def seen(self) -> tuple[str, ...]:
        """What is done, whether the Job is waited for, and what is reported."""
        assert self.found.problem is None or self.found.problem == self.progress.problem
        done = "create" if self.plan.create else "delete" if self.plan.delete else "-"
        return done, "waits" if NAME in self.plan.jobs else "-", self.progress.problem.reason if self.progress.problem else "-"


@pytest.mark.parametrize(
    ("state", "recorded", "seen"),
    [
        pytest.param("absent", "nothing", ("create", "waits", "-"), id="a Job that is wanted is created"),
        pytest.param("absent", "of another key", ("create", "waits", "-"), id="a failure of another Job forbids nothing"),
        pytest.param("absent", "paused", ("-", "-", "StorageUnreachable"), id="a failed one that is gone is not created before its pause is over"),
        pytest.param("absent", "due", ("create", "waits", "StorageUnreachable"), id="after the pause it is created again"),
        pytest.param("absent", "terminal", ("-", "-", "WrongAnswers"), id="after a terminal failure it never is"),
        pytest.param("runs", "nothing", ("-", "waits", "-"), id="one that runs is waited for"),
        pytest.param("runs", "due", ("-", "waits", "-"), id="and so is the next attempt"),
        pytest.param("runs", "terminal", ("-", "-", "WrongAnswers"), id="nobody waits for one that has failed for good already"),
        pytest.param("runs", "of another key", ("-", "waits", "-"), id="the terminal failure of another Job ends none"),
        pytest.param("runs, a Pod cannot start", "nothing", ("-", "waits", "SecretNotFound"), id="what its Pod lacks is reported"),
        pytest.param("runs, a Pod failed, terminal", "nothing", ("-", "-", "WrongAnswers"), id="its remaining attempts would only repeat a terminal failure"),
        pytest.param("is ending", "nothing", ("-", "waits", "-"), id="one that is being deleted is waited for: another of its name cannot be created"),
        pytest.param("is ending", "terminal", ("-", "-", "WrongAnswers"), id="the failure is reported while the failed one is being deleted"),
        pytest.param("failed", "nothing", ("-", "-", "StorageUnreachable"), id="a failed one stays for its pause, and its log with it"),
        pytest.param("failed, terminal", "nothing", ("-", "-", "WrongAnswers"), id="after a terminal failure it stays for its time to live"),
        pytest.param("succeeded", "nothing", ("-", "-", "-"), id="one that succeeded stays for its time to live"),
        pytest.param("succeeded", "due", ("-", "-", "-"), id="and what failed before is forgotten"),
        pytest.param("succeeded, result lost", "nothing", ("delete", "-", "-"), id="one whose result is lost makes way for another"),
        pytest.param("succeeded, of another release", "nothing", ("-", "-", "JobFailed"), id="one whose result cannot be read has failed"),
    ],
)
def test_what_becomes_of_a_job(state, recorded, seen):
    assert Pass(state, recorded).seen() == seen


@pytest.mark.parametrize("state", ["absent", "runs", "is ending", "runs, a Pod cannot start", "succeeded, result lost"])
@pytest.mark.parametrize("recorded", FAILURES)
def test_what_is_recorded_stays_until_another_attempt_has_ended(state, recorded):
    assert Pass(state, recorded).found.failure == FAILURES[recorded]


@pytest.mark.parametrize("recorded", FAILURES)
def test_success_forgets_every_failure(recorded):
    ended = Pass("succeeded", recorded).found
    assert (ended.succeeded, ended.failure, ended.problem) == (True, None, None)
    assert ended.result == Verification.model_validate(gen.verification())


def test_attempts_are_counted_under_one_key_alone():
    assert Pass("failed", "due").found.failure.attempts == 2
    assert Pass("failed", "of another key").found.failure.attempts == 1
    assert Pass("failed", "of another key", key="another").found.failure.attempts == 2, "the key need not be the Job's name"


def test_a_job_is_counted_once_and_deleted_when_its_pause_is_over():
    live, pod = found_job("failed")
    cluster = Simulation()
    cluster.objects["Job"][NAME], cluster.objects["Pod"]["asks"] = live, pod
    failure = None
    for seconds, deleted in ((0, []), (59, []), (60, [live]), (61, [live])):
        context = Context(
            yolo=cluster.yolo,
            observed=cluster.observed(),
            defaults=cluster.defaults,
            now=gen.T0 + timedelta(seconds=seconds),
            result=Plan(status=api.Status()),
        )
        failure = ensure(context, WANTED, failure, answering=("verify",), result=Verification).failure
        assert failure is not None
        assert (failure.attempts, context.result.delete) == (1, deleted)
        assert context.result.requeue_at == (None if deleted else gen.T0 + timedelta(seconds=60))


def test_a_job_that_may_not_begin_yet_is_not_created_and_one_that_runs_is_left_alone():
    assert Pass("absent", may_begin=False).seen() == ("-", "-", "-")
    assert Pass("runs", may_begin=False).seen() == ("-", "waits", "-")


def test_where_no_result_is_wanted_success_is_enough():
    assert Pass("succeeded, result lost", result=None).found.succeeded
    assert Pass("succeeded, of another release", result=None).found.succeeded


def test_a_result_that_is_on_its_way_is_waited_for():
    soon = Pass("succeeded, result lost", after=jobs.ANSWER_GRACE.total_seconds() - 1)
    assert soon.seen() == ("-", "waits", "-")


# The callers' own.


def another_template(cluster: Simulation) -> None:
    """A second pod template whose pod waits for its verification, beside the first one's."""
    cluster.edit(restartedAt="now")
    cluster.reconcile()
    cluster.start_pods()
    cluster.reconcile()


def end_verify(cluster: Simulation, template: str, message: str, *, code: int = 0) -> None:
    """End the verify Job of one pod template."""
    others = {
        name: cluster.objects["Job"].pop(name) for name in cluster.jobs() if names.label(cluster.objects["Job"][name], names.POD_TEMPLATE_HASH) != template
    }
    cluster.end_job("verify", message, code=code)
    cluster.objects["Job"] |= others


def two_templates() -> tuple[Simulation, str, str]:
    """A Simulation with a pod of an old and one of the wanted template, neither verified; the hashes of both."""
    cluster = started()
    (old,) = cluster.pods()
    another_template(cluster)
    old_hash, new_hash = (names.label(pod, names.POD_TEMPLATE_HASH) for pod in cluster.pods())
    assert old_hash == names.label(old, names.POD_TEMPLATE_HASH)
    assert len(cluster.jobs("verify")) == 2
    return cluster, old_hash, new_hash


def test_of_two_templates_that_cannot_be_asked_the_wanted_ones_failure_is_recorded_and_its_pause_ends():
    cluster, old, new = two_templates()
    for template in (old, new):
        end_verify(cluster, template, gen.outcome(reason="StorageUnreachable"), code=1)
    seen = set()
    for _ in range(3):
        cluster.reconcile()
        failure = cluster.plan.status.versions[0].verify_failure
        assert failure is not None
        seen.add((new in failure.key, failure.time, failure.attempts))
        cluster.later(10)
    assert seen == {(True, clock.text(cluster.now - timedelta(seconds=30)), 1)}
    cluster.later(30)
    cluster.reconcile()
    cluster.reconcile()
    running = [live for name in cluster.jobs("verify") if not (live := cluster.objects["Job"][name]).get("status")]
    assert [names.label(live, names.POD_TEMPLATE_HASH) for live in running] == [new]


def test_a_template_that_is_being_replaced_is_asked_again_after_its_pause_and_says_nothing():
    cluster, old, _ = two_templates()
    end_verify(cluster, old, gen.outcome(reason="StorageUnreachable"), code=1)
    cluster.reconcile()
    assert cluster.condition("Reconciling") == ("True", "Verifying")
    cluster.later(60)
    cluster.reconcile()
    cluster.reconcile()
    assert [not cluster.objects["Job"][name].get("status") for name in cluster.jobs("verify")] == [True, True]


def test_right_answers_of_a_template_that_is_being_replaced_do_not_hide_the_wrong_ones_of_the_wanted_one():
    cluster, old, new = two_templates()
    end_verify(cluster, new, gen.outcome(reason="WrongAnswers", message="a box is off"), code=42)
    cluster.reconcile()
    for name in cluster.jobs("verify"):  # its time to live is over
        if names.label(cluster.objects["Job"][name], names.POD_TEMPLATE_HASH) == new:
            cluster.delete(cluster.objects["Job"][name])
    end_verify(cluster, old, DONE)
    cluster.reconcile()
    failure = cluster.plan.status.versions[0].verify_failure
    assert failure is not None
    assert failure.reason == "WrongAnswers"
    assert not any(names.label(made, names.POD_TEMPLATE_HASH) == new for made in cluster.plan.create)


def analysed() -> Simulation:
    """A canary that has its share and whose analysis Job runs."""
    steps = [{"weight": 50, "duration": "10m"}]
    cluster = serving(replicas=2, versions=[gen.version(1)], rollout={"strategy": "Canary", "steps": steps, "analysis": {"enabled": True}})
    cluster.edit(versions=[gen.version(1), gen.version(2)])
    cluster.run()
    assert cluster.condition("Ready") == ("False", "AnalysisRunning")
    assert len(cluster.jobs("analysis")) == 1
    return cluster


@pytest.mark.parametrize(("code", "again"), [pytest.param(1, True, id="transient"), pytest.param(42, False, id="terminal")])
def test_an_analysis_that_gives_no_verdict_says_why_in_ready_and_degrades_no_canary(code, again):
    cluster = analysed()
    failed = cluster.end_job("analysis", gen.outcome(reason="PicturesMissing", message="no picture"), code=code, container="pictures")
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "PicturesMissing")
    assert cluster.plan.status.rollout.phase == "Progressing"
    cluster.delete(failed)
    cluster.reconcile()
    assert cluster.jobs("analysis") == []
    assert cluster.condition("Ready") == ("False", "PicturesMissing"), "nor when its Job is gone"
    cluster.later(60)
    cluster.reconcile()
    assert bool(cluster.jobs("analysis")) is again
    assert cluster.plan.status.rollout.weight == 50
    cluster.edit(rollout={"analysis": {"minRequests": 7}})
    cluster.reconcile()
    assert cluster.jobs("analysis"), "other limits ask anew"


def test_what_the_pods_of_an_analysis_lack_is_said_in_ready():
    cluster = analysed()
    live = cluster.only_job("analysis")
    lacking = gen.container_status("pictures", state=gen.waiting("CreateContainerConfigError", 'secret "pictures" not found'))
    labels = {names.JOB_NAME: live["metadata"]["name"]}
    cluster.objects["Pod"]["analyses"] = gen.pod("analyses", labels=labels, owner=live["metadata"]["uid"], phase="Pending", init=[lacking])
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "SecretNotFound")


def test_a_build_that_waits_for_a_removal_says_so():
    cluster = Simulation()
    cluster.create(gen.merged(gen.job("old-prune", labels={names.COMPONENT: names.PRUNE}), {"status": None, "spec": {"template": {"metadata": {}}}}))
    cluster.objects["Job"]["old-prune"]["metadata"]["deletionTimestamp"] = clock.text(gen.T0)
    cluster.reconcile()
    assert cluster.jobs("build") == []
    assert cluster.condition("Reconciling") == ("True", "WaitingForPrune")


def test_a_version_keeps_its_problem_beside_that_of_a_job():
    progress = Progress(version=gen.yolo().spec.versions[0], status=api.VersionStatus(version=1), problem=Problem("First", "…"))
    cluster = Simulation()
    live, pod = found_job("runs, a Pod cannot start")
    cluster.objects["Job"][NAME], cluster.objects["Pod"]["asks"] = live, pod
    context = Context(yolo=cluster.yolo, observed=cluster.observed(), defaults=cluster.defaults, now=gen.T0, result=Plan(status=api.Status()))
    found = ensure(context, WANTED, None, answering=("verify",), result=Verification)
    assert found.problem is not None
    assert told(progress, found).problem == Problem("First", "…")
