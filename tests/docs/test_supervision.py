"""The table of OTP's rules in docs/supervision.md and the tests of these rules agree."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "supervision.md").read_text()
TESTS = (ROOT / "tests" / "core" / "test_supervision.py").read_text()


def test_each_row_is_a_test_and_each_test_a_row() -> None:
    rows = re.findall(r"^\| .+ \| `(test_\w+)` \|$", PAGE, re.MULTILINE)
    tests = re.findall(r"^def (test_\w+)", TESTS, re.MULTILINE)

    assert len(rows) >= 40
    assert sorted(rows) == sorted(tests)
