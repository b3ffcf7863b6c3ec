"""Metrics as Prometheus reads them: families of samples, written in its text format, version 0.0.4.

The format is a few lines that have not changed since 2014, so it is written here instead of by a client library, whose
import would hold the node up. Not here: where the numbers come from (``metrics_table``, ``metrics_system``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

import attrs

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Pairs of name and value. A label without a value counts as absent.
Labels = tuple[tuple[str, str], ...]

_NOT_IN_LABEL_NAMES = re.compile(r"[^a-zA-Z0-9_]")


@attrs.frozen
class Sample:
    """One number of a family; ``suffix`` follows the family's name (``_bucket`` and the like)."""

    labels: Labels
    value: float
    suffix: str = ""


@attrs.define
class Family:
    """All samples of one name."""

    name: str
    #: "counter", "gauge" or "histogram".
    kind: str
    text: str
    samples: list[Sample] = attrs.field(factory=list[Sample])

    def add(self, value: float, **labels: str) -> None:
        """One more sample."""
        self.samples.append(Sample(tuple(labels.items()), value))


def label_name(text: str) -> str:
    """``text`` with everything replaced that Prometheus does not allow in the name of a label."""
    name = _NOT_IN_LABEL_NAMES.sub("_", text)
    return f"_{name}" if not name or name[0].isdigit() else name


def exposition(families: Iterable[Family], common: Labels) -> str:
    """The text of all families; every sample has the ``common`` labels besides, unless it has such ones itself.

    Families of the same name are one, as the format demands; one of another kind than the first is left out.
    """
    merged: dict[str, Family] = {}
    for family in families:
        first = merged.setdefault(family.name, family)
        if first is not family and first.kind == family.kind:
            first.samples.extend(family.samples)
    return "".join(line for family in merged.values() for line in _lines(family, common))


def _lines(family: Family, common: Labels) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.text)}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    for sample in family.samples:
        labels = {**dict(common), **dict(sample.labels)}
        written = ",".join(f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
        yield f"{family.name}{sample.suffix}{{{written}}} {number(sample.value)}\n"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def number(value: float) -> str:
    """A number as the format has it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
