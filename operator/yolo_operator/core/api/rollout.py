"""`spec.rollout`: how a change reaches the pods."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from yolo_operator.core.api.fields import MAX_VERSION, Duration, IntOrPercent, LocalReference, Model, pictures_rule, rules


class Verify(Model):
    """The inference every pod template has to answer rightly before the readiness gate of one of its pods is opened."""

    enabled: bool = True
    """Off: pods are ready as soon as Triton is; nothing proves that its answers are right."""
    min_iou: Annotated[float | None, Field(ge=0, le=1, alias="minIoU")] = None
    """Least overlap (intersection over union) of a served box with the reference's. Default by precision: 0.98 FP32, 0.95 FP16, 0.75 INT8."""
    max_score_difference: Annotated[float | None, Field(ge=0, le=1)] = None
    """Largest difference of a served score from the reference's. Default by precision: 0.02 FP32, 0.05 FP16, 0.25 INT8."""


class Step(Model):
    """One step of a canary."""

    weight: int = Field(ge=1, le=100)
    """Percent of the requests that the new version gets."""
    duration: Duration = Field(default=timedelta(minutes=1))
    """How long the step lasts once the new version has its share, for example 2m. The analysis watches for that time."""


class Analysis(Model):
    """What is compared between the new version and the stable one, at every step."""

    enabled: bool = True
    """Off: a step lasts its duration and no figures are read."""
    pictures: Annotated[str | None, Field(max_length=1024, json_schema_extra=pictures_rule("spec.rollout.analysis.pictures"))] = None
    """s3://BUCKET/PREFIX with pictures that both versions are shown, at most 64 of them. Default: the golden picture of the stable version."""
    secret_ref: LocalReference | None = None
    """Secret with the AWS keys for the pictures. Default: that of the storage."""
    min_requests: int = Field(default=0, ge=0, le=1_000_000)
    """Requests the new version must have answered during the step; with fewer the analysis is inconclusive."""
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    """Largest share of failed requests of the new version, 0 to 1."""
    max_latency_ratio: float = Field(default=2.0, ge=0.1, le=100)
    """Largest mean time of a request, as a multiple of the stable version's."""
    max_queue_milliseconds: Annotated[float | None, Field(ge=0, le=600_000)] = None
    """Largest mean time a request waits in the queue, in milliseconds. Default: not limited."""
    max_detections_ratio: float = Field(default=3.0, ge=1, le=1000)
    """Detections per picture may be so many times more or fewer than the stable version's."""
    max_class_distance: float = Field(default=0.5, ge=0, le=1)
    """Largest distance between the two histograms of classes found: 0 the same, 1 nothing in common."""
    max_confidence_difference: float = Field(default=0.3, ge=0, le=1)
    """Largest difference of the mean confidence from the stable version's."""
    min_agreement: float = Field(default=0.5, ge=0, le=1)
    """Least share of the stable version's detections that the new one has too: the same class and boxes that overlap by half."""


class Rollout(Model):
    """How a change reaches the pods."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.strategy) && self.strategy == 'Canary') || !has(self.steps) || self.steps.size() == 0",
                "spec.rollout.steps go with spec.rollout.strategy Canary: set it, or remove the steps",
            ),
            (
                "!has(self.maxSurge) || (self.maxSurge != 0 && self.maxSurge != '0%') "
                "|| (has(self.maxUnavailable) && self.maxUnavailable != 0 && self.maxUnavailable != '0%')",
                "spec.rollout.maxSurge and spec.rollout.maxUnavailable cannot both be 0, or no pod could ever be replaced: set one of them to 1 or more",
            ),
        )
    )

    verify: Verify = Field(default_factory=Verify)
    """What a pod must answer before it gets traffic."""
    progress_deadline: Duration = Field(default=timedelta(minutes=30), ge=timedelta(minutes=1), le=timedelta(days=1))
    """How long a new pod template may take to become ready (engine build and verification included) before it is reported, for example 30m.
    A canary that takes longer to get its share is aborted."""
    max_surge: IntOrPercent = 1
    """New pods that a version may have besides its replicas while they are replaced: a number, or a percentage of them, rounded up. Each needs a GPU."""
    max_unavailable: IntOrPercent = 0
    """Pods of a version that may end before their successors are ready: a number, or a percentage of its replicas, rounded down. 0: nothing that serves
    stops for an update. More: what is left has to answer everything meanwhile. One pod always stays: that of a single replica ends first only with gpu
    InPlace."""
    gpu: Literal["Auto", "Surge", "InPlace"] = "Auto"
    """A new pod when all GPUs are taken. Surge: it waits for a free one. InPlace: old pods make room, maxUnavailable at a time, at least one.
    Auto: it waits for surgeTimeout, then in place, if 2 or more pods are ready."""
    surge_timeout: Duration = Field(default=timedelta(minutes=10))
    """How long Auto waits for a GPU, for example for a node to be added, before it replaces in place."""
    strategy: Literal["Weighted", "Canary"] = "Weighted"
    """Weighted: spec.versions[].weight are the shares. Canary: the newest version takes over from the stable one step by step."""
    steps: list[Step] = Field(default_factory=list, max_length=20)
    """Steps of the canary, each with the same weight as the one before or more. None: all at once, when it is verified."""
    analysis: Analysis = Field(default_factory=Analysis)
    """What is compared at every step, and how far apart it may be."""
    auto_promote: bool = True
    """Off: after the last step the canary waits for spec.rollout.promote."""
    scale_down_delay: Duration = Field(default=timedelta(0))
    """How long the old version's pods are kept after the new one has all traffic, with spec.traffic.mode Gateway."""
    paused: bool = False
    """The canary stays at its step; its share stays as it is."""
    promote: Annotated[int | None, Field(ge=1, le=MAX_VERSION)] = None
    """Number of a version that skips the steps it has left. It must be available and verified all the same."""
    abort: Annotated[int | None, Field(ge=1, le=MAX_VERSION)] = None
    """Number of a version that gets no traffic: its canary ends and the stable version has all. Remove it to begin again."""
    retry: Annotated[str | None, Field(max_length=63)] = None
    """Another value begins a failed or inconclusive canary anew, for example a date."""
