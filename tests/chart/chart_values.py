"""Ways to install the chart that the tests render, lint and show to an API server."""

from typing import Any

DEFAULT: dict[str, Any] = {}
NAMESPACED: dict[str, Any] = {"namespaces": ["factory", "lab"]}
WITH_S3: dict[str, Any] = {"s3.enabled": True}
EVERYTHING: dict[str, Any] = {
    "clusterName": "plant-3",
    "images": {
        "operator": "registry.example:5000/yolo/operator@sha256:" + "0" * 64,
        "exporter": "registry.example:5000/yolo/exporter:1@sha256:" + "1" * 64,
        "pullPolicy": "Always",
        "pullSecrets": [{"name": "registry"}],
    },
    "triton.image": "registry.example:5000/tritonserver:25.08-py3@sha256:" + "2" * 64,
    "triton.maxConcurrentUpdates": 10,
    "storage": {
        "uri": "s3://models/yolo",
        "endpoint": "https://s3.example:443",
        "region": "eu-central-1",
        "secretRef": {"name": "writer"},
        "readSecretRef": {"name": "reader"},
        "caBundleRef": {"name": "s3-ca", "key": "ca.pem"},
        "serverSideEncryption": {"algorithm": "aws:kms", "kmsKeyId": "alias/models"},
        "loader": "InitContainer",
    },
    "jobs": {
        "retryMinSeconds": 5,
        "retryMaxSeconds": 50,
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
    },
    "assetsUrl": "https://mirror.example/assets",
    "hubUrl": "https://hub.example",
    "proxy": {
        "httpProxy": "http://proxy.example:3128",
        "httpsProxy": "http://proxy.example:3129",
        "noProxy": [".svc", "10.0.0.0/8"],
        "secretRef": {"name": "way-out"},
        "caBundleRef": {"name": "proxy-ca", "key": "ca.pem"},
    },
    "assignedUser": True,
    "ipv6": True,
    "workers": 8,
    "resyncSeconds": 60,
    "logs": {"level": "DEBUG", "format": "text"},
    "replicas": 3,
    "serviceAccount": {"name": "someone", "annotations": {"example.com/role": "operator"}},
    "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    "podLabels": {"team": "vision"},
    "podAnnotations": {"example.com/note": "yes"},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "metrics.serviceMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}},
    "s3": {
        "enabled": True,
        "accessKeyId": "key",
        "secretAccessKey": "not-a-secret",
        "persistence": {"enabled": True, "size": "1Gi", "storageClassName": "fast"},
    },
}
ALL = {"defaults": DEFAULT, "namespaced": NAMESPACED, "with S3": WITH_S3, "every option": EVERYTHING}
