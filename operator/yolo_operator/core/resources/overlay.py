"""`spec.triton.podTemplate`: a partial pod template, laid over ours, and what of ours it cannot touch.

As Kubernetes merges: objects field by field, lists of named items by their names, any other list and any value as a whole; null is
as if it were not written, so nothing of ours can be taken away.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from yolo_operator.core import api, drift, names, pod_security
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import pod

FIELD = "spec.triton.podTemplate"
KEYS: Mapping[str, tuple[str, ...]] = {field: keys for field, keys in drift.MERGE_KEYS.items() if keys} | {"ports": ("containerPort", "protocol")}
APPENDED = frozenset({"tolerations"})

OF_POD: Mapping[str, str] = {
    "automountServiceAccountToken": "no pod of the operator holds a token for the API server",
    "nodeName": "use spec.nodeSelector or spec.affinity: a pod that goes round the scheduler is refused by a full node and made again without end",
    "readinessGates": "the gate opens for verified pods; spec.rollout.verify says how",
    "restartPolicy": "a Deployment's pods are always restarted",
    "serviceAccount": "use spec.serviceAccountName",
    "serviceAccountName": "use spec.serviceAccountName",
}
OF_SERVER: Mapping[str, str] = {
    "args": "they follow from spec.triton and spec.storage, and verification relies on them",
    "command": "the image has to have tritonserver; use spec.triton.image",
    "image": "use spec.triton.image",
    "lifecycle": "a pod has to leave the endpoints before Triton ends",
    "livenessProbe": "the probes ask for the model itself",
    "ports": "Services and routes lead to them; a container of your own may have others",
    "readinessProbe": "the probes ask for the model itself",
    "resources": "use spec.triton.resources and spec.gpu",
    "startupProbe": "the probes ask for the model itself",
    "terminationMessagePath": "the operator reads Triton's last words there",
    "terminationMessagePolicy": "the operator reads Triton's last words there",
}
OF_STORAGE = {names.MERGE_CA: "use spec.storage.caBundleRef", names.LOAD: "use spec.storage.loader", names.DECODER: "use spec.pictures"}
"""Init containers."""
ENV = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
        "TRITON_AWS_MOUNT_DIRECTORY",
        "HOME",
        "ORT_DISABLE_TELEMETRY",
        "PICTURE_DECODER",
        "POD_UID",
        "TRITON_CPU_LIMIT",
    }
)
"""Variables of the server that we set, or leave out for workload identity."""
LABELS = frozenset({names.MANAGED_BY, names.COMPONENT, names.NAME, names.INSTANCE, names.POD_TEMPLATE_HASH, names.JOB_NAME})
PROJECTED = frozenset({"clusterTrustBundle", "configMap", "downwardAPI", "secret"})
"""Sources of a projected volume that give no identity."""
BARE: Manifest = {
    "metadata": {},
    "spec": {
        "securityContext": pod.POD_SECURITY | {"runAsUser": pod.USER},
        "initContainers": [],
        "containers": [{"name": names.SERVER, "env": [], "securityContext": dict(pod.CONTAINER_SECURITY)}],
        "volumes": [],
    },
}
"""As much of our template as decides whether the whole keeps to the Pod Security Standard."""


def check(template: api.PodTemplate | None, beside: Set[str] = frozenset()) -> None:
    """Raises InvalidSpec that names each field that is ours, or that the restricted Pod Security Standard forbids. `beside`: init containers of ours besides those."""
    if template is None:
        return
    # First, since it refuses what is not of the form that the rest relies on.
    whole = laid_over(BARE, template)
    faults = [f"{FIELD}.{path}: cannot be set: {why}" for path, why in reserved(template.metadata, merged(None, template.spec, "", "spec"), beside)]
    faults += [f"{FIELD}.{path}: forbidden by the restricted Pod Security Standard, which allows {why}" for path, why in pod_security.violations(whole)]
    if faults:
        raise InvalidSpec("PodTemplateInvalid", "; ".join(faults)[:2000])


def laid_over(base: Manifest, template: api.PodTemplate | None) -> Manifest:
    """A pod template with the user's laid over it. Raises InvalidSpec where the two are not of one form."""
    if template is None:
        return base
    metadata = {key: value for key, value in template.metadata.model_dump().items() if value}
    return {"metadata": merged(base["metadata"], metadata, "", "metadata"), "spec": merged(base["spec"], template.spec, "", "spec")}


