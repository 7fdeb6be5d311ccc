"""The analysis Job: compares a canary with the stable version for the length of one step.

`pictures` has the keys that read them; `analyze` runs Ultralytics in the exporter image and has none.
"""

from collections.abc import Sequence
from datetime import timedelta

from yolo_operator.core import analysis as judging
from yolo_operator.core import api, contract, names
from yolo_operator.core.defaults import Defaults, storage_of
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import job, pod, service

PICTURES_SIZE = "2Gi"
"""Upper limit of the scratch volume: 64 pictures of 20 MiB fit."""


def build(
    yolo: api.YoloDeployment,
    canary: api.Version,
    stable_version: int,
    stable_artifact: contract.Artifact,
    state: api.RolloutStatus,
    duration: timedelta,
    stable_pods: Sequence[Manifest],
    canary_pods: Sequence[Manifest],
    defaults: Defaults,
) -> Manifest:
    """The Job of one step. Its answer is the `contract.Comparison` of container `analyze`."""
    storage, wanted = storage_of(yolo, defaults), yolo.spec.rollout.analysis
    secret = (wanted.secret_ref if wanted.pictures else None) or storage.read_secret_ref or storage.secret_ref
    source = f"--pictures={wanted.pictures.rstrip('/')}" if wanted.pictures else f"--golden={stable_artifact.uri.rstrip('/')}"
    pictures = job.container(
        "pictures",
        defaults.operator_image,
        ["pictures", source, *pod.storage_arguments(storage)],
        pod.secret_env(secret),
        [job.mount("pictures"), *pod.ca_mount(storage)],
        pod.resources(yolo.spec.jobs.resources),
    )
    arguments = [
        "analyze",
        f"--model-name={yolo.model_name}",
        f"--task={stable_artifact.task}",
        f"--stable-version={stable_version}",
        f"--version={canary.version}",
        f"--http-port={service.PORTS['http']}",
        f"--metrics-port={service.PORTS['metrics']}",
        f"--duration={duration.total_seconds():g}",
        *(["--files"] if yolo.spec.pictures.enabled else []),
        *limit_arguments(wanted),
        "--stable",
        *addresses(stable_pods),
        "--canary",
        *addresses(canary_pods),
    ]
    analyze = job.container(
        "analyze", defaults.exporter_image, arguments, [], [job.mount("pictures", read_only=True)], pod.resources(yolo.spec.build.resources)
    )
    template = job.pod_template(yolo, names.ANALYSIS, defaults, canary.version)
    template["metadata"]["annotations"] |= {pod.SKIP_CONTAINERS: "analyze"}
    template["spec"] |= {
        "initContainers": [pictures],
        "containers": [analyze],
        "volumes": [
            {"name": "work", "emptyDir": {"sizeLimit": PICTURES_SIZE}},
            *({"name": f"tmp-{name}", "emptyDir": {}} for name in ("pictures", "analyze")),
            *pod.ca_volume(storage),
        ],
        **job.build_nodes(yolo),
    }
    policy: list[Manifest] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [contract.PERMANENT_EXIT_CODE]}},
    ]
    made = job.job(yolo, "", names.ANALYSIS, template, policy, defaults, version=canary.version)
    return made | {"metadata": names.metadata(yolo, name(yolo, canary, state), names.ANALYSIS, canary.version)}


def name(yolo: api.YoloDeployment, canary: api.Version, state: api.RolloutStatus) -> str:
    """What is analysed, and not which pods are asked: those come and go while the Job runs."""
    step = [state.revision, state.step, state.weight, state.started, state.retry]
    limits = yolo.spec.rollout.analysis.model_dump(mode="json", exclude_defaults=True)
    return f"{names.versioned(yolo, canary.version)}-analysis-{names.digest([*step, limits], 6)}"


def limit_arguments(wanted: api.Analysis) -> list[str]:
    """A flag for each limit that is set."""
    limits = {judging.flag(limit): getattr(wanted, limit) for limit in judging.LIMITS}
    return [f"{flag}={value}" for flag, value in limits.items() if value is not None]


def addresses(pods: Sequence[Manifest]) -> list[str]:
    """IPs of the pods that have one."""
    return [pod["status"]["podIP"] for pod in pods if pod.get("status", {}).get("podIP")]
