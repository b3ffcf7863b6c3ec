"""The patterns and tips run, and print what docs/patterns.md says: whole numbers and words exactly, decimals vary.

That the better way is better, each program checks itself.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATTERNS = sorted((ROOT / "examples" / "patterns").glob("*.py"))
PAGE = (ROOT / "docs" / "patterns.md").read_text()
#: They sleep more than a second in all.
SLOW = {"pipelining", "ray_get_submission_order", "tips_delay_get", "tips_pipeline_data_processing"}


def documented(program: pathlib.Path) -> list[str]:
    """The lines of output that the program's row of the page shows."""
    (row,) = [line for line in PAGE.splitlines() if f"](../examples/patterns/{program.name})" in line]
    return re.findall(r"`([^`]+)`", row.rsplit(" | ", 1)[1])


def comparable(line: str) -> str:
    """The line without what may differ between runs: decimals, and how wide columns are."""
    return " ".join(re.sub(r"\d+\.\d+", "#", line).split())


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(program, id=program.stem, marks=pytest.mark.slow if program.stem in SLOW else ())
        for program in PATTERNS
    ],
)
def test_the_pattern_shows_what_the_page_says(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    printed = [comparable(line) for line in done.stdout.splitlines()]
    expected = [comparable(line) for line in documented(program)]
    assert len(expected) > 1, "a row compares at least two lines"
    assert [line for line in expected if line not in printed] == [], done.stdout


def test_the_page_names_no_pattern_that_is_not_there() -> None:
    named = re.findall(r"\]\(\.\./examples/patterns/(\w+\.py)\)", PAGE)

    assert sorted(named) == [program.name for program in PATTERNS]


def test_each_pattern_is_listed_with_the_name_of_its_file() -> None:
    for program in PATTERNS:
        assert f"[{program.name}](../examples/patterns/{program.name})" in PAGE
