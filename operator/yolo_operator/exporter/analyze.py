"""analyze: compares a new version with the stable one for the length of a canary's step.

Triton's counters are read at both ends of the step; then the same pictures are shown to a pod of each version, so that they are
not counted: by Ultralytics' client, and where there is a model for them as files. Ultralytics is imported by exporter/client.py only when there are pictures to show.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_operator.core import analysis, api
from yolo_operator.core.addresses import url_host
from yolo_operator.core.contract import Comparison, Task
from yolo_operator.core.errors import OperatorError, Unavailable
from yolo_operator.core.triton.picture_models import SUFFIX
from yolo_operator.exporter import answers, client, metrics, picture_files
from yolo_operator.exporter.answers import Answer

log = logging.getLogger(__name__)

PODS = 3
"""Pods of a version that are asked, one after the other, until one answers all pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two versions."""

    name: str
    """As messages call it: new or stable."""
    version: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyzeOptions:
    """What is compared, for how long, and how far apart it may be."""

    model_name: str
    task: Task
    stable: Side
    canary: Side
    limits: api.Analysis
    duration: float
    """Seconds between the two readings."""
    pictures_directory: Path
    picture_timeout: float
    """Seconds for each version to answer all pictures; those left then are not shown."""
    files: bool = False
    """Show the pictures' files to <model>-pictures too."""
    http_port: int = 8000
    metrics_port: int = 8002


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """What one half of the analysis found: fields of contract.Comparison, and what else there is to say (see analysis.judge)."""

    figures: Mapping[str, float]
    faults: Sequence[str] = ()
    doubts: Sequence[str] = ()
    notes: Sequence[str] = ()


def run(options: AnalyzeOptions) -> Comparison:
    """Compare for `duration` seconds and judge. Raises InvalidSpec InvalidGolden; a version that does not answer is a verdict."""
    counted, alive = count(options)
    pictures = sorted(options.pictures_directory.glob("*"))
    shown = show(options, alive, pictures)
    filed = show_files(options, alive, pictures) if options.files and pictures else Half(figures={})
    figures = {name: round(value, 6) for name, value in {**counted.figures, **shown.figures}.items()}
    return analysis.judge(
        Comparison.model_validate({"verdict": "Inconclusive", **figures}),
        options.limits,
        faults=[*shown.faults, *filed.faults],
        doubts=[*counted.doubts, *shown.doubts],
        notes=[*counted.notes, *shown.notes, *filed.notes],
    )


def count(options: AnalyzeOptions) -> tuple[Half, frozenset[str]]:
    """What Triton counted during the step, and the addresses that serve their version at its end."""
    sides = (options.stable, options.canary)
    before = [counters(options, side) for side in sides]
    time.sleep(options.duration)
    after = [counters(options, side) for side in sides]
    stable, canary = (metrics.between(side.addresses, one, other) for side, one, other in zip(sides, before, after, strict=True))
    log.info("stable: %s", stable)
    log.info("canary: %s", canary)
    pairs = [(options.canary, canary), (options.stable, stable)]
    half = Half(
        figures={**canary.figures(), **{f"stable_{name}": value for name, value in stable.figures().items()}},
        doubts=[f"no pod's metrics of the {side.name} version {side.version} could be read at both ends" for side, seen in pairs if not seen.pods],
        notes=[
            f"{seen.left_out} of {len(side.addresses)} pods of the {side.name} version {side.version} left out: gone or restarted"
            for side, seen in pairs
            if seen.pods and seen.left_out
        ],
    )
    return half, frozenset(address for readings in after for address in readings)


def counters(options: AnalyzeOptions, side: Side) -> dict[str, metrics.Reading]:
    """Counters of one version's pods, now."""
    return metrics.read(side.addresses, options.metrics_port, options.model_name, side.version)


