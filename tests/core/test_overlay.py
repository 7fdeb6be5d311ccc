"""What spec.triton.podTemplate makes of the Triton pods, and what it is refused."""

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gen
import manifests
import templates
from simulation import Simulation
from yolo_operator.core import api, drift, names, pod_security
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.resources import overlay


def template_of(part: dict[str, Any]) -> dict[str, Any]:
    """The pod template with a part laid over it."""
    made: dict[str, Any] = manifests.deployment(triton={"podTemplate": part})["spec"]["template"]
    return made


def check(part: dict[str, Any]) -> None:
    overlay.check(api.PodTemplate.model_validate(part))


def refusal(part: dict[str, Any]) -> str:
    with pytest.raises(InvalidSpec) as caught:
        check(part)
    assert caught.value.reason == "PodTemplateInvalid"
    return caught.value.message


# What is merged.


def by(key: str, items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item[key]: item for item in items}


def test_no_part_changes_nothing():
    assert manifests.deployment(triton={"podTemplate": None}) == manifests.deployment()
    plain, empty = manifests.deployment(), manifests.deployment(triton={"podTemplate": {}})
    for made in (plain, empty):
        made["metadata"].pop("annotations")
        made["spec"]["template"]["metadata"]["labels"].pop(names.TEMPLATE)
    assert empty == plain


def test_named_items_are_merged_and_new_ones_follow():
    plain = manifests.deployment()["spec"]["template"]["spec"]
    spec = template_of(manifests.OVERLAY)["spec"]
    assert [container["name"] for container in spec["containers"]] == ["triton", "log-shipper"]
    ours, theirs = plain["containers"][0], spec["containers"][0]
    assert theirs["env"] == [*ours["env"], {"name": "LD_PRELOAD", "value": "/plugins/liboperators.so"}]
    assert theirs["volumeMounts"] == [*ours["volumeMounts"], {"name": "plugins", "mountPath": "/plugins", "readOnly": True}]
    assert {key: value for key, value in theirs.items() if key not in {"env", "volumeMounts"}} == {
        key: value for key, value in ours.items() if key not in {"env", "volumeMounts"}
    }
    assert by("name", spec["volumes"])["shm"] == {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}
    assert [volume["name"] for volume in spec["volumes"]] == [*(volume["name"] for volume in plain["volumes"]), "plugins"]


def test_maps_are_merged_scalars_replaced_tolerations_added():
    spec = template_of(
        {"spec": {"nodeSelector": {"zone": "a"}, "terminationGracePeriodSeconds": 90, "securityContext": {"runAsUser": 7}, "tolerations": [{"key": "mine"}]}}
    )["spec"]
    assert spec["nodeSelector"] == {"accelerator": "a100", "zone": "a"}
    assert spec["terminationGracePeriodSeconds"] == 90
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsNonRoot"]) == (7, True)
    assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu", "mine"]


def test_null_takes_nothing_away():
    part = {"spec": {"securityContext": None, "containers": [{"name": "triton", "args": None, "securityContext": {"runAsNonRoot": None}}], "volumes": None}}
    check(part)
    made = template_of(part)
    plain = manifests.deployment()["spec"]["template"]
    assert made["spec"] == plain["spec"]


def test_labels_and_annotations_are_added():
    metadata = template_of({"metadata": {"labels": {"team": "vision"}, "annotations": {"prometheus.io/scrape": "true"}}})["metadata"]
    plain = manifests.deployment()["spec"]["template"]["metadata"]
    assert metadata["labels"].items() - plain["labels"].items() == {("team", "vision"), (names.TEMPLATE, metadata["labels"][names.TEMPLATE])}
    assert metadata["annotations"] == plain["annotations"] | {"prometheus.io/scrape": "true"}


def test_what_was_given_is_not_changed():
    part = api.PodTemplate.model_validate(manifests.OVERLAY)
    before, base = part.model_dump(), manifests.deployment()["spec"]["template"]
    kept = copy.deepcopy(base)
    overlay.laid_over(base, part)
    assert (part.model_dump(), base) == (before, kept)


def test_only_the_triton_pods_get_it():
    part = {"triton": {"podTemplate": manifests.OVERLAY}}
    assert manifests.build_job(**part) == manifests.build_job()
    assert manifests.analysis_job(**part) == manifests.analysis_job()


# When it rolls.


