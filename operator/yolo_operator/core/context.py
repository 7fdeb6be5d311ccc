"""One pass over one resource: what every step is given, and what it adds to. Knows no step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from yolo_operator.core import api
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class PodChange:
    """Labels and annotations that a pod of a server is to get; None takes one away."""

    pod: Manifest
    labels: Mapping[str, str | None] = field(default_factory=dict)
    annotations: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Plan:
    """What to write: objects to apply, Jobs to create, objects to delete, what is changed in pods, and the status."""

    status: api.Status
    apply: list[Manifest] = field(default_factory=list)
    create: list[Manifest] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    """Names of the Jobs that are waited for, those to create among them."""
    delete: list[Manifest] = field(default_factory=list)
    open_gates: list[Manifest] = field(default_factory=list)
    change_pods: list[PodChange] = field(default_factory=list)
    lost: list[Manifest] = field(default_factory=list)
    """Pods that are to count as ended, whose nodes cannot say so."""
    finalizer: bool = False
    """Whether our finalizer is to be on the resource."""
    requeue_at: datetime | None = None
    """When to look again although no event comes."""
    notice: tuple[str, str] | None = None
    """Reason and message of an Event that no condition carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every step of one pass is given; `result` is what they add to."""

    yolo: api.YoloDeployment
    observed: Observed
    defaults: Defaults
    now: datetime
    result: Plan


def requeue(context: Context, moment: datetime | None) -> None:
    """Look again at that time, if not before."""
    if moment is not None:
        context.result.requeue_at = moment if context.result.requeue_at is None else min(context.result.requeue_at, moment)
