"""How many restarts are too many: more than ``intensity`` of them within ``period`` seconds.

Not here: what a supervisor does then (``supervision``).
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import attrs

T = TypeVar("T")


@attrs.define
class RestartIntensity(Generic[T]):
    """The restarts of one supervisor that still count, each with what led to it."""

    intensity: int
    period: float
    _counted: deque[tuple[float, T]] = attrs.field(factory=deque[tuple[float, T]])

    def count(self, now: float, cause: T) -> bool:
        """Count one more restart, at ``now`` (seconds); whether it is still within the bounds."""
        while self._counted and self._counted[0][0] < now - self.period:
            self._counted.popleft()
        self._counted.append((now, cause))
        return len(self._counted) <= self.intensity

    @property
    def causes(self) -> tuple[T, ...]:
        """What led to the restarts that counted at the last one, oldest first."""
        return tuple(cause for _, cause in self._counted)

    def check_invariants(self, *, exceeded: bool) -> None:
        """Raise AssertionError when the state is impossible."""
        moments = [moment for moment, _ in self._counted]
        assert moments == sorted(moments), "restarts are counted in their order"
        assert all(moment >= moments[-1] - self.period for moment in moments), "an old restart counts"
        assert exceeded or len(moments) <= self.intensity, "too many restarts, and it goes on"
