"""What becomes of one model in a Triton that several models share: what the pods are to have, which of them may be asked, what is to be verified.

A revision that takes another's place is loaded beside it, under a name of its own that nobody asks for, and verified there on every pod; then the name that
clients ask for changes to it. A pod is a member of the model's Service once it has given the right answers under that name. Pure, as `plan` is.

    built ──► wanted (or beside, as a trial) ──► verified on the pods ──► serving ──► members
                 │ does not fit: not loaded            │ failed: the old one serves on
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yolo_operator.core.pods import Problem
from yolo_operator.core.served_models import WantedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedModel:
    """A YoloDeployment's model, as far as it is decided and built."""

    deployment: str
    name: str
    """As clients ask for it."""
    target: str = ""
    """URI of the revision that is built and wanted; "" before there is one."""
    target_bytes: int = 0
    """Of what was published: it takes no less memory than that."""
    serving: str = ""
    """URI of the revision that the pods are to answer with, which was decided in an earlier pass."""
    leaving: bool = False
    """It is deleted, suspended, or moves to another server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPod:
    """A pod of the server, as one model sees it."""

    name: str
    answers: bool
    """Triton and the agent do."""
    member: bool = False
    """It has the label that the model's Service selects."""
    verified: Mapping[str, str] = field(default_factory=dict)
    """URI of the revision that gave the right answers last, by the name it was asked under: since its Triton was started last, and as long as that name was
    wanted without a break."""
    failed: Mapping[str, Problem] = field(default_factory=dict)
    """Why a revision did not, by its URI; only what is not tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Memory of a pod of the server, in bytes."""

    budget: int | None
    """spec.memoryBudget; None: nobody has set one."""
    others: int
    """What the other models took."""
    took: Mapping[str, int] = field(default_factory=dict)
    """What this model's revisions took when they were loaded, by their URI."""

    def lacks(self, uri: str, at_least: int, beside: str) -> str:
        """Why a revision does not fit, beside another one of the model while it is tried; "" where it does, or that cannot be known yet."""
        if self.budget is None:
            return ""
        needs, has = self.took.get(uri, at_least), self.others + (self.took.get(beside, 0) if beside else 0)
        if has + needs <= self.budget:
            return ""
        sentence = f"There is no room: it takes {mebibytes(needs)} and the server's models {mebibytes(has)} of {mebibytes(self.budget)} (spec.memoryBudget of the YoloServer)"
        return f"{sentence}: raise it, take a model away, or serve this one elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done about one model in this pass."""

    wanted: tuple[WantedModel, ...] = ()
    """What the pods are to have of it."""
    serving: str = ""
    """To be recorded, before anything is done that follows from it."""
    join: tuple[str, ...] = ()
    """Pods that become members."""
    leave: tuple[str, ...] = ()
    """Pods that are members no longer."""
    verify: tuple[tuple[str, WantedModel], ...] = ()
    """Pods that are to be asked, and for what."""
    problem: Problem | None = None
    """What the revision that is wanted has failed with."""
    full: str = ""
    """Why it is not loaded, where there is no room for it."""


def decide(model: SharedModel, pods: Sequence[ServerPod], room: Room) -> Decision:
    """One pass. `serving` changes only to what every pod that answers has verified; what is decided is acted on in the next pass."""
    members = tuple(pod.name for pod in pods if pod.member)
    if model.leaving:
        # Nobody is to be asked any more before the model goes.
        return Decision(wanted=kept(model) if members else (), serving=model.serving, leave=members)
    problem = failed(model, pods)
    full = "" if problem is not None or model.target in ("", model.serving) else room.lacks(model.target, model.target_bytes, model.serving)
    if not model.serving:
        return first(model, pods, problem, full)
    asked = wanted(model, model.serving)
    join, leave = membership(asked, pods)
    trial = wanted(model, model.target, trial=True)
    if model.target in ("", model.serving) or problem is not None or full:
        return Decision(wanted=(asked,), serving=model.serving, join=join, leave=leave, verify=unverified(asked, pods), problem=problem, full=full)
    waiting = unverified(trial, pods)
    tried = not waiting and any(pod.answers for pod in pods)
    return Decision(
        wanted=(asked, trial),
        serving=model.target if tried else model.serving,
        join=join,
        leave=leave,
        verify=(*unverified(asked, pods), *waiting),
    )


def first(model: SharedModel, pods: Sequence[ServerPod], problem: Problem | None, full: str) -> Decision:
    """A model that no pod serves yet: under its own name at once, for nobody asks a pod that is no member."""
    left = tuple(pod.name for pod in pods if pod.member)
    if not model.target or problem is not None or full:
        return Decision(leave=left, problem=problem, full=full)
    asked = wanted(model, model.target)
    right = any(pod.answers and pod.verified.get(asked.name) == asked.uri for pod in pods)
    return Decision(wanted=(asked,), serving=model.target if right else "", leave=left, verify=unverified(asked, pods))


def failed(model: SharedModel, pods: Sequence[ServerPod]) -> Problem | None:
    """What the target has failed with on a pod: it is not loaded again."""
    if model.target in ("", model.serving):
        return None
    return next((pod.failed[model.target] for pod in pods if model.target in pod.failed), None)


def membership(asked: WantedModel, pods: Sequence[ServerPod]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pods that join and pods that leave. One that has verified a revision under this name stays a member while the name changes to another."""
    join = tuple(pod.name for pod in pods if pod.answers and not pod.member and pod.verified.get(asked.name) == asked.uri)
    leave = tuple(pod.name for pod in pods if pod.member and (not pod.verified.get(asked.name) or asked.uri in pod.failed))
    return join, leave


def unverified(asked: WantedModel, pods: Sequence[ServerPod]) -> tuple[tuple[str, WantedModel], ...]:
    """Pods that answer and have not been asked yet for this."""
    return tuple((pod.name, asked) for pod in pods if pod.answers and pod.verified.get(asked.name) != asked.uri and asked.uri not in pod.failed)


def kept(model: SharedModel) -> tuple[WantedModel, ...]:
    """What the pods have of it while they are still asked."""
    return (wanted(model, model.serving),) if model.serving else ()


def wanted(model: SharedModel, uri: str, *, trial: bool = False) -> WantedModel:
    """A revision under the model's name, or under its own."""
    name = f"{model.name}.{uri.rpartition('/')[2]}" if trial else model.name
    return WantedModel(name=name, uri=uri, model=model.name, deployment=model.deployment)


def mebibytes(size: int) -> str:
    """For people."""
    return f"{-(-size >> 20)} MiB"
