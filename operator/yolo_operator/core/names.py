"""Names, labels and annotations: each defined once. Every child's name follows from the resource's, so a lost event loses nothing."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from yolo_operator.core import api

Manifest = dict[str, Any]
Owner = api.YoloDeployment | api.YoloServer
"""Whose children are named here."""

FIELD_MANAGER = "yolo-operator"
FINALIZER = f"{api.GROUP}/storage"
"""Held only with deletionPolicy Delete: what was published has to be removed first."""
SERVER_FINALIZER = f"{api.GROUP}/models"
"""Of a YoloServer: its models have to go first."""

MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
OWNER = f"{api.GROUP}/deployment"
"""Label: the YoloDeployment an object belongs to."""
SERVER_OWNER = f"{api.GROUP}/server"
"""Label: the YoloServer an object belongs to."""
VERSION = f"{api.GROUP}/version"
"""Label: the version of the model a pod serves, or a Job is about: of an analysis the new one."""
REVISION = f"{api.GROUP}/revision"
"""Label of pods and build Jobs: the published revision they serve or build."""
TEMPLATE = f"{api.GROUP}/template"
"""Label of Triton pods: hash of what their template was rendered from, so that other templates can be told apart."""
RENDERED = f"{api.GROUP}/rendered-template"
"""Annotation of Triton Deployments: the pod template as it was applied. It is sent again until its inputs change, so that
another release of the operator, which may render it otherwise, restarts nothing."""
SPEC_DIGEST = f"{api.GROUP}/spec-digest"
"""Annotation of Services, budgets, policies and routes: digest of the spec that was applied last."""
ASKED_AGAIN = f"{api.GROUP}/asked-again"
"""Annotation of a Deployment: when pods that the API server refuses were asked for again last."""
VERIFIED_TEMPLATE = f"{api.GROUP}/verified-template"
"""Annotation of Triton Deployments: the pod template that was verified last, which one that fails goes back to."""
POD_TEMPLATE_HASH = "pod-template-hash"
JOB_NAME = "batch.kubernetes.io/job-name"

VERIFIED_GATE = f"{api.GROUP}/verified"
"""Readiness gate of Triton pods: True once a pod of the same template has given the right answers."""

TRITON, BUILD, VERIFY, PRUNE, ANALYSIS = "triton", "build", "verify", "prune", "analysis"
SERVER = "triton"
"""Container of Triton pods that serves."""
MERGE_CA = "merge-ca"
"""Init container of Triton pods that adds the user's CA to the image's store."""
LOAD = "load-repository"
"""Init container of Triton pods that brings the repository, where spec.storage.loader says so."""
DECODER = "picture-decoder"
"""Init container of Triton pods that brings what decodes pictures, where spec.pictures is enabled."""
AGENT = "agent"
"""Container beside a Triton that several models share."""
MANAGED_SELECTOR = f"{MANAGED_BY}={FIELD_MANAGER}"


def digest(value: object, length: int = 8) -> str:
    """Hex digest of a value's canonical JSON: the same value has the same digest in every process and release."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def canonical(value: object) -> str:
    """A value's JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def parse_canonical(text: str) -> Manifest | None:
    """Read an object back; None where the text was changed by hand into something else."""
    value = parse_object(text)
    return value if "metadata" in value and "spec" in value else None


def parse_object(text: str) -> Manifest:
    """A JSON object; empty where the text is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def versioned(yolo: api.YoloDeployment, version: int) -> str:
    """Name of the Deployment, Service and PodDisruptionBudget of one version."""
    return f"{yolo.name}-v{version}"


def labels(owner: Owner, component: str, version: int | None = None) -> dict[str, str]:
    """Labels of an object that belongs to the resource."""
    base = {
        MANAGED_BY: FIELD_MANAGER,
        NAME: "yolo",
        INSTANCE: owner.name,
        COMPONENT: component,
        owner_label(owner): owner.name,
    }
    return base if version is None else base | {VERSION: str(version)}


def owner_label(owner: Owner) -> str:
    """The label that says whose an object is."""
    return SERVER_OWNER if isinstance(owner, api.YoloServer) else OWNER


def selector(owner: Owner, version: int | None = None) -> dict[str, str]:
    """Selects Triton pods only: without the component, Job pods would become endpoints."""
    base = {owner_label(owner): owner.name, COMPONENT: TRITON}
    return base if version is None else base | {VERSION: str(version)}


def selector_text(selected: Mapping[str, str]) -> str:
    """A selector as kubectl and autoscalers take it."""
    return ",".join(f"{key}={value}" for key, value in sorted(selected.items()))


def metadata(owner: Owner, name: str, component: str, version: int | None = None) -> Manifest:
    """Metadata of a child, owned by the resource; it does not hold up the owner's deletion."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels(owner, component, version),
        "ownerReferences": [
            {
                "apiVersion": api.API_VERSION,
                "kind": owner.KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def is_owned(manifest: Mapping[str, Any], uid: str) -> bool:
    """Whether an object is a child of the resource with this UID."""
    return any(reference.get("uid") == uid for reference in manifest["metadata"].get("ownerReferences", ()))


def label(manifest: Mapping[str, Any], key: str) -> str:
    """Value of a label, empty where there is none."""
    value: str = manifest["metadata"].get("labels", {}).get(key, "")
    return value
