"""Judges the analysis of a canary's step: figures and limits in, verdict and message out.

The figures are gathered by exporter/analyze.py; what may be unequal is spec.rollout.analysis.
"""

from collections.abc import Sequence

from yolo_operator.core import api
from yolo_operator.core.contract import Comparison, camel

LIMITS = tuple(name for name in api.Analysis.model_fields if name not in {"enabled", "pictures", "secret_ref"})
"""Fields of spec.rollout.analysis that limit a figure; each is a flag of `yolo-operator analyze`."""
MIN_LATENCY_REQUESTS = 10
"""Requests that each version must have had before their mean latencies are compared."""
MESSAGE_LIMIT = 900
"""Characters; with the figures around it the result must fit into a termination message."""


def flag(limit: str) -> str:
    """The flag of a limit: --max-error-rate."""
    return f"--{limit.replace('_', '-')}"


def judge(found: Comparison, limits: api.Analysis, *, faults: Sequence[str] = (), doubts: Sequence[str] = (), notes: Sequence[str] = ()) -> Comparison:
    """The same figures with their verdict.

    `faults` fail whatever the figures are, `doubts` make a verdict impossible unless something fails, `notes` are only said.
    """
    failed = [*faults, *exceeded(found, limits)]
    unsure = [*doubts, *too_few(found, limits)]
    verdict = "Fail" if failed else "Inconclusive" if unsure else "Pass"
    message = "; ".join([*failed, *unsure, *notes])
    if len(message) > MESSAGE_LIMIT:
        message = f"{message[: MESSAGE_LIMIT - 3]}..."
    return found.model_copy(update={"verdict": verdict, "message": message})


def exceeded(found: Comparison, limits: api.Analysis) -> list[str]:
    """A sentence for every figure that could be had and is beyond its limit."""
    at_most = [
        ("error rate", found.error_rate, "max_error_rate"),
        ("mean latency as a multiple of the stable version's", latency_ratio(found), "max_latency_ratio"),
        ("mean queue time in milliseconds", found.queue_milliseconds, "max_queue_milliseconds"),
        ("detections, times more or fewer than the stable version's,", detections_ratio(found), "max_detections_ratio"),
        ("distance of the class histograms", found.class_distance, "max_class_distance"),
        ("difference of the mean confidences", confidence_difference(found), "max_confidence_difference"),
    ]
    said = [
        f"{what} {figure:.4g} is over {limit:g} ({path(field)})"
        for what, figure, field in at_most
        if figure is not None and (limit := getattr(limits, field)) is not None and figure > limit
    ]
    if found.agreement is not None and found.agreement < limits.min_agreement:
        said.append(f"agreement {found.agreement:.4g} is under {limits.min_agreement:g} ({path('min_agreement')})")
    return said


def too_few(found: Comparison, limits: api.Analysis) -> list[str]:
    """A sentence where the new version has had fewer requests than a verdict needs."""
    if found.requests >= limits.min_requests:
        return []
    return [f"{found.requests} of {limits.min_requests} requests ({path('min_requests')})"]


def latency_ratio(found: Comparison) -> float | None:
    """Mean latency as a multiple of the stable version's; None after too few requests for a mean that says something."""
    ours, theirs = found.latency_milliseconds, found.stable_latency_milliseconds
    if ours is None or not theirs or min(found.requests, found.stable_requests) < MIN_LATENCY_REQUESTS:
        return None
    return ours / theirs


def detections_ratio(found: Comparison) -> float | None:
    """How many times more or fewer detections: 3 for thrice as many and for a third.

    None at all counts as one, so that a single detection where there was none is no infinite multiple.
    """
    ours, theirs = found.detections_per_picture, found.stable_detections_per_picture
    if ours is None or theirs is None:
        return None
    fewer, more = sorted(max(each * found.pictures, 1.0) for each in (ours, theirs))
    return more / fewer


def confidence_difference(found: Comparison) -> float | None:
    """Distance of the mean confidences, rounded: 0.9 and 0.6 are 0.3 apart."""
    if found.confidence is None or found.stable_confidence is None:
        return None
    return round(abs(found.confidence - found.stable_confidence), 6)


def path(field: str) -> str:
    """Where a limit stands in the resource."""
    return f"spec.rollout.analysis.{camel(field)}"
