"""Which versions may share traffic: those that one client reads alike."""

from collections.abc import Mapping, Sequence

from yolo_operator.core import api, pods
from yolo_operator.core.contract import Artifact
from yolo_operator.core.observed import Observed, deployments_by_version
from yolo_operator.core.progress import Progress, exclude, relative_weight, serving_artifact, status_of
from yolo_operator.core.triton import shapes

COMPARED = ("task", "inputs", "outputs", "image_size", "classes_digest")
"""What a client reads once, at its start: versions that share traffic agree in it."""


def exclude_incompatible(yolo: api.YoloDeployment, progress: Sequence[Progress], observed: Observed) -> tuple[list[Progress], int]:
    """Take the traffic from versions that a client of the reference would misread. The reference, 0 for none, is to be recorded.

    What the reference serves is what clients know, until all that are declared are to be otherwise in the same way.
    """
    deployed = deployments_by_version(observed)
    requested = {number: int(live["spec"].get("replicas", 1)) for number, live in deployed.items()}
    wanted = {each.version.version: each.artifact or each.status.artifact for each in progress}
    statuses = {number: status_of(yolo, number) for number in requested} | {each.version.version: each.status for each in progress}
    serving = {number: serving_artifact(each, deployed.get(number)) for number, each in statuses.items()}
    reference = reference_of(yolo, serving, requested)
    known, changed = serving.get(reference), wanted.get(reference)
    if yolo.spec.traffic.allow_incompatible:
        return list(progress), reference
    sharing = [number for each in progress if (number := each.version.version) != reference and (relative_weight(each.version) or requested.get(number))]
    if changed is not None and not any((other := wanted[number]) is not None and differences(changed, other) for number in sharing):
        known = changed
    judged = []
    for each in progress:
        number, mine = each.version.version, wanted[each.version.version]
        if mine is not None and known is not None and (unlike := differences(known, mine)):
            which = f"version {reference}, which has the traffic" if number != reference else "what it serves, and other versions share its traffic"
            problem = pods.Problem(
                "VersionsIncompatible",
                f"Version {number} differs from {which}, in {', '.join(unlike)}: clients read those once. "
                f"{rebuild_first(reference, known, unlike)}Make a YoloDeployment of its own for it, or set spec.traffic.allowIncompatible",
                permanent=True,
            )
            # What it serves from before an edit may be as different: after allowIncompatible was taken away.
            served = serving.get(number)
            alike = served is None or not differences(known, served)
            judged.append(exclude(each, deployed.get(number) if alike else None, problem))
        else:
            judged.append(each)
    return judged, reference


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
