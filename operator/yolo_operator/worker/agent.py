"""agent: runs beside a Triton that several models share, and keeps it at what is wanted.

What is wanted stands in a file, which the operator changes; where no operator runs it stands there still, so a pod that restarts has its models again by
itself. The agent brings revisions from the storage, lays them where Triton looks, and has them loaded and unloaded. Triton's own way is kept to: what a
model had serves until the new content is ready, and further where that fails.
"""

import hashlib
import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from yolo_operator.core.contract import CONFIG
from yolo_operator.core.errors import NotReady, OperatorError
from yolo_operator.core.served_models import MEMBER, MODELS, REASON_LOAD, REASON_STORAGE, ModelState, ModelStates, WantedModel, WantedModels

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Models that are brought and loaded at the same time."""
ALONE_SECONDS = 30
"""How long others wait for one that is loaded, so that what it takes is known; then they go on beside it."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds until a model that failed is tried again; each time twice as long."""
LOOKS_SECONDS = 1.0
"""Between two looks at Triton where nothing has changed: it may have been restarted."""
REVISIONS, ASIDE, SERVING = "revisions", "aside", "serving"
"""Directories beside Triton's repository: what was brought; what is on its way there or back; files with the URI that Triton has under a name."""
WHOLE = ".whole"
"""Suffix of a file beside a revision's directory: all of it is there."""
NAME = re.compile(r'^name: ".*"$', re.MULTILINE)


class Triton(Protocol):
    """What is asked of the server (triton_control.TritonControl)."""

    def ready(self) -> frozenset[str]:
        """Names of the models that are ready."""
        ...

    def load(self, name: str, timeout: float) -> None:
        """Load a model from its directory."""
        ...

    def unload(self, name: str, timeout: float) -> None:
        """Let a model go."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """Where things are."""

    wanted: tuple[Path, ...]
    """Files with WantedModels: what the newest of them says is wanted."""
    labels: Path
    """File with the pod's labels, as the downward API writes them."""
    directory: Path
    """Kept as long as the pod lives."""
    load_timeout: float = 600
    """Seconds for one model."""


@dataclass(slots=True)
class Held:
    """What the agent knows of a name."""

    wanted: WantedModel
    serving: str = ""
    """URI of the revision that Triton has under this name."""
    loaded: float = 0
    """When it came."""
    busy: bool = False
    leaving: bool = False
    """It is not wanted any more."""
    failure: tuple[str, str] | None = None
    """Reason and message."""
    again: float = 0
    """When it is tried again."""
    pause: float = FIRST_PAUSE