def show(options: AnalyzeOptions, alive: frozenset[str], pictures: Sequence[Path]) -> Half:
    """What both versions find in the same pictures. The stable one is asked first: where it fails too, it is not the new one's fault."""
    if not pictures:
        return Half(figures={}, doubts=[f"no pictures in {options.pictures_directory}"])
    try:
        stable = ask(options, options.stable, alive, pictures, as_pixels)
    except Unavailable as error:
        return Half(figures={}, doubts=[error.message])
    if not stable:
        return Half(figures={}, doubts=["none of the pictures can be read"])
    try:
        canary = ask(options, options.canary, alive, list(stable), as_pixels)
    except Unavailable as error:
        return Half(figures={}, faults=[error.message])
    notes = [f"{len(canary)} of {len(pictures)} pictures shown"] if len(canary) < len(pictures) else []
    return Half(figures=compare(options, stable, canary), notes=notes)


def show_files(options: AnalyzeOptions, alive: frozenset[str], pictures: Sequence[Path]) -> Half:
    """The same by the pictures' files: faults where the new version does not answer, or otherwise than the stable one. A stable one that does not is only noted:
    it may be older than spec.pictures.
    """
    where, notes = f"{options.model_name}{SUFFIX}", list[str]()
    try:
        stable = ask(options, options.stable, alive, pictures, as_files)
    except Unavailable as error:
        stable, notes = {}, [f"{where}: {error.message}"]
    try:
        canary = ask(options, options.canary, alive, list(stable) or pictures, as_files)
    except Unavailable as error:
        return Half(figures={}, faults=[f"{where}: {error.message}"], notes=notes)
    found = Comparison.model_validate({"verdict": "Inconclusive", **compare(options, stable, canary)})
    return Half(figures={}, faults=[f"{where}: {each}" for each in analysis.exceeded(found, options.limits)], notes=notes)


def compare(options: AnalyzeOptions, stable: Mapping[Path, Answer], canary: Mapping[Path, Answer]) -> dict[str, float]:
    """Fields of contract.Comparison for the pictures that both have answered."""
    both = [path for path in canary if path in stable]
    return answers.compare(options.task, [stable[path] for path in both], [canary[path] for path in both], client.overlaps(options.task))


Way = Callable[[AnalyzeOptions, str], Callable[[Path], Answer | None]]
"""Shows a picture to a pod; None where it cannot be shown. Both calls raise whatever the client raises."""


def as_pixels(options: AnalyzeOptions, server: str) -> Callable[[Path], Answer | None]:
    """By Ultralytics' client."""
    asked = client.connect(f"{server}/{options.model_name}", options.task)
    return lambda path: None if (picture := client.read(path)) is None else asked(picture)


def as_files(options: AnalyzeOptions, server: str) -> Callable[[Path], Answer | None]:
    """By the file."""
    return picture_files.connect(server, options.model_name, options.task)


def ask(options: AnalyzeOptions, side: Side, alive: frozenset[str], pictures: Sequence[Path], way: Way) -> dict[Path, Answer]:
    """Answers of the first pod that gives them, pods that were just read before others. Raises Unavailable InferenceFailed, InvalidSpec InvalidGolden."""
    why = "it has no pods"
    for address in sorted(side.addresses, key=lambda address: address not in alive)[:PODS]:
        try:
            return answers_of(options, address, pictures, way)
        except OperatorError:
            raise
        except Exception as error:
            # The client lets everything through that its parts raise.
            log.warning("%s shows no answers", address, exc_info=True)
            why = said(error)
    raise Unavailable("InferenceFailed", f"the {side.name} version {side.version} answers no pictures: {why}")


def answers_of(options: AnalyzeOptions, address: str, pictures: Sequence[Path], way: Way) -> dict[Path, Answer]:
    """What one pod answers: all pictures that can be read, or those until time was up. Raises whatever the client raises."""
    show = way(options, f"http://{url_host(address)}:{options.http_port}")
    deadline = time.monotonic() + options.picture_timeout
    found: dict[Path, Answer] = {}
    for path in pictures:
        shown = show(path)
        if shown is None:
            log.warning("%s cannot be shown", path.name)
            continue
        found[path] = shown
        if time.monotonic() > deadline:
            log.warning("%s took longer than %g s for %d pictures", address, options.picture_timeout, len(found))
            break
    return found


def said(error: Exception) -> str:
    """An exception in one short line of plain characters: it goes into a message that is bounded in bytes."""
    first = (str(error).strip() or "no message").splitlines()[0]
    return re.sub(r"[^ !#-\[\]-~]", "'", f"{type(error).__name__}: {first}"[:200])
