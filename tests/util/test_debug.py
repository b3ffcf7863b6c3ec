"""`log_once` and what governs it."""

import math

import pytest

from trayray.util import debug
from trayray.util.debug import _Log


@pytest.fixture
def log(monkeypatch):
    log = _Log()
    monkeypatch.setattr(debug, "_log", log)
    return log


def test_once_for_each_key(log):
    assert debug.log_once("a")
    assert not debug.log_once("a")
    assert debug.log_once("b")


def test_reset(log):
    assert [debug.log_once(key) for key in "ab"] == [True, True]
    debug.reset_log_once("a")
    assert [debug.log_once(key) for key in "ab"] == [True, False]
    debug.reset_log_once()
    assert [debug.log_once(key) for key in "ab"] == [True, True]


def test_disabled(log):
    debug.disable_log_once_globally()
    assert not debug.log_once("a")


def test_once_a_minute(log):
    assert log.pause == math.inf
    debug.enable_periodic_logging()
    assert log.is_due("a", 1000.0)
    assert not log.is_due("a", 1059.9)
    assert log.is_due("a", 1060.0)
    assert not log.is_due("a", 1061.0)
