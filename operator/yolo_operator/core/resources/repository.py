"""How a serving pod comes to its model repository: Triton's own S3 client brings it, or an init container does."""

from yolo_operator.core import api, contract, names
from yolo_operator.core.defaults import Defaults, image_of, storage_of
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import pod

SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
"""Whom Triton's libcurl trusts (Ubuntu's, as in NVIDIA's image). It reads no variable and no flag: another store must lie at this very path."""
MERGED_CA = "ca-certificates.crt"
MERGE_CA = f"{{ if [ -f {SYSTEM_CA} ]; then cat {SYSTEM_CA}; echo; fi; cat {pod.CA_DIRECTORY}/{pod.CA_FILE}; }} > /merged/{MERGED_CA}"
"""The image's own store, if it has one, and the user's CA. Fails where the ConfigMap or its key is not there (yet)."""


def volumes(storage: api.Storage) -> list[Manifest]:
    """For the repository, or for the user's CA and the system's store with it added: Triton reads no other."""
    if loaded(storage):
        return [*pod.ca_volume(storage), {"name": "repository", "emptyDir": {}}]
    return [*pod.ca_volume(storage), {"name": "merged-ca", "emptyDir": {}}] if storage.ca_bundle_ref is not None else []


def mounts(storage: api.Storage) -> list[Manifest]:
    """What of it the server sees."""
    if loaded(storage):
        return [{"name": "repository", "mountPath": contract.REPOSITORY_DIRECTORY, "readOnly": True}]
    return [{"name": "merged-ca", "mountPath": SYSTEM_CA, "subPath": MERGED_CA, "readOnly": True}] if storage.ca_bundle_ref is not None else []


def init_containers(yolo: api.YoloDeployment, artifact: contract.Artifact, defaults: Defaults) -> list[Manifest]:
    """What runs before the server."""
    storage = storage_of(yolo, defaults)
    if loaded(storage):
        return [loader(yolo, artifact, defaults)]
    return [ca_merger(yolo, defaults)] if storage.ca_bundle_ref is not None else []


def env(storage: api.Storage) -> list[Manifest]:
    """What Triton's S3 client reads; nothing where it is not asked."""
    if loaded(storage):
        return []
    return [
        *pod.secret_env(storage.read_secret_ref or storage.secret_ref),
        {"name": "AWS_DEFAULT_REGION", "value": storage.region},
        # The model is downloaded there at each start; the root file system is read-only.
        {"name": "TRITON_AWS_MOUNT_DIRECTORY", "value": pod.TMP},
    ]


def url(uri: str, storage: api.Storage) -> str:
    """What Triton is given: the directory, or the S3 URL as it parses one: s3://http://host:port/bucket/prefix, or s3://bucket/prefix for AWS."""
    if loaded(storage):
        return contract.REPOSITORY_DIRECTORY
    if not storage.endpoint:
        return uri
    return f"s3://{storage.endpoint.rstrip('/')}/{uri.removeprefix('s3://')}"


def loaded(storage: api.Storage) -> bool:
    """Whether an init container brings the repository, and not Triton itself."""
    return storage.loader == "InitContainer"


def loader(yolo: api.YoloDeployment, artifact: contract.Artifact, defaults: Defaults) -> Manifest:
    """Brings the repository into the pod: only this container gets the keys of the storage."""
    storage = storage_of(yolo, defaults)
    root, _, revision = artifact.uri.rstrip("/").rpartition("/")
    arguments = ["load", f"--root={root}", f"--revision={revision}", f"--directory={contract.REPOSITORY_DIRECTORY}", *pod.storage_arguments(storage)]
    env = [*pod.secret_env(storage.read_secret_ref or storage.secret_ref), {"name": "HOME", "value": pod.TMP}]
    mounts = [{"name": "repository", "mountPath": contract.REPOSITORY_DIRECTORY}, {"name": "tmp", "mountPath": pod.TMP}, *pod.ca_mount(storage)]
    return pod.worker(names.LOAD, defaults.operator_image, arguments, env, mounts, pod.resources(yolo.spec.jobs.resources))


def ca_merger(yolo: api.YoloDeployment, defaults: Defaults) -> Manifest:
    """Writes the image's own CA store and the user's CA into one file."""
    return {
        "name": names.MERGE_CA,
        "image": image_of(yolo, defaults),
        "imagePullPolicy": pod.IMAGE_PULL_POLICY,
        "command": ["sh", "-ec", MERGE_CA],
        "volumeMounts": [
            {"name": "ca", "mountPath": pod.CA_DIRECTORY, "readOnly": True},
            {"name": "merged-ca", "mountPath": "/merged"},
        ],
        "securityContext": dict(pod.CONTAINER_SECURITY),
        # A quota of limits.cpu wants one of every container: that of the server, which runs afterwards and so counts alone.
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {**cpu_limit(yolo), "memory": "256Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def cpu_limit(yolo: api.YoloDeployment) -> Manifest:
    """The server's own, where it has one."""
    return {key: value for key, value in yolo.spec.triton.resources.limits.items() if key == "cpu"}
