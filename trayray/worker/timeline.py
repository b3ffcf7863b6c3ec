"""What this process has executed, collected for the cluster's timeline. Not here: who asks for it (``gcs``)."""

import time
from collections import deque

from trayray.wire.report_messages import TaskEvents


class Timeline:
    """Executions that have not been reported yet."""

    def __init__(self) -> None:
        self._events: deque[tuple[bytes, str, float, float, bool]] = deque()

    def record(self, task_id: bytes, name: str, started: float, ok: bool) -> None:
        """A call has ended now; ``started`` in seconds since the epoch. From any thread."""
        self._events.append((task_id, name, started, time.time(), ok))

    def take(self) -> list[TaskEvents]:
        """The report of what was recorded since the last one; empty when nothing was."""
        events = [self._events.popleft() for _ in range(len(self._events))]
        return [TaskEvents(events)] if events else []