def test_a_change_rolls_the_pods_and_builds_nothing():
    cluster = Simulation()
    cluster.run()
    before, jobs = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"], cluster.jobs("build")
    cluster.edit(triton={"podTemplate": {"metadata": {"labels": {"team": "vision"}}}})
    cluster.run()
    after = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    assert (after["metadata"]["labels"]["team"], cluster.condition("Ready")) == ("vision", ("True", "Serving"))
    assert before["metadata"]["labels"][names.TEMPLATE] != after["metadata"]["labels"][names.TEMPLATE]
    assert cluster.jobs("build") == jobs
    assert len(cluster.jobs("verify")) == 2, "another template is verified anew"


def test_a_second_pass_differs_in_nothing():
    wanted = manifests.deployment(triton={"podTemplate": manifests.OVERLAY})
    assert drift.differs(wanted, copy.deepcopy(wanted)) is None
    live = copy.deepcopy(wanted)
    live["spec"]["template"]["spec"]["containers"][1]["image"] = "docker.io/example/other:2"
    assert drift.differs(wanted, live) == "spec.template.spec.containers[log-shipper].image"


def test_a_port_has_the_protocol_that_the_api_server_gives_it():
    (port,) = template_of(templates.sidecar(ports=[{"containerPort": 80}]))["spec"]["containers"][1]["ports"]
    assert port == {"containerPort": 80, "protocol": "TCP"}


# What is refused.


@pytest.mark.parametrize(("part", "path"), templates.FORBIDDEN)
def test_what_pod_security_forbids_is_refused_by_its_path(part, path):
    assert f"spec.triton.podTemplate.{path}: forbidden by the restricted Pod Security Standard" in refusal(part)


@pytest.mark.parametrize(
    ("part", "path"),
    [
        pytest.param(
            templates.annotated(**{"container.apparmor.security.beta.kubernetes.io/triton": "unconfined"}),
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/triton]",
            id="AppArmor by annotation",
        ),
        pytest.param({"spec": {"ephemeralContainers": [{"name": "e"}]}}, "spec.ephemeralContainers[e].securityContext", id="an ephemeral container"),
        pytest.param(templates.volume(image={"reference": "a"}), "spec.volumes[more].image", id="a type of volume to come"),
        pytest.param(templates.context(windowsOptions={"hostProcess": True}), "spec.containers[side].securityContext.windowsOptions", id="Windows"),
    ],
)
def test_what_this_api_server_does_not_judge_is_refused_as_well(part, path):
    assert f"spec.triton.podTemplate.{path}" in refusal(part)


@pytest.mark.parametrize("part", templates.ALLOWED)
def test_what_pod_security_allows_is_let_through(part):
    check(part)
    assert list(pod_security.violations(template_of(part))) == []


def server(field: str, value: Any) -> dict[str, Any]:
    return templates.server(**{field: value})


