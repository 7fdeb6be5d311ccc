"""A real S3 server in the cluster, with a tenant per set of keys, and what the tests put into it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from e2e.cluster import Cluster, Manifest

NAMESPACE = "e2e-storage"
ENDPOINT = f"http://s3.{NAMESPACE}.svc:8333"
IMAGE = "docker.io/chrislusf/seaweedfs"
SECRET = "do-not-print"
"""What every secret of the tests begins with: secrecy.py looks for it everywhere."""
ADMIN = ("admin-key", f"{SECRET}-admin")
WRITER = ("writer-key", f"{SECRET}-writer")
"""May read and write any bucket and make none, as most people's keys; the server makes a missing bucket for ADMIN."""
TENANTS = {"tenant-a": ("tenant-a-key", f"{SECRET}-a"), "tenant-b": ("tenant-b-key", f"{SECRET}-b")}
PUBLIC = "public"
"""Read by anybody over plain http."""
BUCKETS = ("models", "weights", PUBLIC, "tenant-a", "tenant-b")


def identities() -> Manifest:
    """SeaweedFS's accounts: one may do all, each tenant only what is in its own bucket."""

    def account(name: str, keys: tuple[str, str], actions: list[str]) -> Manifest:
        return {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": actions}

    tenants = [account(name, keys, [f"{action}:{name}" for action in ("Read", "Write", "List", "Tagging")]) for name, keys in TENANTS.items()]
    writer = account("writer", WRITER, ["Read", "Write", "List", "Tagging"])
    return {"identities": [account("admin", ADMIN, ["Admin", "Read", "Write", "List", "Tagging"]), writer, *tenants]}


def manifests(image: str, namespace: str = NAMESPACE) -> list[Manifest]:
    """The server: one Pod, nothing kept."""
    metadata, accounts = {"name": "s3", "namespace": namespace}, json.dumps(identities())
    arguments = ["mini", "-dir=/data", "-s3.config=/etc/s3/config.json", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    container = {
        "name": "s3",
        "image": image,
        "command": ["weed"],
        "args": [*arguments, "-admin.ui=false", "-ip.bind=0.0.0.0"],
        "readinessProbe": {"tcpSocket": {"port": 8333}, "periodSeconds": 1},
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in (("data", "/data"), ("tmp", "/tmp"), ("config", "/etc/s3"))],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3-config", "namespace": namespace},
            "stringData": {"config.json": json.dumps(identities())},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": {"app": "s3"}},
                "template": {
                    # Read at its start only: other accounts are another Pod.
                    "metadata": {"labels": {"app": "s3"}, "annotations": {"accounts": hashlib.sha256(accounts.encode()).hexdigest()[:8]}},
                    "spec": {
                        "enableServiceLinks": False,
                        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532},
                        "containers": [container],
                        "volumes": [
                            {"name": "data", "emptyDir": {}},
                            {"name": "tmp", "emptyDir": {}},
                            {"name": "config", "secret": {"secretName": "s3-config"}},
                        ],
                    },
                },
            },
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": {"app": "s3"}, "ports": [{"port": 8333}]}},
    ]


class Storage:
    """The S3 server, seen from the tests' side of the network."""

    def __init__(self, cluster: Cluster, image: str) -> None:
        cluster.apply(*manifests(image))
        cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/s3", "--timeout=120s", timeout=130)
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://{cluster.service_ip(NAMESPACE, 's3')}:8333",
            aws_access_key_id=ADMIN[0],
            aws_secret_access_key=ADMIN[1],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required", response_checksum_validation="when_required"),
        )
        there = {bucket["Name"] for bucket in self.client.list_buckets().get("Buckets", [])}
        for bucket in sorted(set(BUCKETS) - there):
            self.client.create_bucket(Bucket=bucket)
        everybody = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{PUBLIC}/*"]}
        self.client.put_bucket_policy(Bucket=PUBLIC, Policy=json.dumps({"Version": "2012-10-17", "Statement": [everybody]}))

    def put(self, bucket: str, key: str, content: bytes | Path) -> str:
        """Store an object; returns its s3:// URI."""
        self.client.put_object(Bucket=bucket, Key=key, Body=content if isinstance(content, bytes) else content.read_bytes())
        return f"s3://{bucket}/{key}"

    def get(self, bucket: str, key: str) -> bytes:
        """An object's content."""
        content: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """All keys below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


def secret(namespace: str, name: str = "s3-credentials", keys: tuple[str, str] = ADMIN) -> Manifest:
    """The Secret a storage.secretRef names."""
    data = {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": data}
