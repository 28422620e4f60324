"""The page that says which test covers which row of the contract is up to date, and no row is empty."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import table


def test_every_row_is_covered_and_the_page_says_where() -> None:
    tests = table.collected()
    rows = {(section, name) for section, (_, names) in table.SECTIONS.items() for name in names}
    assert not rows - tests.keys(), "rows without a test"
    assert table.PAGE.read_text(encoding="utf-8") == table.page(tests), "run python tests/contract/table.py"
