"""What this process has recorded of its metrics, aggregated until the next report to the node.

Recording is a lock and an update of a dictionary, from any thread. It may begin before the process belongs to a
cluster: the first report brings everything. Not here: what users call (``util.metrics``), merging (``node``).
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from weakref import WeakValueDictionary

from trayray.wire.report_messages import GAUGE, HISTOGRAM, MetricReport, MetricUpdate

#: Tags of one point: pairs of key and value.
Tags = tuple[tuple[str, str], ...]


class Recording:
    """One metric of this process: what was recorded of it since the last report."""

    __slots__ = ("name", "kind", "description", "boundaries", "_recorder", "_points", "__weakref__")

    def __init__(
        self, recorder: Recorder, name: str, kind: int, description: str, boundaries: tuple[float, ...]
    ) -> None:
        self._recorder = recorder
        self.name = name
        self.kind = kind
        self.description = description
        self.boundaries = boundaries
        self._points: dict[Tags, list[float]] = {}

    def record(self, value: float, tags: Tags) -> None:
        """Increase the counter, set the gauge, or add to the histogram."""
        number = float(value)  # numbers of other libraries may be floats too, which cannot be sent as they are
        with self._recorder.lock:
            if not self._points:
                self._recorder.pending.append(self)
            if self.kind == GAUGE:
                self._points[tags] = [number]
                return
            point = self._points.get(tags)
            if point is None:
                # A histogram's point: the sum, then the count of each bucket.
                buckets = len(self.boundaries) + 1 if self.kind == HISTOGRAM else 0
                point = self._points[tags] = [0.0] * (1 + buckets)
            point[0] += number
            if self.kind == HISTOGRAM:
                point[1 + bisect_left(self.boundaries, number)] += 1

    def take(self) -> MetricUpdate:
        """What was recorded since the last time. The recorder's lock is held."""
        points, self._points = self._points, {}
        return MetricUpdate(
            self.name,
            self.kind,
            _sendable(self.description),
            self.boundaries,
            [
                (tuple((_sendable(key), _sendable(value)) for key, value in tags), tuple(point))
                for tags, point in points.items()
            ],
        )

    def forget(self) -> None:
        """Leave what was recorded to somebody else."""
        self._points = {}


class Recorder:
    """The metrics of this process."""

    def __init__(self) -> None:
        # Reentrant: a finalizer that records may run while this very thread is recording.
        self.lock = threading.RLock()
        #: Those of which something was recorded since the last report.
        self.pending: list[Recording] = []
        #: By name; a metric that nobody has any more is forgotten once it was reported.
        self._recordings: WeakValueDictionary[str, Recording] = WeakValueDictionary()

    def recording(self, name: str, kind: int, description: str, boundaries: tuple[float, ...] = ()) -> Recording:
        """The metric of this name; all metrics of one name are one.

        Raises:
            ValueError: one of this name and another kind, or with other boundaries, exists in this process.
        """
        with self.lock:
            found = self._recordings.get(name)
            if found is None:
                found = self._recordings[name] = Recording(self, name, kind, description, boundaries)
            elif (found.kind, found.boundaries) != (kind, boundaries):
                raise ValueError("this process has a metric of the same name with another type or other boundaries")
            found.description = found.description or description
            return found

    def take(self) -> list[MetricReport]:
        """The report of what was recorded since the last one; empty when nothing was."""
        with self.lock:
            pending, self.pending = self.pending, []
            updates = [recording.take() for recording in pending]
        return [MetricReport(updates)] if updates else []

    def start_over(self) -> None:
        """In a forked child: another thread of the parent may have held the lock, and reports what was recorded."""
        self.lock = threading.RLock()
        pending, self.pending = self.pending, []
        for recording in pending:
            recording.forget()


def _sendable(text: str) -> str:
    """Plain text without what UTF-8 cannot hold: lone halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8")


recorder = Recorder()
os.register_at_fork(after_in_child=recorder.start_over)
