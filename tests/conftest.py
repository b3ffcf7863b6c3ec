"""Fixtures of all tests: clusters, and the guard that no test leaves anything behind."""

import pathlib
import shutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from tests import leftovers

_TEMPORARY = pytest.StashKey[pathlib.Path]()
_FAILED = pytest.StashKey[bool]()

# The same examples in every run, and no verdict about how fast the machine is. `--hypothesis-profile=explore` draws
# new ones, and more.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TEMPORARY] = leftovers.own_temporary_directory()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not (config.stash.get(_FAILED, False) and leftovers.session_root().exists()):
        shutil.rmtree(config.stash[_TEMPORARY])


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_FAILED] = exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash.get(_FAILED, False) and leftovers.session_root().exists():
        terminalreporter.write_line(f"logs of this run's clusters: {leftovers.session_root()}/session_*/logs")


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind_by_all() -> Iterator[None]:
    """The whole run leaves nothing behind."""
    with leftovers.nothing_left_behind():
        yield


@pytest.fixture(autouse=True)
def nothing_left_behind(nothing_left_behind_by_all: None) -> Iterator[None]:
    """Each test leaves nothing behind; tests that share a cluster are judged together, when it ends."""
    if leftovers.inside_shared_watch():
        yield
        return
    with leftovers.nothing_left_behind():
        yield


def init_arguments(**overrides: Any) -> dict[str, Any]:
    """Arguments for `init` that start a small cluster of this test's own."""
    arguments: dict[str, Any] = {
        "address": "local",
        "num_cpus": 4,
        "object_store_memory": 200 * 1024 * 1024,
        "include_dashboard": False,
        "log_to_driver": False,
    }
    return arguments | overrides


@pytest.fixture(scope="module")
def ray(nothing_left_behind_by_all: None) -> Iterator[ModuleType]:
    """trayray, connected to a local cluster of four logical CPUs for the whole test module."""
    import trayray

    if trayray.is_initialized():
        trayray.shutdown()
    with leftovers.nothing_left_behind(shared=True):
        trayray.init(**init_arguments())
        try:
            yield trayray
        finally:
            trayray.shutdown()


@pytest.fixture
def fresh_ray(nothing_left_behind: None) -> Iterator[ModuleType]:
    """trayray, not initialised; the test calls `init` itself, see `init_arguments`."""
    import trayray

    if trayray.is_initialized():
        trayray.shutdown()
    with leftovers.nothing_left_behind():
        try:
            yield trayray
        finally:
            trayray.shutdown()
