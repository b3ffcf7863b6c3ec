import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.core.leaving import WorkerSettings
from trayray.model.spilling import StoreSettings
from trayray.node import config as module
from trayray.node.config import (
    KILL_CHILDREN,
    KILL_DESCENDANTS,
    NodeConfig,
    available_cpus,
    default_store_bytes,
    machine_memory,
)

names = st.text(min_size=1, max_size=8)


@given(
    num_cpus=st.none() | st.floats(0, 1000),
    custom=st.dictionaries(names, st.floats(0, 100), max_size=3),
    labels=st.dictionaries(names, names, max_size=3),
    name=st.text(max_size=5),
    store=st.none() | st.builds(StoreSettings, threshold=st.floats(0.1, 1), max_io_workers=st.integers(1, 9)),
)
def test_it_travels_as_json(num_cpus, custom, labels, name, store):
    config = NodeConfig("/root", num_cpus=num_cpus, custom_resources=custom, labels=labels, name=name, store=store)
    assert NodeConfig.from_json(config.to_json()) == config


def test_what_is_open_comes_from_the_machine():
    config = NodeConfig("/root").completed()
    assert config.num_cpus == available_cpus() >= 1
    assert 0 < config.memory <= machine_memory()
    assert 0 <= config.object_store_memory - default_store_bytes() < mmap.PAGESIZE
    assert config.completed() == config


def test_what_is_stated_stays():
    config = NodeConfig("/root", num_cpus=0, memory=7, object_store_memory=100 * 2**20)
    completed = config.completed()
    assert (completed.num_cpus, completed.memory, completed.object_store_memory) == (0, 7, 100 * 2**20)
    assert completed.prestart == 0, "a node without CPUs starts no workers ahead"


@pytest.mark.parametrize(("cpus", "prestart"), [(1, 1), (2, 2), (64, 2), (0.5, 0)])
def test_workers_started_ahead(cpus, prestart):
    assert NodeConfig("/root", num_cpus=cpus).completed().prestart == prestart


def test_resources_of_a_node():
    config = NodeConfig("/root", num_cpus=4, num_gpus=1, memory=100, custom_resources={"special": 2.5})
    resources = config.resources(b"id" * 14).to_dict()
    assert {name: resources[name] for name in ("CPU", "GPU", "memory", "special", "node:127.0.0.1")} == {
        "CPU": 4,
        "GPU": 1,
        "memory": 100,
        "special": 2.5,
        "node:127.0.0.1": 1,
    }


def test_no_gpu_is_no_resource():
    assert "GPU" not in NodeConfig("/root", num_cpus=1, memory=1).resources(b"x" * 28).to_dict()


def test_the_store_has_a_least_size(monkeypatch):
    monkeypatch.setattr(module, "machine_memory", lambda: 10**7)
    assert default_store_bytes() == 80 * 1024 * 1024


def test_the_store_has_a_largest_size(monkeypatch):
    monkeypatch.setattr(module, "machine_memory", lambda: 10**13)
    assert default_store_bytes() <= 200 * 10**9


@pytest.mark.parametrize(
    ("children", "descendants", "expected"),
    [
        (None, None, (True, True)),
        ("1", None, (True, True)),
        ("false", None, (False, False)),
        (None, "0", (True, False)),
        ("true", "TRUE", (True, True)),
        ("no", "yes", (False, True)),
        ("off", "on", (False, True)),
    ],
)
def test_what_ends_with_a_worker(monkeypatch, children, descendants, expected):
    for name, value in ((KILL_CHILDREN, children), (KILL_DESCENDANTS, descendants)):
        if value is not None:
            monkeypatch.setenv(f"RAY_{name}", value)
    settings = NodeConfig("/").worker_settings()

    assert (settings.kills_children, settings.kills_descendants) == expected


def test_arguments_come_before_the_environment(monkeypatch):
    monkeypatch.setenv(f"TRAYRAY_{KILL_CHILDREN}", "1")
    monkeypatch.setenv("TRAYRAY_SHUTDOWN_SECONDS", "7")
    config = NodeConfig("/", shutdown_seconds=3, kill_children=False)

    assert config.worker_settings() == WorkerSettings(3, kills_children=False, kills_descendants=False)
    assert NodeConfig("/").worker_settings().seconds == 7


@pytest.mark.parametrize("text", ["-1", "soon", "nan"])
def test_a_wrong_number_of_seconds(monkeypatch, text):
    monkeypatch.setenv("TRAYRAY_SHUTDOWN_SECONDS", text)
    with pytest.raises(ValueError, match="TRAYRAY_SHUTDOWN_SECONDS"):
        NodeConfig("/").worker_settings()


def test_settings_of_the_store_come_from_the_environment_unless_they_are_given(monkeypatch):
    monkeypatch.setenv("RAY_max_io_workers", "7")

    assert NodeConfig("/").store_settings() == StoreSettings(max_io_workers=7)
    assert NodeConfig("/", store=StoreSettings()).store_settings() == StoreSettings()