class Agent:
    """One pod's. `bring` writes a revision's repository into a directory; `memory` says what Triton takes now."""

    def __init__(self, options: AgentOptions, triton: Triton, bring: Callable[[str, Path], object], memory: Callable[[], int | None]) -> None:
        self._options, self._triton, self._bring, self._memory = options, triton, bring, memory
        self._held: dict[str, Held] = {}
        self._took: dict[str, int] = {}
        """Bytes that a revision took, by its URI."""
        self._ready: frozenset[str] = frozenset()
        self._serial = 0
        self._listed: set[str] | None = None
        """YoloDeployments with a model in the newest list; None before there is one."""
        self._lock = threading.Lock()
        self._alone = threading.Lock()
        self._bringing: dict[str, threading.Lock] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, "model")
        for each in (REVISIONS, MODELS, ASIDE, SERVING):
            (options.directory / each).mkdir(parents=True, exist_ok=True)

    @property
    def models(self) -> Path:
        """Triton's repository."""
        return self._options.directory / MODELS

    def run(self, stopped: threading.Event) -> None:
        """Until told to stop."""
        while not stopped.wait(LOOKS_SECONDS):
            self.reconcile()
        self._threads.shutdown(cancel_futures=True)

    def reconcile(self) -> None:
        """One pass: let go what is not wanted any more, and have brought and loaded what is missing."""
        wanted, asked = self._wanted(), time.monotonic()
        try:
            ready = self._triton.ready()
        except OperatorError as error:
            log.info("Triton: %s", error.message)
            ready = None
        with self._lock:
            since = {name for name, held in self._held.items() if held.serving and held.loaded > asked}
            self._ready = (ready or frozenset()) | since
            for name, held in self._held.items():
                if held.serving and not held.busy and name not in self._ready:
                    # Triton was restarted, or is about to be.
                    held.serving = ""
            if ready is None or wanted is None:
                return
            self._serial, self._listed = wanted.serial, {each.deployment for each in wanted.models}
            now = time.monotonic()
            for each in wanted.models:
                if each.name not in self._held:
                    self._held[each.name] = Held(each, serving=self._known(each.name))
                held = self._held[each.name]
                if held.wanted != each or held.leaving:
                    held.wanted, held.leaving, held.failure, held.again, held.pause = each, False, None, 0, FIRST_PAUSE
                if held.serving != each.uri and not held.busy and held.again <= now:
                    self._begin(self._load, held, each)
            for name in (self._held.keys() | self._ready) - {each.name for each in wanted.models}:
                held = self._held.setdefault(name, Held(WantedModel(name=name, uri="", model=name, deployment="")))
                held.leaving = True
                if not held.busy and held.again <= now:
                    self._begin(self._unload, held)
        self._tidy()

    def states(self) -> ModelStates:
        """What has become of each wanted model."""
        with self._lock:
            return ModelStates(serial=self._serial, models=[self._state(held) for _, held in sorted(self._held.items()) if not held.leaving])

    def is_ready(self) -> bool:
        """Whether Triton has, at this moment, all models that this pod is asked for: those that are wanted and whose label the pod has.

        Triton is asked, for it may have been restarted since the last look at it, and would answer that it does not know them.
        """
        members = self._members()
        try:
            ready = self._triton.ready()
        except OperatorError:
            return False
        with self._lock:
            if self._listed is None:
                return not members
            members &= self._listed
            served = {held.wanted.deployment for name, held in self._held.items() if held.serving and name in ready and not held.wanted.is_trial}
        return members <= served

    def _state(self, held: Held) -> ModelState:
        wanted = held.wanted
        state = "Ready" if held.serving == wanted.uri else "Failed" if held.failure else "Loading"
        reason, message = held.failure or ("", "")
        return ModelState.model_validate(
            {"name": wanted.name, "uri": wanted.uri, "state": state, "reason": reason, "message": message, "memory_bytes": self._took.get(wanted.uri)}
        )

    def _wanted(self) -> WantedModels | None:
        """The newest list; None where there is none yet, none can be read, or those that can are older than what was seen: then all stays as it is."""
        found = []
        for path in self._options.wanted:
            try:
                content = path.read_bytes()
                # The annotation of a pod that the operator has not looked at yet.
                found += [WantedModels.model_validate_json(content)] if content else []
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                log.warning("%s: %s", path, error)
        newest = max(found, key=lambda each: each.serial, default=None)
        return newest if newest is not None and newest.serial >= self._serial else None

    def _members(self) -> set[str]:
        """YoloDeployments whose label the pod has."""
        try:
            lines = self._options.labels.read_text().splitlines()
        except OSError:
            return set()
        labels = dict(line.split("=", 1) for line in lines if "=" in line)
        return {key.removeprefix(MEMBER) for key, value in labels.items() if key.startswith(MEMBER) and json.loads(value) == "true"}

    def _known(self, name: str) -> str:
        """What Triton has under a name that an agent before this one has had loaded; "" where it has not."""
        note = self._options.directory / SERVING / name
        return note.read_text() if name in self._ready and note.exists() else ""

    def _begin(self, what: Callable[..., None], held: Held, *arguments: WantedModel) -> None:
        held.busy = True
        self._threads.submit(self._guarded, what, held, *arguments)

    def _guarded(self, what: Callable[..., None], held: Held, *arguments: WantedModel) -> None:
        """What happens to one model in a thread of its own; what is wrong with it is told as its failure."""
        try:
            what(held, *arguments)
        except NotReady as error:
            # Triton went: that is no fault of the model.
            log.info("%s: %s", held.wanted.name, error.message)
        except OperatorError as error:
            log.warning("%s: %s", held.wanted.name, error.message)
            self._failed(held, REASON_LOAD if error.reason == REASON_LOAD else REASON_STORAGE, error.message)
        except Exception as error:
            log.exception("%s", held.wanted.name)
            self._failed(held, "InternalError", f"{type(error).__name__}: see the agent's log")
        finally:
            held.busy = False

    def _failed(self, held: Held, reason: str, message: str) -> None:
        with self._lock:
            held.failure, held.again = (reason, message), time.monotonic() + held.pause
            held.pause = min(held.pause * 2, LONGEST_PAUSE)

    def _unload(self, held: Held) -> None:
        """Let go what is not wanted any more."""
        name = held.wanted.name
        if name in self._ready:
            self._triton.unload(name, self._options.load_timeout)
        with self._lock:
            self._ready -= {name}
            if held.leaving:
                del self._held[name]
            held.serving = ""
        (self._options.directory / SERVING / name).unlink(missing_ok=True)
        shutil.rmtree(self.models / name, ignore_errors=True)
        log.info("%s is let go", name)

    def _load(self, held: Held, wanted: WantedModel) -> None:
        """Bring a revision and have it loaded; what the name had serves on where that fails."""
        revision = self._options.directory / REVISIONS / digest(wanted.uri)
        whole = revision.with_suffix(WHOLE)
        with self._lock:
            bringing = self._bringing.setdefault(wanted.uri, threading.Lock())
        with bringing:
            # What is here needs no storage to be loaded again.
            if not whole.exists():
                self._bring(wanted.uri, revision)
                whole.touch()
        alone = self._alone.acquire(timeout=ALONE_SECONDS)
        try:
            before = self._memory() if alone else None
            with Laid(revision / wanted.model, self._options.directory, wanted.name):
                self._triton.load(wanted.name, self._options.load_timeout)
            after = self._memory() if alone else None
        finally:
            if alone:
                self._alone.release()
        with self._lock:
            if before is not None and after is not None and not held.serving:
                # What takes another's place would seem smaller than it is; so would one that gets memory which another left to the process.
                self._took[wanted.uri] = max(after - before, size(revision / wanted.model))
            held.serving, held.loaded, held.failure, held.pause = wanted.uri, time.monotonic(), None, FIRST_PAUSE
            self._ready |= {wanted.name}
            (self._options.directory / SERVING / wanted.name).write_text(wanted.uri)
        log.info("%s is loaded from %s", wanted.name, wanted.uri)

    def _tidy(self) -> None:
        """Remove revisions that no name has or is to have."""
        with self._lock:
            kept = {digest(uri) for held in self._held.values() for uri in (held.wanted.uri, held.serving) if uri}
            if any(held.busy for held in self._held.values()):
                return
            self._bringing = {uri: lock for uri, lock in self._bringing.items() if digest(uri) in kept}
            for each in (self._options.directory / REVISIONS).iterdir():
                if each.stem not in kept and each.is_dir():
                    each.with_suffix(WHOLE).unlink(missing_ok=True)
                    shutil.rmtree(each, ignore_errors=True)


