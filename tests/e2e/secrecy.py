"""No secret is told: what the tests know as secret is looked for in all that the operator, its Jobs and Triton leave behind."""

import base64
import json
import re

from e2e.cluster import Cluster
from e2e.storage import SECRET

KINDS = "yolodeployments,yoloservers,deployments,services,poddisruptionbudgets,jobs,pods,events"
"""Whole: their specs name Secrets and hold none, Pods' statuses have the termination messages."""
OURS = ("yolo-operator.io/deployment", "yolo-operator.io/server")
TELLTALE = re.compile(
    "|".join(
        [
            SECRET,
            base64.b64encode(SECRET.encode()).decode(),  # of 12 characters: what follows them does not change it
            "X-Amz-(Signature|Security-Token)=",
            "(AWSAccessKeyId|[?&][Ss]ignature)=",
            "[Bb]earer [A-Za-z0-9._-]{20}",
            r"eyJ[A-Za-z0-9_-]{10,}\.eyJ",  # a service account's token
            "-----BEGIN [A-Z ]*PRIVATE KEY",
        ]
    )
)


def check(what: str, text: str) -> None:
    """Fail where a text tells a secret, or signs something."""
    found = TELLTALE.search(text)
    assert found is None, f"{what} tells a secret: …{text[max(0, found.start() - 200) : found.end() + 100]}…"


def check_namespace(cluster: Cluster, namespace: str) -> None:
    """All that a namespace shows: objects, Events, and the logs of the operator's Pods."""
    for each in cluster.list(KINDS, namespace):
        check(f"{each['kind']} {namespace}/{each['metadata']['name']}", json.dumps(each))
    # Containers that have not started have no log, which is no error here.
    everything = ("--all-containers", "--prefix", "--tail=-1", "--ignore-errors", "--max-log-requests=200")
    for label in OURS:
        check(f"a log in {namespace}", cluster.kubectl("logs", "-n", namespace, "-l", label, *everything))
