"""Pod templates for tests of what may be laid over ours: what the restricted Pod Security Standard forbids, and what it lets through.

tests/core shows what we make of them, tests/apiserver what the API server's own Pod Security says.
"""

from typing import Any

import pytest

Manifest = dict[str, Any]

HARDENED: Manifest = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def sidecar(**more: Any) -> Manifest:
    """A template with a container besides ours; keywords are its fields."""
    return {"spec": {"containers": [{"name": "side", "image": "busybox:1", "securityContext": HARDENED} | more]}}


def context(**more: Any) -> Manifest:
    """The same with fields of its securityContext."""
    return sidecar(securityContext=HARDENED | more)


def first(container: Manifest) -> Manifest:
    """A template with an init container."""
    return {"spec": {"initContainers": [{"name": "first", "image": "busybox:1", "securityContext": HARDENED} | container]}}


def pod(**context: Any) -> Manifest:
    """A template with fields of the pod's securityContext."""
    return {"spec": {"securityContext": context}}


def server(**container: Any) -> Manifest:
    """A template with fields of the container that serves."""
    return {"spec": {"containers": [{"name": "triton"} | container]}}


def volume(**kind: Any) -> Manifest:
    """A template with a volume."""
    return {"spec": {"volumes": [{"name": "more"} | kind]}}


def annotated(**annotations: str) -> Manifest:
    return {"metadata": {"annotations": annotations}}


SIDE, SERVER = "spec.containers[side]", "spec.containers[triton]"
FORBIDDEN = [
    pytest.param({"spec": {"hostNetwork": True}}, "spec.hostNetwork", id="the node's network"),
    pytest.param({"spec": {"hostPID": True}}, "spec.hostPID", id="the node's processes"),
    pytest.param({"spec": {"hostIPC": True}}, "spec.hostIPC", id="the node's shared memory"),
    pytest.param(volume(hostPath={"path": "/"}), "spec.volumes[more].hostPath", id="a path of the node"),
    pytest.param(volume(nfs={"server": "a", "path": "/"}), "spec.volumes[more].nfs", id="NFS"),
    pytest.param(volume(gitRepo={"repository": "https://example.com"}), "spec.volumes[more].gitRepo", id="gitRepo"),
    pytest.param(volume(iscsi={"targetPortal": "a", "iqn": "iqn.a.b:c", "lun": 0}), "spec.volumes[more].iscsi", id="iSCSI"),
    pytest.param(pod(runAsNonRoot=False), "spec.securityContext.runAsNonRoot", id="a pod that may be root"),
    pytest.param(pod(runAsUser=0), "spec.securityContext.runAsUser", id="a pod that is root"),
    pytest.param(pod(seccompProfile={"type": "Unconfined"}), "spec.securityContext.seccompProfile.type", id="a pod without seccomp"),
    pytest.param(pod(appArmorProfile={"type": "Unconfined"}), "spec.securityContext.appArmorProfile.type", id="a pod without AppArmor"),
    pytest.param(pod(seLinuxOptions={"type": "spc_t"}), "spec.securityContext.seLinuxOptions.type", id="an SELinux type"),
    pytest.param(pod(seLinuxOptions={"user": "root"}), "spec.securityContext.seLinuxOptions.user", id="an SELinux user"),
    pytest.param(pod(sysctls=[{"name": "kernel.msgmax", "value": "1"}]), "spec.securityContext.sysctls[0]", id="a sysctl"),
    pytest.param(pod(windowsOptions={"hostProcess": True}), "spec.securityContext.windowsOptions.hostProcess", id="a process of the node"),
    pytest.param(context(privileged=True), f"{SIDE}.securityContext.privileged", id="a privileged sidecar"),
    pytest.param(context(allowPrivilegeEscalation=True), f"{SIDE}.securityContext.allowPrivilegeEscalation", id="a sidecar that may escalate"),
    pytest.param(sidecar(securityContext={"capabilities": {"drop": ["ALL"]}}), f"{SIDE}.securityContext.allowPrivilegeEscalation", id="one that does not say"),
    pytest.param(sidecar(securityContext={"allowPrivilegeEscalation": False}), f"{SIDE}.securityContext.capabilities.drop", id="one that drops nothing"),
    pytest.param(context(capabilities={"drop": ["NET_RAW"]}), f"{SIDE}.securityContext.capabilities.drop", id="one that drops too little"),
    pytest.param(context(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}), f"{SIDE}.securityContext.capabilities.add", id="a capability"),
    pytest.param(context(runAsNonRoot=False), f"{SIDE}.securityContext.runAsNonRoot", id="a sidecar that may be root"),
    pytest.param(context(runAsUser=0), f"{SIDE}.securityContext.runAsUser", id="a sidecar that is root"),
    pytest.param(context(seccompProfile={"type": "Unconfined"}), f"{SIDE}.securityContext.seccompProfile.type", id="a sidecar without seccomp"),
    pytest.param(context(procMount="Unmasked"), f"{SIDE}.securityContext.procMount", id="all of /proc"),
    pytest.param(sidecar(ports=[{"containerPort": 80, "hostPort": 80}]), f"{SIDE}.ports[80].hostPort", id="a port of the node"),
    pytest.param(
        sidecar(livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}}), f"{SIDE}.livenessProbe.httpGet.host", id="a probe of somebody else"
    ),
    pytest.param(
        sidecar(lifecycle={"postStart": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}), f"{SIDE}.lifecycle.postStart.tcpSocket.host", id="a hook as well"
    ),
    pytest.param(first({"securityContext": {}}), "spec.initContainers[first].securityContext.allowPrivilegeEscalation", id="an init container"),
    pytest.param(server(securityContext={"privileged": True}), f"{SERVER}.securityContext.privileged", id="a privileged server"),
    pytest.param(server(securityContext={"allowPrivilegeEscalation": True}), f"{SERVER}.securityContext.allowPrivilegeEscalation", id="one that may escalate"),
    pytest.param(server(securityContext={"capabilities": {"drop": []}}), f"{SERVER}.securityContext.capabilities.drop", id="one that drops nothing any more"),
    pytest.param(server(securityContext={"runAsUser": 0}), f"{SERVER}.securityContext.runAsUser", id="one that is root"),
]
"""Template, and the path that is named."""

ALLOWED = [
    pytest.param({}, id="nothing"),
    pytest.param(sidecar(), id="a hardened sidecar"),
    pytest.param(sidecar(ports=[{"containerPort": 80}]), id="a port of a sidecar"),
    pytest.param(first({"restartPolicy": "Always"}), id="a sidecar among the init containers"),
    pytest.param(context(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}), id="low ports"),
    pytest.param(pod(runAsUser=1001, fsGroup=2000, supplementalGroups=[3000]), id="another user"),
    pytest.param(pod(seccompProfile={"type": "Localhost", "localhostProfile": "a.json"}), id="a stricter seccomp profile"),
    pytest.param(pod(sysctls=[{"name": "net.ipv4.tcp_keepalive_time", "value": "60"}]), id="a safe sysctl"),
    pytest.param(volume(emptyDir={}), id="an emptyDir"),
    pytest.param(volume(configMap={"name": "a"}), id="a ConfigMap"),
    pytest.param(volume(persistentVolumeClaim={"claimName": "a"}), id="a claim"),
    pytest.param(volume(projected={"sources": [{"configMap": {"name": "a"}}]}), id="a projected volume"),
    pytest.param(server(env=[{"name": "MORE", "value": "1"}]), id="a variable of the server"),
    pytest.param(server(securityContext={"runAsUser": 1001}), id="another user of the server"),
]
