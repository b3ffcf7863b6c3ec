"""How often a failed task is tried again, and when.

A crash and an exception that the user named both use up one of ``max_retries`` (-1: never used up). The first retry
comes at once, because most failures are singular; from the second on they wait, each twice as long as the one before,
so that a task that always fails does not keep the machine busy with failing.
Not here: which failures may be retried (``worker.tasks``, ``worker.calls``).
"""

from __future__ import annotations

from typing import Final

#: The second retry waits so long (seconds), unless a setting says otherwise.
FIRST_DELAY_SECONDS: Final = 0.05
#: No retry waits longer (seconds).
LONGEST_DELAY_SECONDS: Final = 5.0
#: Doubling stops here: what lies beyond exceeds every limit, and floats.
_MAX_DOUBLINGS: Final = 32


def retry_delay(failures: int, first: float = FIRST_DELAY_SECONDS) -> float:
    """Seconds until the next attempt of something that has failed ``failures`` times in a row (at least once).

    ``first`` is the wait after the second failure, 0 for none at all.
    """
    if failures <= 1:
        return 0.0
    return min(first * 2 ** min(failures - 2, _MAX_DOUBLINGS), max(first, LONGEST_DELAY_SECONDS))


def after_failure(left: int) -> int | None:
    """The retries left after this failure took one of ``left``; None when there was none."""
    if left == 0:
        return None
    return left if left < 0 else left - 1
