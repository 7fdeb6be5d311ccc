"""What Pods tell: statuses as the kubelet of Kubernetes 1.34 writes them, and the reason and remedy that become of them."""

from typing import Any

import pytest

import gen
from yolo_operator.core import jobs, names, pods, triton_log

DETECT_PULL = 'Back-off pulling image "docker.io/example/export:1": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image'
HARMLESS = "W1125 Unable to allocate pinned system memory, pinned memory pool will not be available: CUDA driver version is insufficient\n"
DRIVER_TOO_OLD = (
    HARMLESS + "E1125 failed to load 'helmet' version 1: Internal: onnx runtime error 6: CUDA driver version is insufficient for CUDA runtime version"
)
NO_GPU = HARMLESS + "Invalid argument: instance group helmet_0 of model helmet has kind KIND_GPU but no GPUs are available\nfailed to load all models"
COMPATIBILITY = "failed to load 'helmet' version 1: Internal: forward compatibility was attempted on non supported HW"
S3_REFUSED = (
    "E1122 03:00:00.0 1 server.cc:241] failed to load model repository: Internal: Unable to create S3 filesystem client. Check account credentials. "
    "Exception: '' Message: 'No response body.'"
)
TLS_REFUSED = (
    "error: creating server: Internal - Unable to create S3 filesystem client. Check account credentials. "
    "Exception: '' Message: 'curlCode: 60, SSL peer certificate or SSH remote key was not OK'"
)


def job_pod(*, init: list[dict[str, Any]] | None = None, main: list[dict[str, Any]] | None = None, **status: Any) -> dict[str, Any]:
    return gen.pod("builder", init=init or [], containers=main or [], **status)


def stopped(name: str, code: int, message: str = "", reason: str = "") -> dict[str, Any]:
    return gen.container_status(name, state=gen.terminated(code, message, reason), ready=code == 0)


def held(name: str, reason: str, message: str) -> dict[str, Any]:
    return gen.container_status(name, state=gen.waiting(reason, message))


