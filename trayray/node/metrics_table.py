"""What the processes of a node have recorded of their metrics, merged.

Counters and histograms are summed over all processes of a job and stay when a process ends; a gauge belongs to the
process that set it and goes a while after its end. No I/O and no clock. Not here: the text (``metrics_text``), metrics
of the node itself (``metrics_system``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from trayray.node.metrics_text import Family, Labels, Sample, label_name, number
from trayray.wire.report_messages import COUNTER, GAUGE, HISTOGRAM, MetricUpdate

#: A gauge is served for so long after its process has gone: longer than Prometheus usually waits between scrapes.
GAUGE_SECONDS = 60.0
#: So many series at most, lest tags that never repeat (ids, times) fill the node's memory.
MAX_SERIES = 50_000

_KINDS = {COUNTER: "counter", GAUGE: "gauge", HISTOGRAM: "histogram"}


@attrs.define
class _Series:
    """All points of one exported name: by labels the numbers, and for a gauge its process."""

    kind: int
    description: str
    boundaries: tuple[float, ...]
    points: dict[Labels, list[float]] = attrs.field(factory=dict[Labels, list[float]])


class MetricTable:
    """All metrics that programs define, on one node."""

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._series: dict[str, _Series] = {}
        self._max_series = max_series
        self._count = 0
        #: Recordings that were left out for want of room.
        self.dropped = 0
        #: Names whose trouble has been told.
        self._told: set[str] = set()
        #: Gauges by process, and when processes ended.
        self._gauges: dict[str, set[tuple[str, Labels]]] = {}
        self._gone: dict[str, float] = {}

    def merge(self, updates: Iterable[MetricUpdate], worker: str, job: str) -> list[str]:
        """A process reports what it has recorded.

        Args:
            worker: the process's id, and ``job`` its job's, as labels show them.

        Returns:
            sentences for the log: what was left out, each once.

        Raises:
            ValueError: the report contradicts itself.
        """
        complaints: list[str] = []
        for update in updates:
            _check(update)
            name = exported_name(update.name, update.kind)
            series = self._series.get(name)
            if series is None:
                series = self._series[name] = _Series(update.kind, update.description, update.boundaries)
            series.description = series.description or update.description
            if (series.kind, series.boundaries) != (update.kind, update.boundaries):
                complaints += self._once(
                    name,
                    f"metric {update.name!r} of worker {worker} is left out: others have recorded it as a "
                    f"{_KINDS[series.kind]} with boundaries {series.boundaries}; give one of them another name",
                )
                continue
            for tags, values in update.points:
                if not self._add(name, series, _labels(update.kind, tags, worker, job), values):
                    complaints += self._once(
                        "", f"metric {update.name!r}: the node has {self._count} series already, new ones are left out"
                    )
        return complaints

    def _add(self, name: str, series: _Series, labels: Labels, values: tuple[float, ...]) -> bool:
        point = series.points.get(labels)
        if point is None:
            if self._count >= self._max_series:
                self.dropped += 1
                return False
            self._count += 1
            point = series.points[labels] = [0.0] * len(values)
        if series.kind == GAUGE:
            point[:] = values
            self._gauges.setdefault(dict(labels)["WorkerId"], set()).add((name, labels))
        else:
            point[:] = [old + new for old, new in zip(point, values, strict=True)]
        return True

    def _once(self, key: str, sentence: str) -> list[str]:
        if key in self._told:
            return []
        self._told.add(key)
        return [sentence]

    def process_gone(self, worker: str, now: float) -> None:
        """The process has ended; ``now`` in seconds of any clock that `families` is given too."""
        if worker in self._gauges:
            self._gone[worker] = now

    def families(self, now: float) -> Iterator[Family]:
        """Everything that is there at ``now``; gauges of processes that ended long ago are dropped for good."""
        for worker in [worker for worker, since in self._gone.items() if now - since > GAUGE_SECONDS]:
            del self._gone[worker]
            for name, labels in self._gauges.pop(worker):
                if self._series[name].points.pop(labels, None) is not None:
                    self._count -= 1
        for name, series in self._series.items():
            if series.points:
                yield Family(name, _KINDS[series.kind], series.description, list(_samples(series)))


def exported_name(name: str, kind: int) -> str:
    """The name that Prometheus sees."""
    return f"ray_{name.removesuffix('_total')}_total" if kind == COUNTER else f"ray_{name}"


def _labels(kind: int, tags: Iterable[tuple[str, str]], worker: str, job: str) -> Labels:
    labels = {"Component": "core_worker", "JobId": job}
    if kind == GAUGE:
        labels["WorkerId"] = worker
    for key, value in tags:
        name = label_name(key)
        if name == "le" and kind == HISTOGRAM:  # the boundary's own label
            name = "_le"
        if name != "WorkerId" or kind != GAUGE:  # by which the gauge is found again
            labels[name] = value
    return tuple(labels.items())


def _samples(series: _Series) -> Iterator[Sample]:
    for labels, point in series.points.items():
        if series.kind != HISTOGRAM:
            yield Sample(labels, point[0])
            continue
        count = 0.0
        for boundary, inside in zip((*series.boundaries, float("inf")), point[1:], strict=True):
            count += inside
            yield Sample((*labels, ("le", number(boundary))), count, "_bucket")
        yield Sample(labels, count, "_count")
        yield Sample(labels, point[0], "_sum")


def _check(update: MetricUpdate) -> None:
    if update.kind not in _KINDS:
        raise ValueError(f"metric {update.name!r} is of the unknown kind {update.kind}")
    length = len(update.boundaries) + 2 if update.kind == HISTOGRAM else 1
    if any(len(values) != length for _, values in update.points):
        raise ValueError(f"metric {update.name!r}: each point must have {length} numbers")
