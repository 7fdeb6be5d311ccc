"""What the whole suite shares: options, here and not beside the tests that use them, so that pytest knows them wherever it is started; what may run
beside what; what is remembered of a run."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from e2e.cluster import end_of_audit
from last_run import LastRun

BEGAN = pytest.StashKey[int]()

# How long an example takes says how much else the machine does.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@dataclass(frozen=True, slots=True)
class Table:
    """A document of what tests have seen: a line for each that passed and has recorded the columns, named by the first of them."""

    option: str
    help: str
    columns: Sequence[str]
    head: str

    def text(self, rows: Sequence[dict[str, str]], before: str) -> str:
        """The document, as Markdown. Lines of the document as it was stay, unless these rows renew them."""
        lines = self.lines(before)
        for row in rows:
            if self.columns[0] in row:
                line = [row.get(column, "").strip().replace("|", "\\|") for column in self.columns]
                lines[line[0]] = line
        table = "\n".join(f"| {' | '.join(line)} |" for line in [self.columns, ["---"] * len(self.columns), *lines.values()])
        return f"{self.head}\n\n{table}\n"

    def lines(self, text: str) -> dict[str, Sequence[str]]:
        """The lines of a document, by their first cells."""
        cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if line.startswith("| ")]
        return {line[0]: line for line in cells[2:]}


TABLES = (
    Table(
        "table",
        "write what became of each bad spec (test_bad_specs.py) as Markdown",
        ["Given", "Ends in", "Reason", "Message", "Seconds"],
        """# What becomes of bad specs

Each line was seen on a real cluster, by `tests/e2e/test_bad_specs.py`. *Stalled* needs an edit of the spec or other weights; what *heals* goes on by
itself, without an edit, once its cause is gone. Seconds are counted from `kubectl apply` to the reason in the status. Not one of them started a Pod
with a GPU.""",
    ),
    Table(
        "answers_table",
        "write what the client found behind each kind of model (test_answers.py) as Markdown",
        ["Served", "Ends in", "The client asks at", "Detections", "Worst IoU", "Worst score difference"],
        """# Answers

Each line was seen on a real cluster, by `tests/e2e/test_answers.py`: the unmodified Ultralytics client, 8.4.190 over HTTP and gRPC and 8.3.138 over HTTP, against the
local weights in PyTorch, both with their defaults (the local ones with `rect=False` where pictures are of one size). Ten pictures in six calls: a wide, a tall,
a square and a tiny one, a list of three of one size, a list of three of different sizes. Detections are those of the local weights in all of them; each has its like
behind the URL, and there are no others. Weights: detect and obb were trained by other people, on other things; segment, pose and classify are random ones whose scores were
widened so that there is something to find. Random ones answer 3 % of what they find otherwise, in PyTorch alone, where pixels are rounded to FP16: with FP16 requests
the local ones get rounded pixels too. The worst of all pictures, protocols and clients.""",
    ),
    Table(
        "sizes_table",
        "write the peak memory of each container for large models (test_sizes.py) as Markdown",
        ["Architecture", "Published (MiB)", "check (MiB)", "fetch (MiB)", "export (MiB)", "publish (MiB)", "verify (MiB)"],
        """# Sizes

Each line was seen on a real cluster, by `tests/e2e/test_sizes.py`: an architecture with random weights, from its `.yaml` to Ready, the export limited to 8Gi and every other
container to its default of 1Gi. The figures are the largest resident set of the container's process or its child, as each worker logs it at its end (`peak memory`).""",
    ),
    Table(
        "faults_table",
        "write what became of each fault (tests/faults, and those of tests/e2e under load) as Markdown",
        ["Fault", "On", "Tried", "Ended well", "Seconds to recover", "Requests lost"],
        """# Reliability

Each line was seen. *The whole cluster*: everything real, a model served by two pods under steady load, by `tests/e2e`. Otherwise: a real API server with
Kubernetes' controllers, where what becomes of Pods is simulated, by `tests/faults`. *Ended well*: healed by itself; and there the same objects, status and
storage as without the fault, nothing left over, no revision built twice. Seconds, of the slowest, are counted from the next start of the operator, or from
when the fault was taken back or, where it stayed, began; 5 of them are the time that Kubernetes waits before it takes a Ready pod for available. A request is
lost with the pod that has it, until that pod has left the endpoints; and while Kubernetes takes the only node for silent, which it may do for a moment when
its API server is back after a minute (nothing is lost before). Each line is of the last run of its test that passed: `make test-all` writes all anew,
`pytest --faults-table=docs/reliability.md FILE` those of a part.""",
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option for each table."""
    for table in TABLES:
        parser.addoption(f"--{table.option.replace('_', '-')}", type=Path, metavar="FILE", help=table.help)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first."""
    items.sort(key=lambda item: side(item.nodeid) != "the cluster")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return SideBySide(config, log)


class SideBySide(LoadScopeScheduling):
    """With -n (pytest-xdist): the tests on the cluster run one after another, as they change what all of it shares, and the other folders beside them."""

    def _split_scope(self, nodeid: str) -> str:
        return side(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name what fails when it does: the summary of a long run is hours away, and lost where the run is ended."""
    if report.failed and not os.environ.get("PYTEST_XDIST_WORKER"):
        print(f"\n{report.when} failed: {report.nodeid}", file=sys.stderr, flush=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What runs beside the tests on the cluster gives way to them: all pods together weigh no more than one process outside of them."""
    if hasattr(item.config, "workerinput") and side(item.nodeid) != "the cluster" and os.nice(0) == 0:
        os.nice(5)


def side(nodeid: str) -> str:
    """What a test shares with others."""
    folder = nodeid.split("/")[1]
    return "the cluster" if folder in {"chart", "e2e"} else folder


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[BEGAN] = end_of_audit()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Leave for tests/afterwards where this run is in the audit log."""
    if suite(session.config) and not hasattr(session.config, "workerinput"):
        whole = exitstatus == pytest.ExitCode.OK and not session.config.option.keyword and session.config.option.markexpr in ("", "not matrix")
        LastRun(session.config.stash[BEGAN], end_of_audit(), whole).keep(session.config)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the tables that are asked for: anew by the whole suite, line by line by a part of it. Tests that are only collected end in nothing."""
    if config.getoption("collectonly"):
        return
    passed = [report for report in terminalreporter.stats.get("passed", []) if report.when == "call"]
    rows = [dict(report.user_properties) for report in sorted(passed, key=lambda report: report.location[0])]
    whole = suite(config) and not (config.option.markexpr or config.option.keyword)
    for table in TABLES:
        path = config.getoption(table.option)
        if path is not None:
            before = path.read_text(encoding="utf-8") if path.exists() and not whole else ""
            path.write_text(table.text(rows, before), encoding="utf-8")


def suite(config: pytest.Config) -> bool:
    """Whether pytest was started for the suite, and not for files of it."""
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.getoption("collectonly")
