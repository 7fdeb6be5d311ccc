"""The manifests, whole: as goldens to read, and the promises in them that a reader could miss."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import gen
import manifests
from yolo_operator import cli
from yolo_operator.commands import worker
from yolo_operator.core import api, contract, names, revision
from yolo_operator.core.defaults import JobPlacement, storage_of
from yolo_operator.core.resources import analysis, job, repository, triton
from yolo_operator.core.triton import releases
from yolo_operator.core.triton.options import QueuePolicy
from yolo_operator.core.triton.picture_models import PictureOptions

JOBS = [manifests.build_job, manifests.build_job_full, manifests.verify_job, manifests.prune_job, manifests.analysis_job]


@pytest.mark.parametrize("name", manifests.GOLDENS)
def test_golden(name, golden):
    golden.check_yaml(name, manifests.GOLDENS[name]())


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest["spec"]["template"]["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def names_of_env(container: dict[str, Any]) -> set[str]:
    return {entry["name"] for entry in container.get("env", ())}


def test_the_export_container_has_no_credential_and_no_say():
    (export,) = [container for container in containers(manifests.build_job()) if container["name"] == "export"]
    assert export["env"] == []
    assert [(mount["mountPath"], mount.get("readOnly", False)) for mount in export["volumeMounts"]] == [
        ("/work/check", True),
        ("/work/source", True),
        ("/work/export", False),
        ("/tmp", False),
    ]
    template = manifests.build_job()["spec"]["template"]
    assert template["spec"]["automountServiceAccountToken"] is False
    assert template["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"] == "export"


def test_the_containers_of_a_build_run_in_order():
    assert [container["name"] for container in containers(manifests.build_job())] == ["check", "fetch", "export", "publish"]
    assert [container["name"] for container in containers(manifests.build_job_calibrated())] == ["check", "fetch", "pictures", "export", "publish"]


def test_a_calibration_shows_its_pictures_to_a_container_without_credentials():
    _, _, pictures, export, _ = containers(manifests.build_job_calibrated())
    assert export["env"] == []
    assert ("/work/pictures", True) in [(mount["mountPath"], mount.get("readOnly", False)) for mount in export["volumeMounts"]]
    assert [(mount["mountPath"], mount.get("readOnly", False)) for mount in pictures["volumeMounts"] if mount["mountPath"].startswith("/work")] == [
        ("/work/check", True),
        ("/work/pictures", False),
    ]


@pytest.mark.parametrize(
    ("calibration", "secret"),
    [
        pytest.param({}, "s3-pictures", id="its own"),
        pytest.param({"secretRef": None, "endpoint": None}, "s3-readonly", id="the storage's read-only ones on the storage's server"),
        pytest.param({"secretRef": None}, None, id="not the storage's on another server"),
    ],
)
def test_whose_keys_read_the_pictures_of_a_calibration(calibration, secret):
    (pictures,) = [each for each in containers(manifests.build_job_calibrated(**calibration)) if each["name"] == "pictures"]
    names_of_secrets = {entry["valueFrom"]["secretKeyRef"]["name"] for entry in pictures["env"]}
    assert names_of_secrets == ({secret} if secret else set())


def test_the_command_line_understands_what_the_calibrating_job_says():
    parsed = {each["name"]: cli.parser().parse_args(each["args"]) for each in containers(manifests.build_job_calibrated(minAgreement=0.8))}
    pictures, export = parsed["pictures"], parsed["export"]
    assert (pictures.purpose, pictures.pictures, pictures.endpoint, pictures.region) == (
        "calibration",
        "s3://pictures/helmets",
        "http://minio.media.svc:9000",
        "eu-west-1",
    )
    assert (export.calibrate, export.min_agreement) == (True, 0.8)
    assert cli.parser().parse_args(containers(manifests.build_job())[2]["args"]).calibrate is False


def test_the_command_line_understands_how_pictures_are_taken():
    parsed = cli.parser().parse_args(containers(manifests.build_job(**gen.merged(manifests.CPU, manifests.PICTURES)))[-1]["args"])
    wanted = PictureOptions(max_bytes=8 << 20, max_pixels=50_000_000, confidence=0.4, iou=0.7, max_detections=300, instances=3)
    assert worker.picture_options(parsed) == wanted
    assert worker.picture_options(cli.parser().parse_args(containers(manifests.build_job())[-1]["args"])) is None


@pytest.mark.parametrize(
    ("spec", "instances"),
    [
        pytest.param({}, 2, id="no limit"),
        pytest.param({"triton": {"resources": {"limits": {"cpu": "1500m"}}}}, 1, id="a CPU and a half"),
        pytest.param({"triton": {"resources": {"limits": {"cpu": "64"}}}}, 8, id="many"),
        pytest.param({"triton": {"resources": {"limits": {"cpu": "64"}}}, "pictures": {"instances": 20}}, 20, id="as the spec says"),
    ],
)
def test_as_many_processes_decode_as_there_are_cpus(spec, instances):
    assert revision.picture_instances(gen.yolo(**spec).spec) == instances


def test_pictures_make_another_revision_of_the_same_onnx():
    plain, taken = gen.yolo(), gen.yolo(pictures={"enabled": True})
    (version,) = plain.spec.versions
    assert revision.revision(taken, version, gen.DEFAULTS) != revision.revision(plain, version, gen.DEFAULTS)
    assert revision.export_key(taken, version, gen.DEFAULTS) == revision.export_key(plain, version, gen.DEFAULTS)
    off = gen.yolo(pictures={"enabled": False, "confidence": 0.5})
    assert revision.revision(off, version, gen.DEFAULTS) == revision.revision(plain, version, gen.DEFAULTS)


@pytest.mark.parametrize("make", JOBS)
def test_the_name_of_a_job_leaves_out_the_images_and_nothing_else(make, monkeypatch):
    before = make()["metadata"]["name"]
    monkeypatch.setattr(gen, "DEFAULTS", gen.DEFAULTS.__class__(operator_image="a", exporter_image="b", triton_image="c"))
    assert make()["metadata"]["name"] == before
    monkeypatch.setattr(gen, "DEFAULTS", gen.DEFAULTS.__class__(operator_image="a", exporter_image="b", triton_image="c", cluster_name="other"))
    assert (make()["metadata"]["name"] == before) is (make in (manifests.verify_job, manifests.analysis_job))


def test_the_longest_name_still_fits_into_a_label():
    resource = gen.yolo(name="a" * 40, versions=[gen.version(99999)])
    name = job.build(resource, resource.spec.versions[0], gen.DEFAULTS)["metadata"]["name"]
    artifact = contract.Artifact.model_validate(gen.artifact_of(resource, 99999))
    verify = job.verify(resource, resource.spec.versions[0], artifact, gen.pod(), gen.DEFAULTS)["metadata"]["name"]
    analysis = manifests.analysis_job(name="a" * 40, versions=[gen.version(1), gen.version(99999)])["metadata"]["name"]
    assert max(len(name), len(verify), len(analysis)) <= 63


def test_selectors_never_select_the_pods_of_jobs():
    for make in JOBS:
        assert make()["spec"]["template"]["metadata"]["labels"][names.COMPONENT] != names.TRITON
    assert manifests.service_manifest()["spec"]["selector"][names.COMPONENT] == names.TRITON


@pytest.mark.parametrize("name", manifests.GOLDENS)
def test_owner_references_do_not_hold_up_the_owners_deletion(name):
    (reference,) = manifests.GOLDENS[name]()["metadata"]["ownerReferences"]
    assert (reference["controller"], reference["blockOwnerDeletion"]) == (True, False)


def test_triton_reads_with_the_read_only_keys_where_there_are_some():
    def secret(manifest: dict[str, Any]) -> str:
        entry = next(entry for entry in containers(manifest)[-1]["env"] if entry["name"] == "AWS_ACCESS_KEY_ID")
        return str(entry["valueFrom"]["secretKeyRef"]["name"])

    assert secret(manifests.deployment()) == "s3-readonly"
    assert secret(manifests.deployment_cpu()) == "s3-credentials"


def test_workload_identity_needs_no_keys():
    resource = gen.yolo(storage={"secretRef": None})
    made = job.build(resource, resource.spec.versions[0], gen.DEFAULTS)
    assert set().union(*map(names_of_env, containers(made))) == set()


def test_the_container_that_shows_pictures_has_no_credential_and_cannot_change_them():
    made = manifests.analysis_job_full()
    pictures, analyze = containers(made)
    assert analyze["env"] == []
    assert [(mount["mountPath"], mount.get("readOnly", False)) for mount in analyze["volumeMounts"]] == [("/work/pictures", True), ("/tmp", False)]
    assert (pictures["image"], analyze["image"]) == (gen.DEFAULTS.operator_image, gen.DEFAULTS.exporter_image)
    template = made["spec"]["template"]
    assert template["spec"]["automountServiceAccountToken"] is False
    assert template["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"] == "analyze"


@pytest.mark.parametrize(
    ("spec", "secret"),
    [
        pytest.param({}, "s3-credentials", id="the storage's"),
        pytest.param({"storage": {"readSecretRef": {"name": "s3-readonly"}}}, "s3-readonly", id="its read-only ones"),
        pytest.param({"rollout": {"analysis": {"pictures": "s3://a-bucket", "secretRef": {"name": "mine"}}}}, "mine", id="those of the pictures"),
        pytest.param({"rollout": {"analysis": {"secretRef": {"name": "mine"}}}}, "s3-credentials", id="not those of the pictures for the golden picture"),
    ],
)
def test_whose_keys_read_the_pictures(spec, secret):
    entry = containers(manifests.analysis_job(**spec))[0]["env"][0]
    assert entry["valueFrom"]["secretKeyRef"]["name"] == secret


@pytest.mark.parametrize(
    ("change", "same"),
    [
        pytest.param({"stable_pods": 3}, True, id="other pods"),
        pytest.param({"build": {"resources": {"limits": {"memory": "9Gi"}}}}, True, id="other resources"),
        pytest.param({"rollout": {"steps": [{"weight": 20, "duration": "3m"}, {"weight": 40}]}}, True, id="another step added"),
        pytest.param({"state": {"step": 2}}, False, id="the next step"),
        pytest.param({"state": {"weight": 40}}, False, id="another weight"),
        pytest.param({"state": {"revision": "abcdef0123"}}, False, id="another revision"),
        pytest.param({"state": {"started": "2026-11-22T03:00:01Z"}}, False, id="the step begun anew"),
        pytest.param({"state": {"retry": "once more"}}, False, id="a retry"),
        pytest.param({"rollout": {"analysis": {"minAgreement": 0.9}}}, False, id="other limits"),
        pytest.param({"rollout": {"analysis": {"pictures": "s3://a-bucket"}}}, False, id="other pictures"),
    ],
)
def test_an_analysis_is_named_after_its_step(change, same):
    assert (manifests.analysis_job(**change)["metadata"]["name"] == manifests.analysis_job()["metadata"]["name"]) is same


def test_the_jobs_that_write_are_told_the_encryption():
    given = {"algorithm": "aws:kms", "kmsKeyId": "arn:aws:kms:eu-central-1:1:key/a-b"}
    resource = gen.yolo(storage={"serverSideEncryption": given})
    check, _, _, publish = containers(job.build(resource, resource.spec.versions[0], gen.DEFAULTS))
    for container in (check, publish):
        parsed = cli.parser().parse_args(container["args"])
        assert {"algorithm": parsed.encryption, "kmsKeyId": parsed.kms_key_id} == given


@pytest.mark.parametrize("make", [manifests.analysis_job, manifests.analysis_job_full])
def test_the_command_line_understands_what_the_analysis_job_says(make):
    pictures, analyze = (cli.parser().parse_args(container["args"]) for container in containers(make()))
    assert bool(pictures.golden) is not bool(pictures.pictures)
    assert (analyze.command, analyze.version, analyze.stable_version, analyze.duration) == ("analyze", 2, 1, 120)
    assert (analyze.stable, analyze.canary) == (["10.0.0.0", "10.0.0.1"], ["10.0.1.0"])


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        pytest.param("http://s3.storage.svc:8333", "s3://http://s3.storage.svc:8333/models/yolo", id="as Triton wants it"),
        pytest.param("https://s3.storage.svc:8333/", "s3://https://s3.storage.svc:8333/models/yolo", id="without the last slash"),
        pytest.param(None, "s3://models/yolo", id="AWS"),
    ],
)
def test_the_url_of_the_repository(endpoint, url):
    storage = gen.yolo(storage={"endpoint": endpoint}).spec.storage
    assert storage is not None
    assert repository.url("s3://models/yolo", storage) == url


@pytest.mark.parametrize(
    ("image", "knows"),
    [
        ("nvcr.io/nvidia/tritonserver:25.06-py3", True),
        ("nvcr.io/nvidia/tritonserver:27.01-py3", True),
        ("nvcr.io/nvidia/tritonserver:25.05-py3", False),
        ("tritonserver:24.10", False),
        ("tritonserver:latest", False),
        ("host:5000/tritonserver@sha256:" + "0" * 64, False),
    ],
)
def test_the_size_of_requests_is_raised_where_the_release_knows_how(image, knows):
    made = manifests.deployment(triton={"image": image, "maxBatchSize": 32})
    assert any(argument.startswith("--http-max-input-size=") for argument in containers(made)[-1]["args"]) is knows
    stated = manifests.deployment(triton={"image": image, "maxBatchSize": 32, "release": "25.06"})
    assert any(argument.startswith("--http-max-input-size=") for argument in containers(stated)[-1]["args"]), "what the spec says counts"


def test_where_an_init_container_brings_the_repository_triton_knows_nothing_of_the_storage():
    template = manifests.deployment_loaded()["spec"]["template"]["spec"]
    (loader,), (server,) = template["initContainers"], template["containers"]
    assert {each["name"] for each in loader["env"]} >= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert "AWS" not in str(server)
    assert "s3" not in str(server)
    assert "merged-ca" not in str(template)


def test_a_version_that_shares_no_gpu_tolerates_no_gpu_taint():
    assert "tolerations" not in manifests.deployment_cpu()["spec"]["template"]["spec"]
    assert "nvidia.com/gpu" not in containers(manifests.deployment_cpu())[0]["resources"]["limits"]


def test_no_other_image_and_no_other_kind_of_gpu_loads_an_engine():
    changes = [{}, {"triton": {"image": "nvcr.io/nvidia/tritonserver:25.09-py3"}}, {"gpu": {"resourceName": "nvidia.com/mig-1g.5gb"}}]
    directories = {engine_mount(manifests.deployment(**change))["subPath"] for change in changes}
    assert len(directories) == len(changes)
    assert engine_mount(manifests.deployment(nodeSelector={"accelerator": "h100"}))["subPath"] in directories
    assert "subPath" not in engine_mount(manifests.deployment(triton={"tensorrt": {"engineCache": None}}))


def engine_mount(deployment: dict[str, Any]) -> dict[str, Any]:
    """Where Triton keeps the engines it builds."""
    mounts = containers(deployment)[-1]["volumeMounts"]
    return next(mount for mount in mounts if mount["name"] == "tensorrt")


def server_of(**spec: Any) -> dict[str, Any]:
    """The container of Triton."""
    found: dict[str, Any] = containers(manifests.deployment(**spec))[-1]
    return found


ON_THE_CPU = {"gpu": {"count": 0}, "triton": {"tensorrt": {"enabled": False}}}
TRACING = {"endpoint": "http://collector.monitoring.svc:4318/v1/traces", "rate": 10, "resourceAttributes": {"deployment.environment": "test"}}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param({}, [], id="on a GPU the threads are as they were"),
        pytest.param(
            ON_THE_CPU,
            ["enable-global-threadpool=1", "intra_op_thread_count=$(TRITON_CPU_LIMIT)", "inter_op_thread_count=1"],
            id="on the CPU as many as the Pod may use CPUs",
        ),
        pytest.param(gen.merged(ON_THE_CPU, {"triton": {"parameters": {"intra_op_thread_count": "2"}}}), [], id="who says how many decides"),
    ],
)
def test_how_many_threads_onnx_runtime_is_given(spec, said):
    container = server_of(**spec)
    assert [flag.removeprefix("--backend-config=onnxruntime,") for flag in container["args"] if flag.startswith("--backend-config")] == said
    limits = [entry for entry in container["env"] if entry["name"] == "TRITON_CPU_LIMIT"]
    assert all(entry["valueFrom"] == {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}} for entry in limits)
    assert bool(limits) is ("gpu" in spec)


@pytest.mark.parametrize(
    ("triton", "flags"),
    [
        pytest.param({}, [], id="nothing by default"),
        pytest.param(
            {"metrics": {"summaryLatencies": True, "intervalMilliseconds": 500}},
            ["--metrics-config=summary_latencies=true", "--metrics-interval-ms=500"],
            id="metrics",
        ),
        pytest.param(
            {"tracing": TRACING},
            [
                "--trace-config=mode=opentelemetry",
                "--trace-config=level=TIMESTAMPS",
                "--trace-config=rate=10",
                "--trace-config=opentelemetry,url=http://collector.monitoring.svc:4318/v1/traces",
                "--trace-config=opentelemetry,resource=deployment.environment=test",
                "--trace-config=opentelemetry,resource=service.name=helmet",
                "--trace-config=opentelemetry,resource=service.version=1",
            ],
            id="tracing",
        ),
    ],
)
def test_what_triton_tells_of_itself(triton, flags):
    assert [flag for flag in server_of(triton=triton)["args"] if flag.startswith(("--metrics", "--trace"))] == flags


def test_forward_compatibility_starts_triton_through_nvidia_s_entrypoint():
    assert server_of()["command"] == ["tritonserver"]
    wanted = server_of(triton={"forwardCompatibility": True})
    assert wanted["command"] == ["/opt/nvidia/nvidia_entrypoint.sh", "tritonserver"]
    assert wanted["args"] == server_of()["args"]


def test_the_command_line_understands_what_the_build_job_says_of_the_configuration():
    triton = {
        "dynamicBatching": {"queuePolicy": {"maxQueueSize": 8, "timeoutMicroseconds": 50000, "timeoutAction": "Delay", "allowTimeoutOverride": True}},
        "gpuMemoryLimit": "4Gi",
        "parameters": {"session.use_device_allocator_for_initializers": "1", "note": "a=b $(HOME)"},
        "release": "26.07",
        "tensorrt": {"enabled": True},
    }
    (container,) = manifests.build_job(triton=triton)["spec"]["template"]["spec"]["containers"]
    options = worker.serving_options(cli.parser().parse_args([argument.replace("$$", "$") for argument in container["args"]]))
    assert options.queue_policy == QueuePolicy(max_queue_size=8, timeout_microseconds=50000, timeout_action="DELAY", allow_timeout_override=True)
    assert options.gpu_memory_bytes == 4 << 30
    assert options.parameters == triton["parameters"]
    assert options.release == releases.named("26.07")
    assert options.tensorrt is not None
    assert options.tensorrt.strongly_typed
    (plain,) = manifests.build_job(triton={"release": "26.05", "tensorrt": {"enabled": True}})["spec"]["template"]["spec"]["containers"]
    assert "--tensorrt-strongly-typed" not in plain["args"]
    assert worker.serving_options(cli.parser().parse_args(plain["args"])).queue_policy is None


NODES = {"nodeSelector": {"pool": "batch"}, "tolerations": [{"key": "dedicated", "operator": "Exists"}]}


def jobs_of(**spec: Any) -> list[dict[str, Any]]:
    """A build, a verify, an analysis and a prune Job."""
    resource = gen.yolo(**spec)
    version, artifact = resource.spec.versions[0], contract.Artifact.model_validate(gen.artifact_of(resource))
    state = api.RolloutStatus.model_validate({"revision": "0123456789", "step": 1, "weight": 20, "started": "2026-11-22T03:00:00Z"})
    return [
        job.build(resource, version, gen.DEFAULTS),
        job.verify(resource, version, artifact, gen.pod(), gen.DEFAULTS),
        analysis.build(resource, version, 1, artifact, state, timedelta(minutes=1), [gen.pod()], [gen.pod()], gen.DEFAULTS),
        job.prune(resource, None, storage_of(resource, gen.DEFAULTS), gen.DEFAULTS),
    ]


def test_all_jobs_run_where_spec_jobs_says_and_those_that_export_where_the_build_says_besides():
    affinity = {"nodeAffinity": {}}
    spec = {"jobs": NODES | {"affinity": affinity, "priorityClassName": "low"}, "build": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "ssd"}]}}
    build, verify, judged, prune = (made["spec"]["template"]["spec"] for made in jobs_of(**spec))
    for made in (verify, prune):
        assert {key: made[key] for key in NODES} == NODES
    for made in (build, judged):
        assert made["nodeSelector"] == {"pool": "batch", "disk": "ssd"}
        assert [each["key"] for each in made["tolerations"]] == ["dedicated", "ssd"]
    assert all((made["affinity"], made["priorityClassName"]) == (affinity, "low") for made in (build, verify, judged, prune))


def test_the_administrators_nodes_are_for_all_jobs_and_make_none_anew(monkeypatch):
    before = [made["metadata"]["name"] for made in jobs_of(jobs=NODES)]
    placement = JobPlacement(node_selector={"kubernetes.io/arch": "amd64", "pool": "any"}, tolerations=[{"key": "batch"}])
    monkeypatch.setattr(gen, "DEFAULTS", replace(gen.DEFAULTS, jobs=placement))
    made = jobs_of(jobs=NODES)
    assert [each["metadata"]["name"] for each in made] == before
    for spec in (each["spec"]["template"]["spec"] for each in made):
        assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64", "pool": "batch"}
        assert [each["key"] for each in spec["tolerations"]] == ["dedicated", "batch"]
    assert all(each["spec"]["template"]["spec"]["nodeSelector"] == placement.node_selector for each in jobs_of())


def test_pods_of_jobs_have_labels_and_annotations_of_the_users_and_are_left_alone_by_autoscalers_unless_he_says_otherwise():
    for made in jobs_of(jobs={"labels": {"sidecar.istio.io/inject": "false", names.COMPONENT: "mine"}, "annotations": {"a": "b"}}):
        metadata = made["spec"]["template"]["metadata"]
        assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
        assert metadata["labels"][names.COMPONENT] == made["metadata"]["labels"][names.COMPONENT]
        assert metadata["annotations"].items() >= {"a": "b", **job.UNDISTURBED}.items()
    for made in jobs_of(jobs={"annotations": dict.fromkeys(job.UNDISTURBED, "no")}):
        assert made["spec"]["template"]["metadata"]["annotations"].items() >= dict.fromkeys(job.UNDISTURBED, "no").items()


def test_what_every_pod_has_by_itself_makes_no_job_anew(monkeypatch):
    before = [made["metadata"]["name"] for made in jobs_of()]
    monkeypatch.setattr(job, "UNDISTURBED", {})
    assert [made["metadata"]["name"] for made in jobs_of()] == before
    assert [made["metadata"]["name"] for made in jobs_of(jobs={"annotations": {"a": "b"}})] != before


def test_a_slice_of_a_gpu_is_on_a_node_with_the_taint_of_whole_ones():
    def tolerated(resource_name: str) -> list[str]:
        resource = gen.yolo(gpu={"resourceName": resource_name})
        made = triton.build(resource, resource.spec.versions[0], contract.Artifact.model_validate(gen.artifact_of(resource)), 1, None, gen.DEFAULTS)
        return [each["key"] for each in made["spec"]["template"]["spec"]["tolerations"]]

    assert tolerated("nvidia.com/gpu") == ["nvidia.com/gpu"]
    assert tolerated("nvidia.com/mig-1g.5gb") == ["nvidia.com/mig-1g.5gb", "nvidia.com/gpu"]
    assert tolerated("amd.com/gpu") == ["amd.com/gpu"]
