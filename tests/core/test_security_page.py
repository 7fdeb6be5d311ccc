"""docs/security.md claims nothing that no test shows: every test and every row that it names is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
CODE = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py"))


def test_every_test_that_the_page_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 30
    assert named - set(re.findall(r"def (test_\w+)\(", CODE)) == set()


def test_every_row_that_the_page_names_is_there():
    named = {row for cell in re.findall(r"rows? (\"[^|;]*)", PAGE) for row in re.findall(r'"([^"]+)"', cell)}
    assert len(named) == 3
    assert {row for row in named if f'id="{row}"' not in CODE} == set()
