"""Waiting in a test for what another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 15.0) -> T:
    """The first true value of ``condition()``; fails the test when there is none within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {seconds} s: {condition}, last value {value!r}"
        time.sleep(0.005)
    return value
