"""Clusters within the test's own process."""

import os
import threading
from collections.abc import Iterator
from types import ModuleType

import pytest

import trayray
from tests.conftest import init_arguments
from tests.processes.waiting import eventually


def descriptors() -> set[str]:
    """What this process has open, but for the listing itself."""
    found: set[str] = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue
    return found


@pytest.fixture
def ray(nothing_left_behind: None) -> Iterator[ModuleType]:
    """trayray, with a cluster in this process of which no thread and no descriptor is left behind."""
    threads, opened = set(threading.enumerate()), descriptors()
    trayray.init(**init_arguments(mode="in_process"))
    try:
        yield trayray
    finally:
        trayray.shutdown()
    assert set(threading.enumerate()) <= threads
    eventually(lambda: descriptors() <= opened)  # values that are just being collected have views of the arena
