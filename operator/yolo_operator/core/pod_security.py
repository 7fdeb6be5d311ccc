"""What the restricted Pod Security Standard forbids in a pod template. Pure; knows nothing of where the template came from.

Namespaces need not enforce the standard, and the operator makes Pods where a user may not: so it looks itself. Written from
https://kubernetes.io/docs/concepts/security/pod-security-standards/ as of Kubernetes 1.34, baseline and restricted, without
the exceptions for Windows and user namespaces. What is of the wrong type is left to the API server, which refuses it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Violation = tuple[str, str]
"""Path within the template, and what is allowed there."""

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
VOLUMES = frozenset({"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"})
HOST = ("hostNetwork", "hostPID", "hostIPC")
PROFILES = (None, "RuntimeDefault", "Localhost")
CONTEXT: Mapping[str, tuple[Any, ...]] = {
    "privileged": (None, False),
    "procMount": (None, "Default"),
    "runAsNonRoot": (None, True),
    "seccompProfile.type": PROFILES,
    "appArmorProfile.type": PROFILES,
    "seLinuxOptions.type": (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"),
    "seLinuxOptions.user": (None, ""),
    "seLinuxOptions.role": (None, ""),
    "windowsOptions.hostProcess": (None, False),
}
"""Values of a securityContext, of the pod or of a container; None: not set."""
SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
)
CAPABILITY = "NET_BIND_SERVICE"
"""The only one that may be added."""
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
"""Annotation, a container's name behind it: what appArmorProfile was before 1.30."""
ASKERS = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop")
"""What the kubelet runs, from the node's own network: with a host of its own it would ask anything that the node can reach."""


def violations(template: Mapping[str, Any]) -> Iterator[Violation]:
    """Every field of the template that the standard forbids, or lacks."""
    annotations = get(template, "metadata.annotations")
    for key, value in annotations.items() if isinstance(annotations, Mapping) else ():
        if key.startswith(APPARMOR) and value != "runtime/default" and not str(value).startswith("localhost/"):
            yield f"metadata.annotations[{key}]", "runtime/default or localhost/… only"
    spec = template["spec"]
    for field in HOST:
        if get(spec, field):
            yield f"spec.{field}", "the node's namespaces are closed to pods"
    yield from of_volumes(spec)
    yield from of_context(get(spec, "securityContext"), "spec.securityContext")
    for index, entry in enumerate(items(get(spec, "securityContext.sysctls"))):
        if get(entry, "name") not in SYSCTLS:
            yield f"spec.securityContext.sysctls[{index}]", "safe sysctls only"
    for kind in CONTAINERS:
        for container in items(get(spec, kind)):
            yield from of_container(container, spec, f"spec.{kind}[{get(container, 'name')}]")


def of_volumes(spec: Mapping[str, Any]) -> Iterator[Violation]:
    """Volumes of another type than those that are the namespace's own."""
    for volume in items(get(spec, "volumes")):
        for kind in sorted(set(volume if isinstance(volume, Mapping) else ()) - VOLUMES - {"name"}):
            yield f"spec.volumes[{get(volume, 'name')}].{kind}", f"of all types of volumes only {', '.join(sorted(VOLUMES))}"


def of_context(context: Any, path: str) -> Iterator[Violation]:
    """What a securityContext may not say, be it the pod's or a container's."""
    for field, allowed in CONTEXT.items():
        if get(context, field) not in allowed:
            yield f"{path}.{field}", f"{' or '.join(str(value).lower() if isinstance(value, bool) else value for value in allowed if value) or 'nothing'} only"
    if get(context, "runAsUser") == 0:
        yield f"{path}.runAsUser", "any user but root"


def of_container(container: Any, spec: Mapping[str, Any], path: str) -> Iterator[Violation]:
    """What a container may not say, and what it or its pod must."""
    context = f"{path}.securityContext"
    yield from of_context(get(container, "securityContext"), context)
    if get(container, "securityContext.allowPrivilegeEscalation") is not False:
        yield f"{context}.allowPrivilegeEscalation", "false, written out"
    if "ALL" not in items(get(container, "securityContext.capabilities.drop")):
        yield f"{context}.capabilities.drop", "[ALL], written out"
    if any(added != CAPABILITY for added in items(get(container, "securityContext.capabilities.add"))):
        yield f"{context}.capabilities.add", f"{CAPABILITY} only"
    for field, remedy in (("runAsNonRoot", "true, here or for the pod"), ("seccompProfile.type", "RuntimeDefault, here or for the pod")):
        if get(container, f"securityContext.{field}") is None and get(spec, f"securityContext.{field}") is None:
            yield f"{context}.{field}", remedy
    for port in items(get(container, "ports")):
        if get(port, "hostPort"):
            yield f"{path}.ports[{get(port, 'containerPort')}].hostPort", "a pod takes no port of its node"
    for asker in ASKERS:
        for action in ("httpGet", "tcpSocket"):
            if get(container, f"{asker}.{action}.host"):
                yield f"{path}.{asker}.{action}.host", "the kubelet asks the pod itself only"


def get(value: Any, path: str) -> Any:
    """What lies at a dotted path; None where nothing does."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def items(value: Any) -> list[Any]:
    """A list's items; none where it is no list."""
    return value if isinstance(value, list) else []
