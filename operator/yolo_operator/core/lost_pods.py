"""Pods whose node does not answer any more. Nobody there says that they have ended: unless somebody else does, Kubernetes waits for it for as long as there is the Node.

A Job of ours makes no other Pod before the one it had has ended, and a resource that is being deleted waits for its builds. So after a while they are said
to have failed, as Kubernetes' own garbage collector of Pods does it once the Node is gone. A build that still ran on a node without a network publishes what
is published already, or what its Job publishes meanwhile: its manifest comes last, and only over files that are whole.
"""

from datetime import timedelta

from yolo_operator.core import clock, pods
from yolo_operator.core.context import Context, requeue

GIVEN_UP_AFTER = timedelta(seconds=60)
"""After the moment at which a Pod was to have ended, its grace period over."""


def give_up_step(context: Context) -> None:
    """Say of Pods that they have ended which should have, and whose nodes are silent."""
    for pod in filter(pods.is_leaving, context.observed.pods):
        moment = clock.parse(pod["metadata"]["deletionTimestamp"]) + GIVEN_UP_AFTER
        if context.now >= moment:
            context.result.lost.append(pod)
        else:
            requeue(context, moment)