def reserved(metadata: api.PodMetadata, spec: Manifest, beside: Set[str]) -> Iterator[tuple[str, str]]:
    """Path and remedy of what the user's part, free of nulls, says of our own business."""
    for kind, keys in (("labels", metadata.labels), ("annotations", metadata.annotations)):
        for key in sorted(keys):
            if key.startswith(f"{api.GROUP}/") or (kind == "labels" and key in LABELS):
                yield f"metadata.{kind}[{key}]", "Services and the operator find the pods by theirs"
    for field in sorted(OF_POD.keys() & spec.keys()):
        yield f"spec.{field}", OF_POD[field]
    for container in spec.get("containers", ()):
        if container["name"] == names.SERVER:
            yield from of_server(container, f"spec.containers[{names.SERVER}]")
    ours = OF_STORAGE | dict.fromkeys(beside, "it is the operator's own: give yours another name")
    for container in spec.get("initContainers", ()):
        if container["name"] in ours:
            yield f"spec.initContainers[{container['name']}]", ours[container["name"]]
    for volume in spec.get("volumes", ()):
        for source in pod_security.items(pod_security.get(volume, "projected.sources")):
            for kind in sorted(set(source if isinstance(source, Mapping) else ()) - PROJECTED):
                yield f"spec.volumes[{volume['name']}].projected.sources.{kind}", "no pod of the operator holds a token or certificate of the cluster"


def of_server(container: Manifest, path: str) -> Iterator[tuple[str, str]]:
    """The same for the container that serves."""
    for field in sorted(OF_SERVER.keys() & container.keys()):
        yield f"{path}.{field}", OF_SERVER[field]
    for entry in container.get("env", ()):
        if entry["name"] in ENV:
            yield f"{path}.env[{entry['name']}]", "it follows from spec.storage, or Triton needs it as it is"
    if pod_security.get(container, "securityContext.readOnlyRootFilesystem") not in (None, True):
        yield f"{path}.securityContext.readOnlyRootFilesystem", "mount an emptyDir where the image writes"


def merged(base: Any, change: Any, field: str, path: str) -> Any:
    """`change` laid over `base`, None for nothing; neither is changed. `field` is the key that both stand under."""
    if isinstance(change, dict) and isinstance(base, dict | None):
        result = dict(base or {})
        for key, value in change.items():
            if value is not None:
                result[key] = merged(result.get(key), value, key, f"{path}.{key}")
        return result
    if isinstance(change, list) and isinstance(base, list | None):
        return merged_list(base or [], change, field, path)
    if isinstance(base, dict | list) or (isinstance(change, dict | list) and base is not None):
        wanted = "an object" if isinstance(base, dict) else "a list" if isinstance(base, list) else "a plain value"
        raise InvalidSpec("PodTemplateInvalid", f"{FIELD}.{path}: {wanted} is wanted")
    return change


def merged_list(base: list[Any], change: list[Any], field: str, path: str) -> list[Any]:
    """Items of one identity are merged, new ones follow; a list without identities is replaced, but for those that only grow."""
    keys = KEYS.get(field)
    if keys is None:
        items = [merged(None, item, "", f"{path}[{index}]") for index, item in enumerate(change)]
        return [*base, *items] if field in APPENDED else items
    result = {tuple(str(item[key]) for key in keys): item for item in base}
    for index, item in enumerate(change):
        # The API server's own default, which is part of the identity.
        whole = {"protocol": "TCP"} | item if field == "ports" and isinstance(item, dict) else item
        missing = [key for key in keys if not isinstance(whole, dict) or whole.get(key) is None]
        if missing:
            raise InvalidSpec("PodTemplateInvalid", f"{FIELD}.{path}[{index}].{missing[0]}: is missing; items are merged by it")
        identity = tuple(str(whole[key]) for key in keys)
        result[identity] = merged(result.get(identity), whole, "", f"{path}[{identity[0]}]")
    return list(result.values())
