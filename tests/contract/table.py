"""Writes `docs/api.md`: each row of the documented contract, and the tests that cover it.

python tests/contract/table.py
"""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from rows import SECTIONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
COLLECTED = ("tests/contract", "tests/documentation", "tests/parity/test_released.py")
MARKER = "covers\t"
HEAD = """# The documented contract, and the tests that hold us to it

Every row of what the documentation of CLIPSeg and CLIP promises, and where it is tested. Written by
`python tests/contract/table.py` from the marks of the tests; a test fails when it is out of date or a row is empty.
"""


class Collector:
    """A pytest plugin that prints which rows each collected test covers."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            for mark in item.iter_markers("row"):
                section, *names = mark.args
                test = item.nodeid.split("[")[0]
                for name in names:
                    print(f"{MARKER}{section}\t{name}\t{test}")


def collected() -> dict[tuple[str, str], list[str]]:
    """(Section, row) -> the tests that cover it, in order. Tests are collected, not run, in a process of their own."""
    result = subprocess.run(
        [sys.executable, __file__, "--collect"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    tests: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in result.stdout.splitlines():
        if line.startswith(MARKER):
            section, name, test = line.removeprefix(MARKER).split("\t")
            if test not in tests[section, name]:
                tests[section, name].append(test)
    return tests


def page(tests: dict[tuple[str, str], list[str]]) -> str:
    """The text of `docs/api.md`."""
    parts = [HEAD]
    for section, (title, names) in SECTIONS.items():
        parts.append(f"\n## {section}. {title}\n\n| row | tests |\n|---|---|\n")
        for name in names:
            where = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in tests.get((section, name), []))
            parts.append(f"| {name.replace('*', chr(92) + '*')} | {where} |\n")
    return "".join(parts)


if __name__ == "__main__":
    if "--collect" in sys.argv:
        options = ["--collect-only", "-qq", "-p", "no:cacheprovider", "-m", "", *COLLECTED]
        sys.exit(pytest.main(options, plugins=[Collector()]))
    PAGE.write_text(page(collected()), encoding="utf-8")
