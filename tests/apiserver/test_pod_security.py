"""The API server's own Pod Security agrees with ours: what we refuse it refuses, what we let through it takes, in a namespace that enforces it."""

import pytest

import manifests
import templates
from apiserver.conftest import older_than
from yolo_operator.core import api
from yolo_operator.core.resources import overlay

pytestmark = pytest.mark.cluster


def pod_of(part):
    """The Pod that would come of our template with a part laid over it."""
    base = manifests.deployment_cpu()["spec"]["template"]
    template = overlay.laid_over(base, api.PodTemplate.model_validate(part))
    return {"apiVersion": "v1", "kind": "Pod", **template, "metadata": template["metadata"] | {"name": "overlaid"}}


SINCE = {"procMount": (1, 33), "httpGet.host": (1, 34), "tcpSocket.host": (1, 34)}
"""From which release of Kubernetes on Pod Security forbids what we always do; before that the first is a field that nothing reads."""


@pytest.mark.parametrize(("part", "path"), templates.FORBIDDEN)
def test_what_we_forbid_is_forbidden(kubectl, part, path):
    if any(path.endswith(field) and older_than(*release) for field, release in SINCE.items()):
        pytest.skip("this release lets it through; we do not")
    answer = kubectl.apply(pod_of(part), "--dry-run=server", "--validate=strict")
    assert not answer.ok, f"{path} is accepted"
    assert "violates PodSecurity" in answer.err or "is invalid" in answer.err, answer.err


@pytest.mark.parametrize("part", templates.ALLOWED)
def test_what_we_allow_is_allowed(kubectl, part):
    answer = kubectl.apply(pod_of(part), "--dry-run=server", "--validate=strict")
    assert answer.ok, answer.err


def test_an_overlaid_deployment_is_accepted_as_it_is(kubectl):
    made = manifests.GOLDENS["triton_deployment_overlay.yaml"]()
    answer = kubectl.apply(made, "--server-side", "--dry-run=server", "--validate=strict")
    assert answer.ok, answer.err
