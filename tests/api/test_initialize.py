"""Settings that `init` refuses, before it starts anything."""

import importlib.util

import pytest

import trayray
from trayray.api.session import session


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    monkeypatch.setenv("TRAYRAY_ADDRESS", "local")
    yield
    assert session.connection is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"object_spilling_directory": "relative"}, "object_spilling_directory must be an absolute path"),
        (
            {"_system_config": {"object_spilling_threshold": 2}},
            r'_system_config\["object_spilling_threshold"\] must be',
        ),
        ({"_system_config": {"object_spilling_config": {"type": "tape"}}}, "not 'tape'"),
    ],
)
def test_settings_of_the_store(arguments, says):
    with pytest.raises(ValueError, match=says):
        trayray.init(**arguments)


def test_settings_in_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_max_io_workers", "many")

    with pytest.raises(ValueError, match="RAY_max_io_workers must be a number, not 'many'"):
        trayray.init()


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    config = {"type": "smart_open", "params": {"uri": "s3://bucket/path"}}

    with pytest.raises(ImportError, match=r"needs smart_open and boto3.*pip install 'trayray\[spill\]'"):
        trayray.init(_system_config={"object_spilling_config": config})
