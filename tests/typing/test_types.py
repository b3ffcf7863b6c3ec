"""Runs the type checkers over the files beside this one, and compares what they say with what the files say.

A line that ends in ``# E`` has to be an error, and no other line may be one. `make types` runs this.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
#: The package's own words to checkers.
SHAPES = HERE.parents[1] / "trayray" / "api" / "shapes"

#: What all of them can do by themselves.
EVERYWHERE = [
    "calls.py",
    "graphs.py",
    "native.py",
    "streams.py",
    "supervision.py",
    "utilities.py",
    "mistakes.py",
    "utility_mistakes.py",
]
#: What each checker reads. mypy cannot do all of it without the plugin, nor pyright without the stub.
FILES = {
    "pyright": [*EVERYWHERE, "decorated_classes.py"],
    "pyright and its stub": ["stubbed_methods.py"],
    "mypy": EVERYWHERE,
    "mypy and its plugin": [*EVERYWHERE, "decorated_classes.py", "undecorated_methods.py", "plugin_mistakes.py"],
}

#: Messages by file and line.
Errors = dict[tuple[Path, int], str]
Check = Callable[[str], Errors]


def run(module: str, *arguments: str | Path, cwd: Path) -> str:
    """Output of a checker that did its work, whatever it found."""
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed; `make types` installs it")
    command = [sys.executable, "-m", module, *map(str, arguments)]
    ran = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1), f"{command} failed:\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def pyright(directory: Path, *, with_stub: bool) -> Errors:
    files = list(directory.glob("*.py"))
    settings: dict[str, Any] = {"typeCheckingMode": "strict"}
    if with_stub:
        from trayray.cli.typings import write_typings

        stub = write_typings(directory / "typings")
        settings |= {"stubPath": str(stub.parent), "include": ["*.py"]}
    config = directory / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    output = run("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", config, cwd=directory)
    found: dict[str, Any] = json.loads(output)
    assert found["summary"]["filesAnalyzed"] == len(files)
    return {
        (Path(error["file"]), error["range"]["start"]["line"] + 1): error["message"]
        for error in found["generalDiagnostics"]
    }


def mypy(directory: Path, *, with_plugin: bool) -> Errors:
    files = [*directory.glob("*.py"), *SHAPES.glob("*.py")]
    config = directory / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\n" + ("plugins = trayray.mypy\n" if with_plugin else ""))
    options = ["--output=json", "--config-file", config, "--cache-dir", directory / "cache"]
    found = [json.loads(line) for line in run("mypy", *options, *files, cwd=directory).splitlines()]
    return {(directory / error["file"], error["line"]): error["message"] for error in found}


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Runs a checker over its files, the first time that it is asked for."""

    @functools.cache
    def checked(checker: str) -> Errors:
        # Away from the clone: checkers are to find the package where users have it, and none of our settings.
        directory = tmp_path_factory.mktemp("project")
        for name in FILES[checker]:
            shutil.copy(HERE / name, directory)
        if checker.startswith("pyright"):
            found = pyright(directory, with_stub=checker != "pyright")
        else:
            found = mypy(directory, with_plugin=checker != "mypy")
        return {
            (HERE / file.name if file.parent == directory else file, line): found[file, line] for file, line in found
        }

    return checked


@pytest.mark.parametrize(("checker", "name"), [(checker, name) for checker, names in FILES.items() for name in names])
def test_errors_are_where_they_are_expected(check: Check, checker: str, name: str) -> None:
    """No valid program is refused, and no mistake goes unseen."""
    path = HERE / name
    lines = path.read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# E")}
    assert bool(expected) == ("mistakes" in name)

    errors = {line: message for (file, line), message in check(checker).items() if file == path}

    refused = [f"{name}:{line}: {message}" for line, message in sorted(errors.items()) if line not in expected]
    unseen = [f"{name}:{line}: {lines[line - 1]}" for line in sorted(expected - errors.keys())]
    assert (refused, unseen) == ([], [])


@pytest.mark.parametrize("checker", ["mypy", "mypy and its plugin"])
def test_the_shapes_are_sound(check: Check, checker: str) -> None:
    """What the package tells checkers has no errors of its own; pyright reads it with the rest of the package."""
    files = set(SHAPES.glob("*.py"))
    assert len(files) > 1
    assert {place: message for place, message in check(checker).items() if place[0] in files} == {}
