"""Which versions may share traffic: those that one client reads alike."""

from collections.abc import Mapping, Sequence

from yolo_operator.core import api, pods
from yolo_operator.core.contract import Artifact
from yolo_operator.core.observed import Observed, deployments_by_version
from yolo_operator.core.progress import Progress, relative_weight, status_of
from yolo_operator.core.triton import shapes

COMPARED = ("task", "inputs", "outputs", "image_size", "classes_digest")
"""What a client reads once, at its start: versions that share traffic agree in it."""


def exclude_incompatible(yolo: api.YoloDeployment, progress: Sequence[Progress], observed: Observed) -> int:
    """Take the traffic from versions that a client of the reference would misread. Returns the reference, which is to be recorded; 0 for none."""
    requested = {number: int(live["spec"].get("replicas", 1)) for number, live in deployments_by_version(observed).items()}
    artifacts = {each.version.version: each.artifact or each.status.artifact for each in progress}
    artifacts |= {number: status_of(yolo, number).artifact for number in requested if number not in artifacts}
    reference = reference_of(yolo, artifacts, requested)
    wanted = artifacts.get(reference)
    if yolo.spec.traffic.allow_incompatible:
        return reference
    for each in progress:
        number, mine = each.version.version, artifacts[each.version.version]
        if mine is not None and wanted is not None and number != reference and (unlike := differences(wanted, mine)):
            each.excluded = each.stalled = True
            each.problem = pods.Problem(
                "VersionsIncompatible",
                f"Version {number} differs from version {reference}, which has the traffic, in {', '.join(unlike)}: clients read those once. "
                f"{rebuild_first(reference, wanted, unlike)}Make a YoloDeployment of its own for it, or set spec.traffic.allowIncompatible",
                permanent=True,
            )
    return reference


def reference_of(yolo: api.YoloDeployment, artifacts: Mapping[int, Artifact | None], requested: Mapping[int, int]) -> int:
    """The version that clients know: the stable one, or the one on record for as long as it can serve; else the one with most pods. Readiness plays no part in it."""
    known = [number for number, artifact in artifacts.items() if artifact is not None]
    stable = yolo.status.rollout.stable if yolo.status.rollout is not None else 0
    weights = {version.version: relative_weight(version) for version in yolo.spec.versions}
    recorded = yolo.status.reference_version
    if stable in known:
        return stable
    if recorded in known and (weights.get(recorded) or requested.get(recorded) or not any(requested.values())):
        return recorded
    return min(known, key=lambda number: (-requested.get(number, 0), number), default=0)


def differences(one: Artifact, other: Artifact) -> list[str]:
    """What a client would have to know to talk to both."""
    texts = {name: (shown(one, name), shown(other, name)) for name in COMPARED if getattr(one, name) != getattr(other, name)}
    return [f"{name.replace('_digest', '').replace('_', ' ')} ({mine} and {theirs})" for name, (mine, theirs) in texts.items()]


def rebuild_first(reference: int, artifact: Artifact, unlike: Sequence[str]) -> str:
    """The remedy where all that is amiss is that the version which has the traffic was published by a release that made every model dynamic."""
    outdated = shapes.asks_otherwise(artifact.task, artifact.image_size, artifact.inputs)
    return f"Change spec.versions[].rebuild of version {reference} first. " if outdated and len(unlike) == 1 else ""


def shown(artifact: Artifact, name: str) -> str:
    """A compared value as a message shows it."""
    if name == "classes_digest":
        return f"{artifact.classes}, digest {artifact.classes_digest}"
    if name in {"inputs", "outputs"}:
        return "; ".join(f"{tensor.name} {tensor.datatype} {tensor.shape}" for tensor in getattr(artifact, name))
    return str(getattr(artifact, name))
