"""Options of the whole suite: here, and not beside the tests that use them, so that pytest knows them wherever it is started."""

from pathlib import Path
from typing import Any

import pytest

TABLE = ["Given", "Ends in", "Reason", "Message", "Seconds"]
TABLE_TITLE = """# What becomes of bad specs

Each line was seen on a real cluster, by `tests/e2e/test_bad_specs.py`. *Stalled* needs an edit of the spec or other weights; what *heals* goes on by
itself, without an edit, once the world is put right. Seconds are counted from `kubectl apply` to the reason in the status. Not one of them started a Pod
with a GPU."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """--table."""
    parser.addoption("--table", type=Path, metavar="FILE", help="write what became of each bad spec (test_bad_specs.py) as Markdown")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the table that --table asks for: a line for each row that ended as it should. Tests that are only collected end in nothing."""
    if config.getoption("table") is None or config.getoption("collectonly"):
        return
    rows = [dict(report.user_properties) for report in terminalreporter.stats.get("passed", []) if report.when == "call"]
    lines = [[row[column].replace("|", "\\|") for column in TABLE] for row in rows if TABLE[0] in row]
    text = "\n".join(f"| {' | '.join(line)} |" for line in [TABLE, ["---"] * len(TABLE), *lines])
    config.getoption("table").write_text(f"{TABLE_TITLE}\n\n{text}\n", encoding="utf-8")
