"""``log_once``: messages that a program logs once, or once in a while, however often it comes by. As in Ray.

Not here: the debugger (``rpdb``).
"""

from __future__ import annotations

import math
import threading
import time

#: With `enable_periodic_logging`, a message may come again after so long (seconds).
_PERIOD = 60.0


class _Log:
    """What was logged when, in this process."""

    def __init__(self) -> None:
        self.disabled = False
        #: How long a message stays away (seconds).
        self.pause = math.inf
        self.latest: dict[str, float] = {}
        self.lock = threading.Lock()

    def is_due(self, key: str, now: float) -> bool:
        """Whether ``key`` may be logged at ``now`` (seconds of any clock); then it was."""
        with self.lock:
            if self.disabled or now - self.latest.get(key, -math.inf) < self.pause:
                return False
            self.latest[key] = now
            return True


_log = _Log()


def log_once(key: str) -> bool:
    """Whether this is the first call with ``key`` in this process: ``if log_once("key"): logger.info(...)``."""
    return _log.is_due(key, time.monotonic())


def reset_log_once(key: str | None = None) -> None:
    """Forget that ``key`` was logged; without one, forget all."""
    with _log.lock:
        if key is None:
            _log.latest.clear()
        else:
            _log.latest.pop(key, None)


def disable_log_once_globally() -> None:
    """From now on `log_once` is false in this process."""
    _log.disabled = True


def enable_periodic_logging() -> None:
    """From now on `log_once` is true again a minute after it was."""
    _log.pause = _PERIOD


__all__ = ("disable_log_once_globally", "enable_periodic_logging", "log_once", "reset_log_once")
