"""The configurations of docs/spilling.md are understood, and its table is right."""

import pathlib
import re
import shlex
import types
from typing import Any

import pytest

from trayray.cli import start
from trayray.model.spilling import StoreSettings

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "spilling.md").read_text()
CALLS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("call", CALLS)
def test_calls_of_init(call):
    said: dict[str, Any] = {}
    exec(call, {"ray": types.SimpleNamespace(init=said.update)})

    settings = StoreSettings.from_sources(
        said.pop("_system_config", {}), {}, said.pop("object_spilling_directory", None)
    )

    assert said == {}
    assert settings.spilling.places


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, tmp_path):
    program, subcommand, *arguments = shlex.split(command)
    context = start.start.make_context("start", [*arguments, f"--temp-dir={tmp_path}"])

    config = start._node_config(context.params, 0)

    assert (program, subcommand) == ("trayray", "start")
    assert config.store_settings().spilling.places


@pytest.mark.parametrize(("name", "default"), ROWS)
def test_defaults(name, default):
    if name in ("object_spilling_directory", "object_spilling_config"):
        assert StoreSettings().spilling.places == ()
    else:
        value = {"true": True}.get(default) or float(default)
        assert StoreSettings.from_sources({name: value}, {}) == StoreSettings()


def test_every_kind_of_example_is_there():
    assert (len(CALLS), len(COMMANDS), len(ROWS)) == (6, 2, 9)


@pytest.mark.parametrize("prefix", ["TRAYRAY", "RAY"])
def test_the_environment(prefix):
    assert f"`{prefix}_max_io_workers=8`" in PAGE
    assert StoreSettings.from_sources({}, {f"{prefix}_max_io_workers": "8"}) == StoreSettings(max_io_workers=8)
