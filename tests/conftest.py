"""Options of the whole suite: here, and not beside the tests that use them, so that pytest knows them wherever it is started."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


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
itself, without an edit, once the world is put right. Seconds are counted from `kubectl apply` to the reason in the status. Not one of them started a Pod
with a GPU.""",
    ),
    Table(
        "faults_table",
        "write what became of each fault (tests/faults, and those of tests/e2e under load) as Markdown",
        ["Fault", "On", "Tried", "Ended well", "Seconds to recover", "Requests lost"],
        """# Reliability

Each line was seen. *The whole cluster*: everything real, a model served by two pods under steady load, by `tests/e2e`. Otherwise: a real API server with
Kubernetes' controllers, where what becomes of Pods is simulated, by `tests/faults`. *Ended well*: healed by itself; and there the same objects, status and
storage as without the fault, nothing left over, no revision built twice. Seconds, of the slowest, are counted from the next start of the operator, or from
when the fault was taken back or, where it stayed, began; 5 of them are the time that Kubernetes waits before it takes a Ready pod for available. Each line is
of the last run of its test that passed: `make test-all` writes all anew, `pytest --faults-table=docs/reliability.md FILE` those of a part.""",
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option for each table."""
    for table in TABLES:
        parser.addoption(f"--{table.option.replace('_', '-')}", type=Path, metavar="FILE", help=table.help)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the tables that are asked for: anew by the whole suite, line by line by a part of it. Tests that are only collected end in nothing."""
    if config.getoption("collectonly"):
        return
    rows = [dict(report.user_properties) for report in terminalreporter.stats.get("passed", []) if report.when == "call"]
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not (config.option.markexpr or config.option.keyword)
    for table in TABLES:
        path = config.getoption(table.option)
        if path is not None:
            before = path.read_text(encoding="utf-8") if path.exists() and not whole else ""
            path.write_text(table.text(rows, before), encoding="utf-8")