@pytest.mark.parametrize(
    ("part", "path", "remedy"),
    [
        pytest.param({"metadata": {"labels": {names.OWNER: "other"}}}, f"metadata.labels[{names.OWNER}]", "by theirs", id="another resource's Service"),
        pytest.param({"metadata": {"labels": {names.COMPONENT: "build"}}}, f"metadata.labels[{names.COMPONENT}]", "by theirs", id="our component"),
        pytest.param({"metadata": {"labels": {names.JOB_NAME: "a"}}}, f"metadata.labels[{names.JOB_NAME}]", "by theirs", id="a Job's pod"),
        pytest.param({"metadata": {"annotations": {f"{api.GROUP}/a": ""}}}, f"metadata.annotations[{api.GROUP}/a]", "by theirs", id="our annotations"),
        pytest.param({"spec": {"serviceAccountName": "admin"}}, "spec.serviceAccountName", "use spec.serviceAccountName", id="a service account"),
        pytest.param({"spec": {"serviceAccount": "admin"}}, "spec.serviceAccount", "use spec.serviceAccountName", id="its old name"),
        pytest.param({"spec": {"automountServiceAccountToken": True}}, "spec.automountServiceAccountToken", "no pod of the operator", id="a token"),
        pytest.param(
            templates.volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}),
            "spec.volumes[more].projected.sources.serviceAccountToken",
            "no pod of the operator",
            id="a token by a volume",
        ),
        pytest.param({"spec": {"readinessGates": []}}, "spec.readinessGates", "spec.rollout.verify", id="the gate"),
        pytest.param({"spec": {"restartPolicy": "Never"}}, "spec.restartPolicy", "always restarted", id="the restart policy"),
        pytest.param({"spec": {"nodeName": "a"}}, "spec.nodeName", "use spec.nodeSelector", id="a node"),
        pytest.param(server("image", "a"), "spec.containers[triton].image", "use spec.triton.image", id="the image"),
        pytest.param(server("command", ["sh"]), "spec.containers[triton].command", "use spec.triton.image", id="the command"),
        pytest.param(server("args", ["--log-verbose=1"]), "spec.containers[triton].args", "verification relies", id="the arguments"),
        pytest.param(server("ports", [{"containerPort": 1}]), "spec.containers[triton].ports", "Services and routes", id="the ports"),
        pytest.param(server("readinessProbe", {}), "spec.containers[triton].readinessProbe", "the model itself", id="readiness"),
        pytest.param(server("livenessProbe", {}), "spec.containers[triton].livenessProbe", "the model itself", id="liveness"),
        pytest.param(server("startupProbe", {}), "spec.containers[triton].startupProbe", "the model itself", id="startup"),
        pytest.param(server("lifecycle", {}), "spec.containers[triton].lifecycle", "leave the endpoints", id="the quiet end"),
        pytest.param(server("resources", {}), "spec.containers[triton].resources", "use spec.triton.resources", id="resources"),
        pytest.param(server("terminationMessagePath", "/a"), "spec.containers[triton].terminationMessagePath", "last words", id="last words"),
        pytest.param(server("env", [{"name": "POD_UID"}]), "spec.containers[triton].env[POD_UID]", "Triton needs it", id="a variable of ours"),
        pytest.param(
            server("securityContext", {"readOnlyRootFilesystem": False}),
            "spec.containers[triton].securityContext.readOnlyRootFilesystem",
            "emptyDir",
            id="a writable image",
        ),
        pytest.param(
            {"spec": {"initContainers": [{"name": "merge-ca", "image": "a"}]}},
            "spec.initContainers[merge-ca]",
            "spec.storage.caBundleRef",
            id="our init container",
        ),
        pytest.param(
            {"spec": {"initContainers": [{"name": "load-repository", "image": "a"}]}},
            "spec.initContainers[load-repository]",
            "spec.storage.loader",
            id="our other init container",
        ),
        pytest.param({"spec": {"containers": [{"image": "a"}]}}, "spec.containers[0].name", "is missing", id="a container without a name"),
        pytest.param({"spec": {"containers": ["a"]}}, "spec.containers[0].name", "is missing", id="a container that is none"),
        pytest.param({"spec": {"containers": {"name": "a"}}}, "spec.containers", "a list is wanted", id="containers that are no list"),
        pytest.param({"spec": {"initContainers": "a"}}, "spec.initContainers", "a list is wanted", id="init containers that are no list"),
        pytest.param({"spec": {"securityContext": 1}}, "spec.securityContext", "an object is wanted", id="a context that is no object"),
    ],
)
def test_what_is_ours_is_refused_with_what_to_use_instead(part, path, remedy):
    message = refusal(part)
    assert f"spec.triton.podTemplate.{path}: " in message
    assert remedy in message


def test_every_fault_is_named_at_once():
    message = refusal({"spec": {"hostNetwork": True, "nodeName": "a", "containers": [{"name": "triton", "image": "b"}]}})
    assert [field for field in ("spec.hostNetwork", "spec.nodeName", "containers[triton].image") if field not in message] == []


def test_all_that_we_label_and_set_ourselves_is_ours():
    for make in (manifests.deployment, manifests.deployment_cpu):
        template = make()["spec"]["template"]
        ours = template["metadata"]["labels"].keys() - {key for key in template["metadata"]["labels"] if key.startswith(f"{api.GROUP}/")}
        assert ours <= overlay.LABELS
        assert {entry["name"] for entry in template["spec"]["containers"][0]["env"]} <= overlay.ENV


@pytest.mark.parametrize("name", [name for name, make in manifests.GOLDENS.items() if "template" in make().get("spec", {})])
def test_all_our_own_pods_keep_to_the_standard(name):
    assert list(pod_security.violations(manifests.GOLDENS[name]()["spec"]["template"])) == []


KEYS = st.sampled_from(
    ["containers", "initContainers", "volumes", "env", "ports", "name", "securityContext", "projected", "sources", "sysctls", "capabilities", "drop", "image"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["triton", "merge-ca", "ALL", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, ANYTHING, max_size=5))
def test_whatever_is_written_there_is_taken_or_refused(spec):
    with contextlib.suppress(InvalidSpec):
        overlay.check(api.PodTemplate(spec=spec))
        made = template_of({"spec": spec})
        assert made["metadata"]["labels"].items() >= names.selector(gen.yolo(), 1).items()
        assert list(pod_security.violations(made)) == []
