"""Ray's ``ray.util.metrics``: counters, gauges and histograms that a program defines itself.

Recorded in drivers, tasks and actors; each process reports what it recorded to its node about once a second and when it
ends, and the node serves it to Prometheus as ``ray_<name>``. Not here: collecting (``worker.metrics``), the endpoint
(``node.metrics``).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

from trayray.wire.report_messages import COUNTER, GAUGE, HISTOGRAM
from trayray.worker.metrics import Recording, recorder

_VALID_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")


class Metric:
    """What all kinds of metrics have in common."""

    _kind: int

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        """A metric of this process; all metrics of one name, in all processes of a job, are one.

        Args:
            name: letters, digits and underscores. With an invalid name the metric is discarded, with a warning.
            description: a sentence for whoever reads the metric.
            tag_keys: what its values are told apart by.

        Raises:
            ValueError: the name is empty.
            TypeError: ``tag_keys`` is no tuple of strings.
        """
        self._name = name
        self._description = description
        self._tag_keys = tag_keys or ()
        self._default_tags: dict[str, str] = {}
        self._recording: Recording | None = None
        valid = _is_valid(name)
        if not isinstance(self._tag_keys, tuple):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
            raise TypeError(f"tag_keys must be a tuple of strings, not {type(self._tag_keys).__name__}")
        for key in self._tag_keys:
            if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
                raise TypeError(f"tag keys must be strings, not {type(key).__name__}: {key!r}")
        self._check_more()
        if valid:
            self._recording = self._find_recording()

    def _check_more(self) -> None:
        """What one kind of metric asks for besides."""

    def _boundaries(self) -> tuple[float, ...]:
        return ()

    def _find_recording(self) -> Recording | None:
        try:
            return recorder.recording(self._name, self._kind, self._description, self._boundaries())
        except ValueError as error:
            warnings.warn(f"Metric {self._name!r} is discarded: {error}. Give it another name.", stacklevel=4)
            return None

    def set_default_tags(self, default_tags: dict[str, str]) -> Self:
        """Tags of every recording that does not state them itself; returns the metric.

        Raises:
            ValueError: a key that is not among the tag keys.
            TypeError: no dictionary, or a value that is no string.
        """
        _check_tags(default_tags)
        for key in default_tags:
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}: {self._name!r} has the tag keys {self._tag_keys}.")
        self._default_tags = dict(default_tags)
        return self

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def _record(self, value: float, tags: Mapping[str, str] | None) -> None:
        if self._recording is None:
            return
        if not self._tag_keys:
            if tags:
                _check_tags(tags)
            self._recording.record(value, ())
            return
        stated = self._default_tags
        if tags:
            _check_tags(tags)
            stated = {**stated, **tags}
        missing = [key for key in self._tag_keys if key not in stated]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)} (metric {self._name!r}).")
        self._recording.record(value, tuple((key, stated[key]) for key in self._tag_keys))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self._arguments(), self._default_tags)

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self._tag_keys


class Counter(Metric):
    """A number that only goes up: Prometheus sees it as ``ray_<name>_total``."""

    _kind = COUNTER

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add to it.

        Args:
            value: above zero.
            tags: take precedence over the default tags; together they must have all tag keys.

        Raises:
            TypeError: ``value`` is no number, or a tag no string.
            ValueError: ``value`` is not above zero, or a tag key has no value.
        """
        _check_number(value)
        if not value > 0:
            raise ValueError(f"value must be >0, got {value}: a counter only goes up; use a Gauge for what goes down")
        self._record(value, tags)


class Gauge(Metric):
    """A number that goes up and down; each process has its own latest value."""

    _kind = GAUGE

    def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
        """Set it; None changes nothing.

        Raises:
            TypeError: ``value`` is no number, or a tag no string.
            ValueError: a tag key has no value.
        """
        if value is None:
            return
        _check_number(value)
        self._record(value, tags)


class Histogram(Metric):
    """How many values fell below each of some boundaries, their number and their sum."""

    _kind = HISTOGRAM

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        """See `Metric`.

        Args:
            boundaries: upper bounds of the buckets, all above zero; one more bucket has no bound.

        Raises:
            ValueError: no boundaries, or one that is not above zero.
        """
        self.boundaries: Sequence[float] = () if boundaries is None else boundaries
        super().__init__(name, description, tag_keys)

    def _check_more(self) -> None:
        if len(self.boundaries) == 0:
            raise ValueError(
                'boundaries argument should be provided when using Histogram, e.g. Histogram("name", boundaries=[1, 2])'
            )
        for index, boundary in enumerate(self.boundaries):
            if not boundary > 0:
                raise ValueError(
                    f"Invalid `boundaries` argument at index {index}, {self.boundaries}: they must be positive."
                )

    def _boundaries(self) -> tuple[float, ...]:
        return tuple(sorted({float(boundary) for boundary in self.boundaries}))

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Count a value in its bucket.

        Raises:
            TypeError: ``value`` is no number, or a tag no string.
            ValueError: a tag key has no value.
        """
        _check_number(value)
        self._record(value, tags)

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys, default tags and boundaries."""
        return {**super().info, "boundaries": self.boundaries}

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self.boundaries, self._tag_keys


def _restore(kind: type[Metric], arguments: tuple[Any, ...], default_tags: dict[str, str]) -> Metric:
    return kind(*arguments).set_default_tags(default_tags)


def _is_valid(name: str) -> bool:
    """Whether the metric is collected; warns when it is not.

    Raises:
        ValueError: the name is empty.
    """
    if not name:
        raise ValueError("Empty name is not allowed. Please provide a metric name.")
    if not _VALID_NAME.match(name):
        warnings.warn(
            f"Invalid metric name: {name}. The metric will be discarded and nothing will be collected of it. Names "
            "consist of letters, digits, _ and :, and do not start with a digit.",
            UserWarning,
            stacklevel=3,
        )
        return False
    if ":" in name:
        warnings.warn(
            f"Metric name {name} contains a ':', which Prometheus keeps for recording rules; use '_' instead.",
            FutureWarning,
            stacklevel=3,
        )
    return True


def _check_number(value: object) -> None:
    if not isinstance(value, int | float):
        raise TypeError(f"value must be int or float, got {type(value)}.")


def _check_tags(tags: Mapping[str, object]) -> None:
    if not isinstance(tags, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise TypeError(f"Tags must be a dictionary of strings, got {type(tags)}.")
    for key, value in tags.items():
        if not isinstance(value, str):
            raise TypeError(f"Tag values must be str, got {type(value)} for {key!r}.")


__all__ = ("Counter", "Gauge", "Histogram")
