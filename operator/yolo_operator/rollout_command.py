"""`yolo-operator rollout`: what a user says of a canary, as fields of the spec, and where it is, as text.

Nothing else is written: the operator acts on spec.rollout, whoever sets it, and this command or `kubectl patch` are the same to it.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import config
from kubernetes.client import ApiClient, ApiException, Configuration, CustomObjectsApi
from kubernetes.config import ConfigException

from yolo_operator.core import api, clock, conditions
from yolo_operator.core.contract import camel
from yolo_operator.core.rollout import canary

FIELD_MANAGER = "yolo-operator-cli"
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
TIMEOUT_SECONDS = 30
OF_STABLE = "stable_"
"""Prefix of a figure of the stable version, which the one of the new version is shown beside."""

Manifest = dict[str, Any]
Change = dict[str, Any]
"""Fields of spec.rollout and their new values; None removes one."""


class CommandError(Exception):
    """One sentence for the user, and the exit code: 1 for what the API server says, 2 for what cannot be asked."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


class Cluster:
    """The API server of the kubeconfig or, without one, of the Pod. Raises CommandError."""

    def __init__(self) -> None:
        configuration = Configuration()
        try:
            self.namespace = load(configuration)
        except (ConfigException, yaml.YAMLError, OSError) as error:
            raise CommandError(f"No cluster is known, neither by a kubeconfig nor by a Pod's service account: {error}") from error
        configuration.retries = False
        self._objects = CustomObjectsApi(ApiClient(configuration))

    def get(self, namespace: str, name: str) -> Manifest:
        """One YoloDeployment."""
        return self._ask(self._objects.get_namespaced_custom_object, namespace, name)

    def patch(self, namespace: str, name: str, change: Change) -> None:
        """Change fields of spec.rollout, by a JSON merge patch."""
        self._ask(self._objects.patch_namespaced_custom_object, namespace, name, body={"spec": {"rollout": change}}, field_manager=FIELD_MANAGER)

    def _ask(self, call: Any, namespace: str, name: str, **more: Any) -> Manifest:
        try:
            answer: Manifest = call(api.GROUP, api.VERSION, namespace, api.PLURAL, name, _request_timeout=TIMEOUT_SECONDS, **more)
        except ApiException as error:
            raise CommandError(f"{namespace}/{name}: {words(error)}", 1) from error
        except urllib3.exceptions.HTTPError as error:
            raise CommandError(f"The API server cannot be reached: {error}", 1) from error
        return answer


def load(configuration: Configuration) -> str:
    """Fill in how the API server is reached; returns the namespace that is meant where none is named."""
    try:
        _, context = config.list_kube_config_contexts()
        config.load_kube_config(client_configuration=configuration)
    except ConfigException:
        config.load_incluster_config(configuration)
        return POD_NAMESPACE.read_text(encoding="utf-8").strip()
    return context["context"].get("namespace") or "default"


