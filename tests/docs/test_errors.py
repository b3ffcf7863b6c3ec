"""docs/errors.md names every error, and is right about those that nothing raises."""

import pathlib
import re

import pytest

from trayray.exceptions import RAY_EXCEPTION_TYPES

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text()
#: Where errors are defined, and generated code.
DEFINITIONS = ("trayray/exceptions.py", "trayray/task_error.py", "trayray/wire/proto/")
NAMES = [kind.__name__ for kind in RAY_EXCEPTION_TYPES]


def users_of(name: str) -> list[str]:
    """Modules of the package that name it, besides those that define it."""
    word = re.compile(rf"\b{name}\b")
    paths = ((path.relative_to(ROOT).as_posix(), path) for path in (ROOT / "trayray").rglob("*.py"))
    return [place for place, path in paths if not place.startswith(DEFINITIONS) and word.search(path.read_text())]


def never_raised() -> set[str]:
    section = PAGE.split("## There, but never raised yet")[1].split("\n`UnserializableException`")[0]
    return set(re.findall(r"`(\w+)`", section))


@pytest.mark.parametrize("name", NAMES)
def test_every_error_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_errors_that_nothing_raises() -> None:
    # They are raised by what is in the same modules as their definitions.
    unused = {name for name in NAMES if not users_of(name)} - {"UnserializableException"}
    assert never_raised() == unused
