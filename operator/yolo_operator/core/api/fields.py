"""What the parts of the resource are made of: their base, CEL rules, durations, quantities, references. Knows no part of the resource."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StrictInt, StrictStr, WithJsonSchema

from yolo_operator.core.contract import camel

MAX_VERSION = 99999
"""Job names hold the name (40), the version and a hash within a label's 63 characters."""


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """CEL rules for the API server: (expression, message)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def pictures_rule(field: str) -> dict[str, Any]:
    """What a prefix with pictures looks like."""
    return rules(
        (
            "self.matches('^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[0-9A-Za-z._-]+)*/?$') && !self.contains('..')",
            f"{field} is s3://BUCKET/PREFIX, of letters, digits, dot, hyphen and underscore",
        )
    )


class Model(BaseModel):
    """Base of all parts of the resource: camelCase on the wire, attribute docstrings as descriptions."""

    # Unknown fields are ignored here, not refused: an older operator must be able to read what a newer one has written.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, alias_generator=camel, use_attribute_docstrings=True)


def duration(value: object) -> object:
    """Read 1h30m, 90s or 2m as Kubernetes writes durations; anything else is left to pydantic."""
    match = re.fullmatch(DURATION, value) if isinstance(value, str) and value else None
    return timedelta(**{unit: int(number) for unit, number in match.groupdict().items() if number}) if match else value


def duration_text(value: timedelta) -> str:
    """As it is read: 90 s are 1m30s."""
    minutes, seconds = divmod(int(value.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if number) or "0s"


def int_or_percent(value: int | str) -> int | str:
    """A number of pods, or a percentage of them, as the API server would let it through. Raises ValueError."""
    if not (0 <= value <= MAX_PODS if isinstance(value, int) else re.fullmatch(PERCENT, value)):
        raise ValueError(f"{value!r} is neither a number from 0 to {MAX_PODS} nor a percentage from 0% to 100%")
    return value


MAX_PODS = 1000
PERCENT = "^(100|[1-9]?[0-9])%$"
IntOrPercent = Annotated[
    StrictInt | StrictStr,
    AfterValidator(int_or_percent),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "minimum": 0, "maximum": MAX_PODS, "pattern": PERCENT}
    ),
]
"""Pods, as in a Deployment: a number, or a percentage of all."""
DURATION = "(?:(?P<hours>[0-9]{1,3})h)?(?:(?P<minutes>[0-9]{1,5})m)?(?:(?P<seconds>[0-9]{1,6})s)?"
Duration = Annotated[
    timedelta,
    BeforeValidator(duration),
    PlainSerializer(duration_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$", "minLength": 2, "maxLength": 16}),
]
QUANTITY = r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
"""As Kubernetes' own schemas have it, without negative ones. What does not match is refused here, and not where a Pod is made of it."""
Quantity = Annotated[
    str,
    BeforeValidator(str),
    Field(pattern=QUANTITY),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": QUANTITY, "x-kubernetes-int-or-string": True}),
]
Freeform = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
ShortText = Annotated[str, Field(max_length=253)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Name of an object: it never leads out of its namespace."""
Region = Annotated[str, Field(max_length=63, pattern="^[0-9A-Za-z-]*$")]
"""Part of AWS' host names, and an argument of containers, in which Kubernetes puts variables in for $(NAME)."""
Labels = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)]
OPERATORS_OWN = (
    "self.all(key, !key.startsWith('yolo-operator.io/') && !key.startsWith('app.kubernetes.io/') && !key.startsWith('batch.kubernetes.io/'))",
    "labels that begin with yolo-operator.io/, app.kubernetes.io/ or batch.kubernetes.io/ are the operator's and the Job controller's: choose others",
)
OwnLabels = Annotated[Labels, Field(json_schema_extra=rules(OPERATORS_OWN))]
"""Labels of the user's own."""
NO_PROFILES = (
    "self.all(key, !key.startsWith('container.apparmor.security.beta.kubernetes.io/') && !key.contains('seccomp.security.alpha.kubernetes.io/'))",
    "no annotation changes the AppArmor or seccomp profile of these Pods, which keep to the restricted Pod Security Standard: remove it",
)
Annotations = Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32, json_schema_extra=rules(NO_PROFILES))]


class Resources(Model):
    """Requests and limits of a container, as in a Pod."""

    requests: dict[str, Quantity] = Field(default_factory=dict, max_length=16)
    """What the scheduler sets aside, for example {cpu: "1", memory: 2Gi}."""
    limits: dict[str, Quantity] = Field(default_factory=dict, max_length=16)
    """What the container may use at most."""


class LocalReference(Model):
    """Names an object in the resource's own namespace."""

    name: ObjectName
    """Name of the object, in the same namespace."""


class KeyReference(LocalReference):
    """Names a key of a ConfigMap in the resource's own namespace."""

    key: ShortText = "ca.crt"
    """Key that holds the PEM text."""
