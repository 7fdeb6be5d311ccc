"""Whether a live object differs from what we want of it. Pure; what makes 'a second reconcile writes nothing' true.

What is wanted must be there (other fields, defaults and foreign ones are not ours), quantities by value; fields that our manager owns
but does not want any more must go; and what is a single value must be ours, or somebody has put something of theirs into it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from yolo_operator.core import names

MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "readinessGates": (),
    "tolerations": (),
}
ATOMIC = frozenset({"parentRefs", "hostnames", "rules", "selector", "podSelector", "ingress", "egress"})
"""Fields of a spec that are a single value to the API server, lists of routes and policies and labels that select: who changes a part takes all of it over."""
PORT_KEYS = (("containerPort", "protocol"), ("port", "protocol"))
QUANTITY = re.compile(r"\.resources\.(requests|limits)\.|\.(emptyDir\.sizeLimit|resourceFieldRef\.divisor)$")
"""Paths of quantities: elsewhere what looks like one is text, in a label for example."""
SUFFIXES: Mapping[str, Decimal | int] = {
    "": 1, "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
}  # fmt: skip


def differs(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> str | None:
    """The first path where the live object is not as wanted, None where it is."""
    return next(differences(wanted, live), None)


def differences(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> Iterator[str]:
    """Every path where the live object is not as wanted."""
    ignored = {"apiVersion", "kind"}
    for key in wanted.keys() - ignored:
        yield from _missing(wanted[key], live.get(key), key, key)
    owned: Mapping[str, Any] = next(
        (
            entry.get("fieldsV1", {})
            for entry in live.get("metadata", {}).get("managedFields", ())
            if entry.get("manager") == names.FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
        ),
        {},
    )
    for path in (_unwanted(owned, wanted, ""), _taken_over(owned, wanted)):
        if path:
            yield path


def admitted(wanted: Any, answer: Any, field: str = "") -> Any:
    """What we want, as the API server's admission has made it: its value for each field of ours, none where it has taken the field away.

    Only fields of ours: what it has added is foreign, as everywhere here.
    """
    if isinstance(wanted, Mapping) and isinstance(answer, Mapping):
        return {key: admitted(value, answer[key], key) for key, value in wanted.items() if key in answer}
    if isinstance(wanted, list) and isinstance(answer, list) and (keys := merge_keys(field, wanted)):
        by_key = {tuple(item.get(key) for key in keys): item for item in answer}
        pairs = ((item, by_key.get(tuple(item.get(key) for key in keys))) for item in wanted)
        return [admitted(item, found) for item, found in pairs if found is not None]
    return answer


def marked(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What we want, with a digest of its spec. Less than before in a single value (ATOMIC), a label of a selector or a filter of a rule, differs in that alone.

    A Deployment has the template that it was rendered from for that.
    """
    metadata = wanted["metadata"]
    annotations = metadata.get("annotations", {})
    if names.RENDERED in annotations:
        return dict(wanted)
    return {**wanted, "metadata": metadata | {"annotations": annotations | {names.SPEC_DIGEST: names.digest(wanted["spec"])}}}


def quantity(value: object) -> Decimal | None:
    """A Kubernetes quantity as a number, None where it is none."""
    text = str(value)
    digits = text.rstrip("numkKMGTPEi")
    try:
        return Decimal(digits) * SUFFIXES[text[len(digits) :]]
    except (InvalidOperation, KeyError):
        return None


def whole(value: object) -> int:
    """A Kubernetes quantity as a whole number, for a flag; a part of one is left out. 0 where it is none."""
    return int(quantity(value) or 0)


def _missing(wanted: Any, live: Any, field: str, path: str) -> Iterator[str]:
    if isinstance(wanted, Mapping):
        if isinstance(live, Mapping):
            for key, value in wanted.items():
                yield from _missing(value, live.get(key), key, f"{path}.{key}")
        # The API server drops empty objects and lists: an absent one is as wanted.
        elif wanted or live not in (None, {}):
            yield path
    elif isinstance(wanted, list):
        yield from _missing_in_list(wanted, live if isinstance(live, list) else [], field, path)
    elif wanted == live or (wanted in (None, False, "") and live is None):
        return
    elif not (QUANTITY.search(path) and quantity(wanted) is not None and quantity(wanted) == quantity(live)):
        yield path


def _missing_in_list(wanted: Sequence[Any], live: Sequence[Any], field: str, path: str) -> Iterator[str]:
    keys = merge_keys(field, wanted)
    if keys:
        by_key = {tuple(item.get(key) for key in keys): item for item in live}
        for want in wanted:
            identity = tuple(want.get(key) for key in keys)
            yield from _missing(want, by_key.get(identity), field, f"{path}[{identity[0]}]")
    elif len(wanted) != len(live):
        yield path
    else:
        for index, (want, have) in enumerate(zip(wanted, live, strict=True)):
            yield from _missing(want, have, field, f"{path}[{index}]")


def merge_keys(field: str, items: Sequence[Any]) -> tuple[str, ...]:
    """The keys that identify an item of a list, as the API server merges it; none for a list that is one value."""
    if field == "ports":
        return next((keys for keys in PORT_KEYS if items and all(keys[0] in item for item in items)), ())
    return MERGE_KEYS.get(field, ())


def _unwanted(owned: Mapping[str, Any], wanted: Any, path: str) -> str | None:
    """The first path that our manager owns and that is not wanted any more."""
    for key, inner in owned.items():
        kind, _, name = key.partition(":")
        if kind == "f":
            if not isinstance(wanted, Mapping) or name not in wanted:
                return f"{path}.{name}"
            found = _unwanted(inner, wanted[name], f"{path}.{name}")
        elif kind == "k":
            item = _item(wanted, name)
            if item is None:
                return f"{path}[{name}]"
            found = _unwanted(inner, item, f"{path}[{name}]")
        else:
            continue
        if found:
            return found
    return None


def _taken_over(owned: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first single value in the spec that our manager has lost, where it owns anything at all."""
    ours = owned.get("f:spec", {})
    return next((f"spec.{key}" for key in wanted.get("spec", {}) if owned and key in ATOMIC and f"f:{key}" not in ours), None)


def _item(wanted: Any, key: str) -> Mapping[str, Any] | None:
    identity = names.parse_object(key)
    items = wanted if isinstance(wanted, list) else []
    # A key may name a field with a default that we did not write, such as a port's protocol.
    return next((item for item in items if all(item.get(k, v) == v for k, v in identity.items())), None)