class Laid:
    """A revision's model where Triton looks, under a name; what was there before is there again where the block raises.

    The files are links: a revision is on the disk once.
    """

    def __init__(self, source: Path, directory: Path, name: str) -> None:
        self._source, self._target, self._name = source, directory / MODELS / name, name
        self._made, self._before = (directory / ASIDE / f"{name}.{what}" for what in ("new", "before"))

    def __enter__(self) -> None:
        for left in (self._made, self._before):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(self._source, self._made, copy_function=link)
        config = self._made / CONFIG
        text = NAME.sub(f'name: "{self._name}"', config.read_text(), count=1)
        config.unlink()
        config.write_text(text)
        if self._target.exists():
            self._target.rename(self._before)
        self._made.rename(self._target)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self._target, ignore_errors=True)
            if self._before.exists():
                self._before.rename(self._target)
        shutil.rmtree(self._before, ignore_errors=True)


def link(source: str, target: str) -> None:
    """A hard link."""
    Path(target).hardlink_to(source)


def size(directory: Path) -> int:
    """Bytes of the files in it."""
    return sum(each.stat().st_size for each in directory.rglob("*") if each.is_file())


def digest(uri: str) -> str:
    """A revision's directory."""
    return hashlib.sha256(uri.encode()).hexdigest()[:16]