def words(error: ApiException) -> str:
    """What the API server says of an error."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def run(cluster: Cluster, verb: str, namespace: str, name: str, version: int | None, now: datetime) -> str:
    """Do what a verb says; returns what there is to print."""
    found = cluster.get(namespace, name)
    if verb == "status":
        return "".join(f"{line}\n" for line in lines(found))
    change, note = changed(found, verb, version, now)
    cluster.patch(namespace, name, change)
    done = ", ".join(f"spec.rollout.{field} {'removed' if value is None else f'is {json.dumps(value)}'}" for field, value in change.items())
    return f"{namespace}/{name}: {done}\n{note}"


def changed(found: Manifest, verb: str, version: int | None, now: datetime) -> tuple[Change, str]:
    """What a verb changes in spec.rollout, and what else is to be done for it to have an effect."""
    wanted = found["spec"].get("rollout", {})
    if wanted.get("strategy") != "Canary":
        raise CommandError(f"{found['metadata']['name']} has no canary: spec.rollout.strategy is {wanted.get('strategy', 'Weighted')}")
    if verb in {"pause", "resume"}:
        return {"paused": verb == "pause"}, ""
    state = api.identity(found).status.rollout or api.RolloutStatus()
    number = version or in_question(state)
    if not number or (verb == "retry" and not in_question(state)):
        raise CommandError(f"{found['metadata']['name']} has no canary now: {state.message or 'status.rollout is empty'}")
    if verb == "retry":
        # An abort that stands would end the new attempt at once.
        return {"retry": clock.text(now)} | removed(wanted, "abort", number), ""
    other = "abort" if verb == "promote" else "promote"
    return {verb: number} | removed(wanted, other, number), "".join(notes(verb, number, state, wanted))


def in_question(state: api.RolloutStatus) -> int:
    """The version that promote, abort and retry are about: the canary, or one that has failed and is left alone; 0 where there is none."""
    return state.canary or (state.stable if state.phase == canary.DEGRADED else 0)


def removed(wanted: Manifest, field: str, number: int) -> Change:
    """The change that takes a field away which is about this version."""
    return {field: None} if wanted.get(field) == number else {}


def notes(verb: str, number: int, state: api.RolloutStatus, wanted: Manifest) -> Iterator[str]:
    """Why a verb has no effect yet."""
    if number != in_question(state):
        yield f"Version {number} is not the canary: this counts once it is.\n"
    elif verb == "promote":
        if state.phase == canary.DEGRADED and state.reason != "RolloutAborted":
            yield f"Version {number} is {state.phase} ({state.reason}): {after_a_failure(number, state, wanted)}.\n"
        if wanted.get("paused"):
            yield f"spec.rollout.paused is true: version {number} is the stable one only after `yolo-operator rollout resume`.\n"


def after_a_failure(number: int, state: api.RolloutStatus, wanted: Manifest) -> str:
    """What a promotion does to a canary that is Degraded."""
    if canary.heals(state):
        return "this counts once what it lacks is there"
    if wanted.get("promote") == number:
        return "spec.rollout.promote was set before, so it takes `yolo-operator rollout retry` to begin anew"
    return "it begins anew, without steps and without an analysis"


def lines(found: Manifest) -> Iterator[str]:
    """A resource's versions and its canary, as text."""
    yolo = api.identity(found)
    state = yolo.status.rollout
    yield from headline(yolo)
    if state is not None and state.canary:
        step = f"step {state.step} of {state.steps}" if state.step <= state.steps else "after the last step"
        yield f"  {step}, weight {state.weight} %"
    yield ""
    roles = {} if state is None else {state.stable: "stable", state.canary: "canary"}
    rows = [
        (str(each.version), roles.get(each.version, ""), each.phase, f"{each.weight} %", f"{each.ready_replicas}/{each.replicas}", each.revision)
        for each in yolo.status.versions
    ]
    yield from table([("VERSION", "ROLE", "PHASE", "WEIGHT", "READY", "REVISION"), *rows])
    for entry in state.analyses if state is not None else ():
        yield ""
        yield f"Analysis of step {entry.step}, weight {entry.weight} %: {entry.verdict}"
        yield from (f"  {line}" for line in entry.message.splitlines())
        yield from (f"  {row}" for row in table([("", "NEW", "STABLE"), *figures(entry)]))


def headline(yolo: api.YoloDeployment) -> Iterator[str]:
    """How the canary is, or the whole resource where there is none to speak of."""
    state, ready = yolo.status.rollout, conditions.find(yolo.status.conditions, conditions.READY)
    told = (state.phase, state.reason) if state is not None else (ready.reason,) if ready is not None else ()
    yield "  ".join((f"{yolo.namespace}/{yolo.name}", *told))
    message = state.message if state is not None else ready.message if ready is not None else ""
    yield from (f"  {line}" for line in message.splitlines())


def figures(entry: api.StepAnalysis) -> Iterator[tuple[str, str, str]]:
    """What was measured, of the new version and, where it is a figure of each, of the stable one; what could not be had is left out."""
    measured = {name: value for name, value in entry if isinstance(value, int | float) and name not in {"step", "weight"}}
    for name, value in measured.items():
        if not name.startswith(OF_STABLE):
            stable = measured.get(f"{OF_STABLE}{name}")
            yield camel(name), f"{value:g}", "" if stable is None else f"{stable:g}"


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Rows as lines, their columns one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
