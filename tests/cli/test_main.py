from click.testing import CliRunner

import trayray as package
from tests.cli.conftest import Place
from trayray.cli.main import trayray

#: What takes long to import, and no help text needs.
HEAVY = ("asyncio", "grpclib", "msgspec", "rich", "trio", "trayray.exceptions")


def test_version_is_ours_and_names_rays():
    said = CliRunner().invoke(trayray, ["--version"]).output

    assert package.__version__ in said
    assert package.RAY_VERSION in said


def test_help_teaches_by_example():
    said = CliRunner().invoke(trayray, ["--help"]).output

    for line in ("trayray run script.py", "trayray start --head", "trayray status", "trayray stop"):
        assert line in said


def test_each_command_has_help():
    for name in trayray.commands:
        done = CliRunner().invoke(trayray, [name, "--help"])

        assert done.exit_code == 0
        assert "Usage: trayray" in done.output


def test_help_imports_nothing_heavy(place: Place):
    source = f"import sys, trayray.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"

    assert place.python("-c", source).stdout == "[]\n"


def test_unknown_command_is_named(place: Place):
    done = place.trayray("no-such-command")

    assert done.returncode == 2
    assert "no-such-command" in done.stderr
