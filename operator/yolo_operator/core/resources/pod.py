"""Parts that all our Pods share: security context, credentials, scratch space."""

from yolo_operator.core import api, contract
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.names import Manifest

POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
USER = 65532
"""Of our own images."""
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
IMAGE_PULL_POLICY = "IfNotPresent"
"""Images are named by tags that do not move, or by digests."""
TMP = "/tmp"  # noqa: S108  an emptyDir of the Pod
CA_DIRECTORY = "/etc/yolo-operator/ca"
"""Where the bundle of storage.caBundleRef is mounted."""
PROXY_CA_DIRECTORY = "/etc/yolo-operator/proxy-ca"
"""Where the bundle of build.proxy.caBundleRef is mounted."""
CA_FILE = "ca.crt"
TENSORRT_CACHE = "/var/cache/tensorrt"
"""Where Triton keeps the engines it builds."""
SKIP_CONTAINERS = "eks.amazonaws.com/skip-containers"
"""Annotation: containers that get no AWS web identity. The export container runs the weights' own code."""


def security(defaults: Defaults, user: int = USER) -> Manifest:
    """The securityContext of a Pod. It names no user and no group where the namespace assigns them, as on OpenShift."""
    return POD_SECURITY if defaults.assigned_user else {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user} | POD_SECURITY


def secret_env(secret: api.LocalReference | None) -> list[Manifest]:
    """The AWS keys of a Secret as environment; nothing without one (workload identity)."""
    if secret is None:
        return []
    keys = {"AWS_ACCESS_KEY_ID": False, "AWS_SECRET_ACCESS_KEY": False, "AWS_SESSION_TOKEN": True}
    return [secret_key(secret, key, key, optional=optional) for key, optional in keys.items()]


def source_env(source: api.Source) -> list[Manifest]:
    """What its Secret may have for a source that is not in S3. All optional: fetch tells what is missing."""
    if source.secret_ref is None:
        return []
    keys = contract.REGISTRY_SECRET if source.uri.startswith("oci://") else contract.SOURCE_SECRET
    return [secret_key(source.secret_ref, key, variable, optional=True) for key, variable in keys.items()]


def secret_key(secret: api.LocalReference, key: str, variable: str, *, optional: bool) -> Manifest:
    """One key of a Secret as a variable of the environment; without an optional one the container starts all the same."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key} | ({"optional": True} if optional else {})}}


def proxy_env(proxy: api.Proxy | None) -> list[Manifest]:
    """The credentials for a proxy. All optional: fetch tells what is missing."""
    if proxy is None or proxy.secret_ref is None:
        return []
    return [secret_key(proxy.secret_ref, key, variable, optional=True) for key, variable in contract.PROXY_SECRET.items()]


def worker(name: str, image: str, arguments: list[str], env: list[Manifest], mounts: list[Manifest], resources: Manifest) -> Manifest:
    """A container of our own images, for one subcommand; it has to be given a place to write to at TMP."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": IMAGE_PULL_POLICY,
        # Kubernetes puts variables in for $(NAME): a URI would bring a key into an answer, a log, the status.
        "args": [argument.replace("$", "$$") for argument in arguments],
        "env": env,
        "volumeMounts": mounts,
        "securityContext": dict(CONTAINER_SECURITY),
        "resources": resources,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def ca_volume(storage: api.Storage) -> list[Manifest]:
    """The CA bundle as a volume. Optional, so that a missing one is reported by the worker and not a Pod that never starts."""
    return bundle_volume("ca", storage.ca_bundle_ref)


def bundle_volume(name: str, reference: api.KeyReference | None) -> list[Manifest]:
    """A ConfigMap's certificates as a volume; see `ca_volume`."""
    if reference is None:
        return []
    return [{"name": name, "configMap": {"name": reference.name, "optional": True, "items": [{"key": reference.key, "path": CA_FILE}]}}]


def ca_mount(storage: api.Storage) -> list[Manifest]:
    """Where a worker finds the CA bundle."""
    return [] if storage.ca_bundle_ref is None else [{"name": "ca", "mountPath": CA_DIRECTORY, "readOnly": True}]


def storage_arguments(storage: api.Storage) -> list[str]:
    """The storage flags of the workers."""
    arguments = [f"--region={storage.region}"]
    if storage.endpoint:
        arguments.append(f"--endpoint={storage.endpoint.rstrip('/')}")
    if storage.ca_bundle_ref is not None:
        arguments.append(f"--ca-bundle={CA_DIRECTORY}/{CA_FILE}")
    if storage.server_side_encryption is not None:
        arguments.append(f"--encryption={storage.server_side_encryption.algorithm}")
        if storage.server_side_encryption.kms_key_id:
            arguments.append(f"--kms-key-id={storage.server_side_encryption.kms_key_id}")
    return arguments


def resources(value: api.Resources) -> Manifest:
    """Requests and limits, without empty parts (which the API server would drop, and we would send for ever)."""
    return {key: dict(part) for key, part in (("requests", value.requests), ("limits", value.limits)) if part}