JOBS = [
    pytest.param(
        job_pod(init=[held("check", "CreateContainerConfigError", 'secret "s3-credentials" not found')]),
        "SecretNotFound", "spec.storage.secretRef", False, id="a missing Secret",
    ),
    pytest.param(
        job_pod(init=[held("check", "CreateContainerConfigError", "couldn't find key AWS_ACCESS_KEY_ID in Secret factory/s3-credentials")]),
        "SecretKeyMissing", "has no key AWS_ACCESS_KEY_ID", False, id="a missing key of a Secret",
    ),
    pytest.param(
        job_pod(init=[held("check", "CreateContainerConfigError", "container has runAsNonRoot and image will run as root")]),
        "ContainerConfigError", "runAsNonRoot", False, id="another trouble of the configuration",
    ),
    pytest.param(
        job_pod(init=[stopped("check", 0), stopped("fetch", 0), held("export", "ImagePullBackOff", DETECT_PULL)]),
        "ImagePullFailed", "docker.io/example/export:1", False, id="an image that is not there",
    ),
    pytest.param(job_pod(init=[held("check", "ErrImageNeverPull", "")]), "ImagePullFailed", "imagePullSecrets", False, id="an image that is never pulled"),
    pytest.param(job_pod(init=[held("check", "CreateContainerError", "context deadline exceeded")]), "ContainerCannotStart", "check", False, id="a slow runtime"),
    pytest.param(
        job_pod(init=[stopped("export", 137, reason="OOMKilled")]), "OutOfMemory", "spec.build.resources.limits.memory", True, id="export out of memory"
    ),
    pytest.param(
        job_pod(main=[stopped("analyze", 137, reason="OOMKilled")]), "OutOfMemory", "spec.build.resources.limits.memory", False, id="an analysis out of memory"
    ),
    pytest.param(
        job_pod(main=[stopped("publish", 137, reason="OOMKilled")]), "OutOfMemory", "spec.jobs.resources.limits.memory", True, id="publish out of memory"
    ),
    pytest.param(
        job_pod(main=[stopped("verify", 137, reason="OOMKilled")]), "OutOfMemory", "spec.jobs.resources.limits.memory", False, id="a verification out of memory"
    ),
    pytest.param(
        job_pod(phase="Failed", reason="Evicted", message='Usage of EmptyDir volume "work" exceeds the limit "10Gi". '),
        "DiskFull", "spec.build.storageSize", True, id="the scratch volume is full",
    ),
    pytest.param(
        job_pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi."),
        "Evicted", "low on resource", False, id="a node in need",
    ),
    pytest.param(
        job_pod(init=[stopped("fetch", 42, gen.outcome(reason="DigestMismatch", message="spec.versions[0].source.sha256 differs"))]),
        "DigestMismatch", "sha256", True, id="a worker's word with 42 is final",
    ),
    pytest.param(
        job_pod(main=[stopped("publish", 1, gen.outcome(reason="StorageUnreachable", message="connection refused"))]),
        "StorageUnreachable", "connection refused", False, id="a worker's word with 1 is not",
    ),
    pytest.param(job_pod(init=[stopped("export", 139, "Segmentation fault")]), "ExportFailed", "Segmentation fault", True, id="export without a word"),
    pytest.param(job_pod(init=[stopped("fetch", 2, "Traceback …")]), "FetchFailed", "exit code 2", False, id="a worker without a word"),
    pytest.param(
        job_pod(init=[stopped("export", 1, '{"reason": "' + "A" * 1500 + '", "message": "…"}')]), "ExportFailed", "exit code 1", True, id="a reason that is none"
    ),
    pytest.param(job_pod(init=[stopped("export", 1, "[" * 4000)]), "ExportFailed", "exit code 1", True, id="a word that is a trap"),
    pytest.param(
        job_pod(phase="Pending", conditions={}) | {"status": {"conditions": [gen.unschedulable('0/1 nodes are available: persistentvolumeclaim "weights" not found.')]}},
        "PersistentVolumeClaimNotFound", "'weights'", False, id="a missing claim",
    ),
    pytest.param(
        gen.pod() | {"status": {"conditions": [gen.unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 …")]}},
        "InsufficientGPU", "spec.gpu.resourceName", False, id="no GPU",
    ),
    pytest.param(
        gen.pod() | {"status": {"conditions": [gen.unschedulable("0/3 nodes are available: 1 Insufficient nvidia.com/mig-1g.5gb, 2 Insufficient memory.")]}},
        "InsufficientGPU", "nvidia.com/mig-1g.5gb", False, id="no slice of a GPU",
    ),
    pytest.param(
        gen.pod() | {"status": {"conditions": [gen.unschedulable("0/1 nodes are available: 1 cannot allocate all claims. no new claims to deallocate")]}},
        "InsufficientGPU", "spec.gpu.resourceClaimTemplateName", False, id="no GPU for a claim",
    ),
    pytest.param(
        gen.pod() | {"status": {"conditions": [gen.unschedulable("request gpu: device class gpu.example.com does not exist")]}},
        "InsufficientGPU", "device class gpu.example.com", False, id="no such device class",
    ),
    pytest.param(
        gen.pod() | {"status": {"conditions": [gen.unschedulable("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.")]}},
        "Unschedulable", "node affinity", False, id="no such node",
    ),
    pytest.param(
        gen.pod() | {"status": {"conditions": [gen.unschedulable("0/2 nodes are available: 1 node(s) had untolerated taint {dedicated: ml}, 1 Insufficient cpu.")]}},
        "UntoleratedTaint", "dedicated=ml: tolerate it (spec.jobs.tolerations)", False, id="a taint",
    ),
    pytest.param(
        gen.pod() | {"status": {"conditions": [gen.unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint {gpu-only}.")]}},
        "UntoleratedTaint", "the taint gpu-only:", False, id="a taint without a value",
    ),
    pytest.param(
        gen.pod() | {"status": {"conditions": [gen.unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to deallocate")]}},
        "UntoleratedTaint", "kubectl describe nodes", False, id="a taint that Kubernetes 1.34 does not name",
    ),
    pytest.param(
        gen.pod() | {"status": {"conditions": [gen.unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.")]}},
        "Unschedulable", "not-ready", False, id="a node that is not ready",
    ),
    pytest.param(
        gen.pod()
        | {"status": {"conditions": [gen.unschedulable("0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {pool: gpu}.")]}},
        "InsufficientGPU", "Or the GPUs are on nodes with the taint pool=gpu", False, id="a lack of GPUs, or a taint",
    ),
    pytest.param(
        job_pod(main=[stopped("verify", 0), stopped("istio-proxy", 1, "drained")]), "ContainerCrashed", "istio-proxy, which is not", False, id="a sidecar's end"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "reason", "says", "permanent"), JOBS)
def test_a_jobs_pod_in_trouble(pod, reason, says, permanent):
    problem = pods.diagnose(pod, job=True)
    assert problem is not None
    assert (problem.reason, problem.permanent) == (reason, permanent)
    assert says in problem.message


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(gen.pod(), id="fresh"),
        pytest.param(gen.pod() | {"status": {}}, id="without a status"),
        pytest.param(job_pod(init=[held("check", "PodInitializing", "")]), id="starting"),
        pytest.param(job_pod(main=[held("publish", "ContainerCreating", "")]), id="creating"),
        pytest.param(job_pod(init=[stopped("check", 0, gen.outcome(result={}))]), id="getting on"),
        pytest.param(job_pod(conditions={"PodScheduled": "True"}), id="scheduled"),
    ],
)
def test_a_pod_that_gets_on_has_no_problem(pod):
    assert pods.diagnose(pod, job=True) is None
    assert pods.diagnose(pod, job=False) is None


RUNNING = {"running": {"startedAt": "2026-11-22T03:00:00Z"}}


def triton(last: dict[str, Any] | None = None, state: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    waiting = gen.waiting("CrashLoopBackOff", "back-off 20s restarting failed container=triton")
    return gen.pod(containers=[gen.container_status("triton", state=state or waiting, last=last, **more)])


@pytest.mark.parametrize(
    ("pod", "reason", "says"),
    [
        pytest.param(
            triton(gen.terminated(1, S3_REFUSED)), "TritonCrashed", "check spec.storage.endpoint, the bucket and the keys", id="refused by the storage"
        ),
        pytest.param(triton(gen.terminated(1, TLS_REFUSED)), "TritonCrashed", "check spec.storage.caBundleRef", id="a certificate it does not trust"),
        pytest.param(
            gen.pod(init=[stopped(names.MERGE_CA, 1, "cat: can't open '/etc/yolo-operator/ca/ca.crt'")]),
            "CaBundleNotFound",
            "spec.storage.caBundleRef",
            id="no CA",
        ),
        pytest.param(
            gen.pod(init=[stopped(names.LOAD, 1, gen.outcome(reason="StorageAccessDenied", message="check the keys"))]),
            "StorageAccessDenied",
            "check the keys",
            id="not loaded, and it says why",
        ),
        pytest.param(gen.pod(init=[stopped(names.LOAD, 2, "no such option")]), "LoadFailed", "exit code 2: no such option", id="not loaded"),
        pytest.param(
            gen.pod(init=[gen.container_status(names.LOAD, state=gen.waiting("CrashLoopBackOff"), last=gen.terminated(137, reason="OOMKilled"))]),
            "OutOfMemory",
            "spec.jobs.resources.limits.memory",
            id="not loaded for lack of memory",
        ),
        pytest.param(triton(gen.terminated(1, DRIVER_TOO_OLD)), "TritonCrashed", "older than the image's CUDA needs", id="an old driver"),
        pytest.param(triton(gen.terminated(1, NO_GPU)), "TritonCrashed", "spec.runtimeClassName is missing", id="no GPU in the container"),
        pytest.param(triton(gen.terminated(1, COMPATIBILITY)), "TritonCrashed", "forwardCompatibility to false", id="a GPU without forward compatibility"),
        pytest.param(triton(gen.terminated(1, "Couldn't connect to server")), "TritonCrashed", "spec.storage.endpoint cannot be reached", id="no storage"),
        pytest.param(
            triton(gen.terminated(1, "error: creating server: Internal - failed to load all models")), "TritonCrashed", "kubectl logs --previous", id="no model"
        ),
        pytest.param(triton(gen.terminated(137, reason="OOMKilled")), "OutOfMemory", "spec.triton.resources.limits.memory", id="out of memory"),
        pytest.param(
            gen.pod(containers=[gen.container_status("side", state=gen.waiting("CrashLoopBackOff"), last=gen.terminated(3, "no disk"))]),
            "ContainerCrashed",
            "Container side, which is not the operator's (spec.triton.podTemplate, or injected), ended with exit code 3: no disk",
            id="a sidecar",
        ),
        pytest.param(
            gen.pod(containers=[gen.container_status("side", state=gen.waiting("CrashLoopBackOff"), last=gen.terminated(137, reason="OOMKilled"))]),
            "ContainerCrashed",
            "killed for lack of memory",
            id="a sidecar out of memory",
        ),
        pytest.param(triton(gen.terminated(1, "what a day")), "TritonCrashed", "what a day", id="its last words"),
        pytest.param(triton(state=gen.terminated(1, "first time")), "TritonCrashed", "first time", id="the first crash"),
        pytest.param(triton(gen.terminated(1, "again"), state=RUNNING), "TritonCrashed", "again", id="trying again"),
        pytest.param(triton(state=gen.waiting("ImagePullBackOff", "…")), "ImagePullFailed", "triton", id="no image"),
        pytest.param(
            triton(state=gen.waiting("CreateContainerConfigError", 'secret "s3-readonly" not found')), "SecretNotFound", "'s3-readonly'", id="no Secret"
        ),
        pytest.param(
            gen.silent(gen.pod(conditions={"ContainersReady": "True"})),
            "NodeNotReady",
            "Node 'gpu-7' has stopped reporting",
            id="a silent node",
        ),
        pytest.param(
            gen.moved(gen.pod(conditions={"ContainersReady": "True", "Ready": "True"})),
            "NodeNotReady",
            "Pod helmet-v1-abc is taken off node 'gpu-7'",
            id="taken off a silent node",
        ),
    ],
)
def test_a_triton_pod_in_trouble(pod, reason, says):
    problem = pods.diagnose(pod, job=False)
    assert problem is not None
    assert problem.reason == reason
    assert says in problem.message


def test_a_pod_at_its_gate_has_no_problem():
    at_gate = gen.pod(conditions={"ContainersReady": "True", "Ready": "False"})
    assert pods.diagnose(at_gate, job=False) is None


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(triton(gen.terminated(1, "long ago"), state=RUNNING, started=True), id="it runs again"),
        pytest.param(triton(gen.terminated(1, "long ago"), state=RUNNING, ready=True, started=True), id="it is ready again"),
    ],
)
def test_a_crash_that_is_over_is_over(pod):
    assert pods.diagnose(pod, job=False) is None


def test_the_youngest_pods_problem_counts():
    old = gen.pod("old", containers=[stopped("publish", 1, "first")])
    young = gen.pod("young", created=gen.T0.replace(hour=4), containers=[stopped("publish", 1, "second")])
    problem = pods.latest_problem([young, old], job=True)
    assert problem is not None
    assert "second" in problem.message


def test_a_pod_on_a_silent_node_does_not_answer_whatever_it_said_last():
    pod = gen.pod(conditions={"ContainersReady": "True", "Ready": "True"})
    assert pods.answers(pod)
    assert not pods.answers(gen.silent(pod))


def test_a_jobs_pod_on_a_silent_node_is_told():
    problem = pods.diagnose(gen.moved(job_pod(init=[held("export", "ImagePullBackOff", "what its node said last")])), job=True)
    assert problem is not None
    assert problem.reason == "NodeNotReady"


@pytest.mark.parametrize(
    ("conditions", "more", "answers", "ready"),
    [
        pytest.param({"ContainersReady": "True", "Ready": "True"}, {}, True, True, id="ready"),
        pytest.param({"ContainersReady": "True", "Ready": "False"}, {}, True, False, id="behind its gate"),
        pytest.param({"ContainersReady": "False"}, {}, False, False, id="loading"),
        pytest.param({"ContainersReady": "True", "Ready": "True"}, {"podIP": ""}, False, True, id="without an address"),
        pytest.param({"ContainersReady": "True", "Ready": "True"}, {"phase": "Failed"}, False, False, id="ended"),
    ],
)
def test_who_answers_and_who_is_ready(conditions, more, answers, ready):
    pod = gen.pod(conditions=conditions, **more)
    assert (pods.answers(pod), pods.is_ready(pod)) == (answers, ready)


def test_a_job_does_not_read_another_jobs_pods():
    live = gen.job("mine", ended="Complete")
    done = [gen.container_status("publish", state=gen.terminated(0, gen.outcome(result={"uri": "x"})))]
    same_name = gen.pod("earlier", labels={names.JOB_NAME: "mine"}, owner="an earlier Job of that name", phase="Succeeded", containers=done)
    assert jobs.read(live, [same_name], ("publish",), gen.T0 + jobs.ANSWER_GRACE) == jobs.Succeeded({})
    own = gen.pod("own", labels={names.JOB_NAME: "mine"}, owner=live["metadata"]["uid"], phase="Succeeded", containers=done)
    assert jobs.read(live, [same_name, own], ("publish",), gen.T0 + jobs.ANSWER_GRACE) == jobs.Succeeded({"uri": "x"})


def test_a_job_that_has_just_ended_is_waited_for_until_its_pod_is_seen():
    live = gen.job(ended="Complete")
    assert jobs.read(live, [], ("publish",), gen.T0) == jobs.Running()
    assert jobs.read(live, [], ("publish",), gen.T0 + jobs.ANSWER_GRACE) == jobs.Succeeded({})


def test_a_failed_job_without_pods_says_what_the_job_says():
    state = jobs.read(gen.job(ended="Failed"), [], ("publish",), gen.T0)
    assert isinstance(state, jobs.Failed)
    assert "BackoffLimitExceeded" in state.problem.message


SIDECAR = gen.container_status("istio-proxy", state={"running": {}})


def with_sidecar(*ours: dict[str, Any], **status: Any) -> jobs.State:
    """What is read of a Job whose Pod has a sidecar."""
    live = gen.job("mine")
    own = gen.pod("own", labels={names.JOB_NAME: "mine"}, owner=live["metadata"]["uid"], containers=[*ours, SIDECAR], **status)
    return jobs.read(live, [own], ("verify",), gen.T0)


def test_a_job_ends_with_its_own_container_whatever_runs_beside_it():
    assert with_sidecar(gen.container_status("verify", state={"running": {}})) == jobs.Running()
    assert with_sidecar(stopped("verify", 0, gen.outcome(result={"uri": "x"}))) == jobs.Succeeded({"uri": "x"})
    failed = with_sidecar(stopped("verify", 1, gen.outcome(reason="StorageUnreachable", message="refused")))
    assert isinstance(failed, jobs.Failed)
    assert (failed.problem.reason, failed.problem.permanent) == ("StorageUnreachable", False)
    wrong = with_sidecar(stopped("verify", 42, gen.outcome(reason="WrongAnswers", message="boxes")))
    assert isinstance(wrong, jobs.Failed)
    assert wrong.problem.permanent


def test_a_sidecar_that_failed_when_it_was_ended_takes_no_result_away():
    live = gen.job("mine", ended="Complete")
    ours = stopped("verify", 0, gen.outcome(result={"uri": "x"}))
    own = gen.pod("own", labels={names.JOB_NAME: "mine"}, owner=live["metadata"]["uid"], phase="Failed", containers=[ours, stopped("istio-proxy", 143)])
    assert jobs.read(live, [own], ("verify",), gen.T0) == jobs.Succeeded({"uri": "x"})


def test_a_driver_that_no_model_fails_for_is_no_cause():
    assert "driver" not in triton_log.hint(HARMLESS + "Unable to create S3 filesystem client")
