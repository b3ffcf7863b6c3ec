"""Graphs drawn as SVG: boxes in layers from top to bottom, arrows that bend around them.

Plain text work, so that notebooks show graphs without anything installed. Each arrow passes every layer between its
ends at a place of its own; the places in a layer are ordered by where their neighbours are. A box is so wide that the
labels of the arrows that end in it stand side by side above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Final

import attrs

from trayray.core.graph import levels
from trayray.dag.picture import Arrow, Picture

#: Lengths in pixels.
_CHARACTER: Final = 7.3
_LABEL_CHARACTER: Final = 6.3
_BOX_HEIGHT: Final = 30.0
_LAYER_HEIGHT: Final = 84.0
_GAP: Final = 26.0
_PASSAGE: Final = 12.0
_MARGIN: Final = 14.0
#: How often the order within the layers is improved, down and up again.
_SWEEPS: Final = 4

_FILLS: Final = {
    "task": "#e8f0fe",
    "actor": "#fde9d9",
    "call": "#fff6e0",
    "input": "#e6f4ea",
    "output": "#e6f4ea",
}
_ROUND: Final = {"task": 3, "actor": 0, "call": 10, "input": 15, "output": 15}
_INK: Final = "#26324a"
_LINE: Final = "#7b8794"
_TIP: Final = (
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0L10 5L0 10z" fill="{_LINE}"/></marker></defs>'
)


@attrs.define(eq=False)
class _Place:
    """Where a box is, or where an arrow passes a layer (then without a box). ``x`` is the middle."""

    width: float
    box: int | None
    above: list[_Place] = attrs.field(factory=list["_Place"])
    below: list[_Place] = attrs.field(factory=list["_Place"])
    x: float = 0.0


@attrs.define
class _Layout:
    layers: list[list[_Place]]
    boxes: list[_Place]
    #: The places on the way of each arrow, its ends included.
    ways: list[tuple[Arrow, list[_Place]]]
    layer_of: dict[int, int]

    def ends(self) -> list[float]:
        """Where along the tops of their boxes the arrows end: side by side, in the order of their sources."""
        found = [0.0] * len(self.ways)
        into: dict[int, list[int]] = {}
        for number, (arrow, _) in enumerate(self.ways):
            into.setdefault(arrow.target, []).append(number)
        for target, numbers in into.items():
            numbers.sort(key=lambda number: self.ways[number][1][-2].x)
            widths = [_label_width(self.ways[number][0]) for number in numbers]
            left = self.boxes[target].x - sum(widths) / 2
            for number, width in zip(numbers, widths, strict=True):
                found[number] = left + width / 2
                left += width
        return found


def _label_width(arrow: Arrow) -> float:
    return len(arrow.label) * _LABEL_CHARACTER + _PASSAGE


def svg(picture: Picture) -> str:
    """The picture as a complete SVG document."""
    layout = _laid_out(picture)
    _order(layout.layers)
    _spread(layout.layers)
    edges = [place.x + side * place.width / 2 for layer in layout.layers for place in layer for side in (-1, 1)]
    left, right = min(edges) - _MARGIN, max(edges) + _MARGIN
    ends = layout.ends()
    height = (len(layout.layers) - 1) * _LAYER_HEIGHT + _BOX_HEIGHT + 2 * _MARGIN
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{right - left:.0f}" height="{height:.0f}" '
        f'viewBox="{left:.1f} 0 {right - left:.1f} {height:.1f}" font-family="sans-serif" font-size="13" role="img">'
    )
    parts = [
        opening,
        f"<title>A graph of {len(picture.boxes)} nodes</title>",
        _TIP,
        *(_arrow(arrow, way, end, layout.layer_of) for (arrow, way), end in zip(layout.ways, ends, strict=True)),
        *(_box(picture, layout, number) for number in range(len(picture.boxes))),
        *(
            _label(arrow, end, layout.layer_of)
            for (arrow, _), end in zip(layout.ways, ends, strict=True)
            if arrow.label
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# ---------------------------------------------------------------- layout


def _laid_out(picture: Picture) -> _Layout:
    sources: list[list[int]] = [[] for _ in picture.boxes]
    for arrow in picture.arrows:
        sources[arrow.target].append(arrow.source)
    layer_of = levels(range(len(picture.boxes)), sources.__getitem__)
    labels = [0.0] * len(picture.boxes)
    for arrow in picture.arrows:
        labels[arrow.target] += _label_width(arrow)
    boxes = [
        _Place(max(44.0, len(box.title) * _CHARACTER + 20, labels[number]), number)
        for number, box in enumerate(picture.boxes)
    ]
    layers: list[list[_Place]] = [[] for _ in range(max(layer_of.values()) + 1)]
    for number, place in enumerate(boxes):
        layers[layer_of[number]].append(place)
    ways: list[tuple[Arrow, list[_Place]]] = []
    for arrow in picture.arrows:
        way = [boxes[arrow.source]]
        for layer in range(layer_of[arrow.source] + 1, layer_of[arrow.target]):
            way.append(_Place(_PASSAGE, None))
            layers[layer].append(way[-1])
        way.append(boxes[arrow.target])
        for upper, lower in pairwise(way):
            upper.below.append(lower)
            lower.above.append(upper)
        ways.append((arrow, way))
    return _Layout(layers, boxes, ways, layer_of)


def _order(layers: list[list[_Place]]) -> None:
    """Sort each layer by the mean position of the neighbours above, then below: fewer arrows cross."""
    for _ in range(_SWEEPS):
        for upper, layer in pairwise(layers):
            _sort(layer, {id(place): index for index, place in enumerate(upper)}, [place.above for place in layer])
        for lower, layer in pairwise(layers[::-1]):
            _sort(layer, {id(place): index for index, place in enumerate(lower)}, [place.below for place in layer])


def _sort(layer: list[_Place], position: dict[int, int], neighbours: Sequence[Sequence[_Place]]) -> None:
    means: dict[int, float] = {}
    for index, (place, near) in enumerate(zip(layer, neighbours, strict=True)):
        means[id(place)] = sum(position[id(other)] for other in near) / len(near) if near else float(index)
    layer.sort(key=lambda place: means[id(place)])


def _spread(layers: list[list[_Place]]) -> None:
    """Give each place its ``x``: near the middle of its neighbours, and off the others of its layer."""
    for layer in layers:
        _pack(layer, [0.0] * len(layer))
    for _ in range(_SWEEPS):
        for layer in layers[1:]:
            _pack(layer, [_middle(place.above, place.x) for place in layer])
        for layer in layers[-2::-1]:
            _pack(layer, [_middle(place.below, place.x) for place in layer])


def _middle(places: list[_Place], otherwise: float) -> float:
    return sum(place.x for place in places) / len(places) if places else otherwise


def _pack(layer: list[_Place], wanted: list[float]) -> None:
    """Put the places of a layer where they want to be, in order and apart; runs that collide share their shift."""
    runs: list[tuple[float, list[_Place], list[float]]] = []  # left end, places, and the left ends that each wants
    for place, want in zip(layer, wanted, strict=True):
        left, members = want - place.width / 2, [place]
        targets = [left]
        while runs and runs[-1][0] + _length(runs[-1][1]) + _GAP > left:
            _, before, their_targets = runs.pop()
            shift = _length(before) + _GAP
            targets = their_targets + [target - shift for target in targets]
            members = before + members
            left = sum(targets) / len(targets)
        runs.append((left, members, targets))
    for start, members, _ in runs:
        end = start
        for place in members:
            place.x = end + place.width / 2
            end += place.width + _GAP


def _length(places: list[_Place]) -> float:
    return sum(place.width for place in places) + _GAP * (len(places) - 1)


# ---------------------------------------------------------------- drawing


def _top(layer: int) -> float:
    return _MARGIN + layer * _LAYER_HEIGHT


def _box(picture: Picture, layout: _Layout, number: int) -> str:
    box, place, top = picture.boxes[number], layout.boxes[number], _top(layout.layer_of[number])
    return (
        f'<rect x="{place.x - place.width / 2:.1f}" y="{top:.1f}" width="{place.width:.1f}" height="{_BOX_HEIGHT:.0f}" '
        f'rx="{_ROUND[box.kind]}" fill="{_FILLS[box.kind]}" stroke="{_INK}"/>'
        f'<text x="{place.x:.1f}" y="{top + 20:.1f}" text-anchor="middle" fill="{_INK}">{escape(box.title)}</text>'
    )


def _arrow(arrow: Arrow, way: list[_Place], end: float, layer_of: dict[int, int]) -> str:
    top = _top(layer_of[arrow.source])
    x, y = way[0].x, top + _BOX_HEIGHT
    path = f"M{x:.1f} {y:.1f}"
    for place in way[1:]:
        top += _LAYER_HEIGHT
        half, to = (y + top) / 2, end if place is way[-1] else place.x
        path += f"C{x:.1f} {half:.1f} {to:.1f} {half:.1f} {to:.1f} {top:.1f}"
        x, y = to, top
        if place.box is None:
            y += _BOX_HEIGHT
            path += f"V{y:.1f}"
    dashes = ' stroke-dasharray="5 4"' if arrow.dashed else ""
    return f'<path d="{path}" fill="none" stroke="{_LINE}"{dashes} marker-end="url(#tip)"/>'


def _label(arrow: Arrow, end: float, layer_of: dict[int, int]) -> str:
    return (
        f'<text x="{end:.1f}" y="{_top(layer_of[arrow.target]) - 11:.1f}" font-size="11" text-anchor="middle" '
        f'fill="{_INK}" stroke="#fff" stroke-width="3" paint-order="stroke">{escape(arrow.label)}</text>'
    )
