"""What a picture of a graph shows, and the picture as text for Mermaid and Graphviz. Not here: drawing (``svg``)."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import attrs

from trayray.dag.class_node import ClassMethodNode, ClassNode
from trayray.dag.dag_node import SELF, DAGNode, Edge
from trayray.dag.function_node import FunctionNode
from trayray.dag.input_node import InputAttributeNode, InputNode
from trayray.dag.output_node import MultiOutputNode

#: Edge labels above this length are cut; what is shown is where an argument goes, not the whole way into it.
_LABEL_LENGTH = 24


@attrs.frozen
class Box:
    """A node as it is shown. ``kind``: "task", "actor", "call", "input" or "output"."""

    title: str
    kind: str


@attrs.frozen
class Arrow:
    """From one box to another, by their numbers; dashed ones say only what comes first."""

    source: int
    target: int
    label: str
    dashed: bool


class Picture:
    """The boxes and arrows of the graph that ends in ``root``; equal graphs have equal pictures."""

    def __init__(self, root: DAGNode[Any]) -> None:
        order = root._order()
        number = {node: index for index, node in enumerate(order)}
        #: Inputs before what needs them.
        self.boxes = [Box(node._title, _kind(node)) for node in order]
        self.arrows: list[Arrow] = []
        for node, target in number.items():
            by_source: dict[tuple[int, bool], list[str]] = {}
            for edge in _shown(node._edges):
                by_source.setdefault((number[edge.source], edge.is_order), []).append(edge.label)
            for (source, dashed), labels in by_source.items():
                self.arrows.append(Arrow(source, target, _shortened(", ".join(filter(None, labels))), dashed))


def _shown(edges: list[Edge]) -> list[Edge]:
    """A call that comes after another one of its actor hangs on that one alone."""
    chained = any(edge.is_order for edge in edges)
    return [edge for edge in edges if not (chained and edge.label == SELF and isinstance(edge.source, ClassNode))]


def _shortened(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else f"{label[: _LABEL_LENGTH - 1]}…"


def _kind(node: DAGNode[Any]) -> str:
    match node:
        case FunctionNode():
            return "task"
        case ClassNode():
            return "actor"
        case ClassMethodNode():
            return "call"
        case InputNode() | InputAttributeNode():
            return "input"
        case MultiOutputNode():
            return "output"
        case _:
            raise TypeError(f"{node!r} is of no kind that a picture shows")


# ---------------------------------------------------------------- Mermaid

#: Characters with a meaning in Mermaid's quoted texts or in HTML, which its texts may be.
_MERMAID = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "\n": " "})
_MERMAID_SHAPES = {
    "task": ("[", "]"),
    "actor": ("[[", "]]"),
    "call": ("(", ")"),
    "input": ("([", "])"),
    "output": ("([", "])"),
}


def mermaid(picture: Picture) -> str:
    """A flow chart in Mermaid's language."""
    lines = ["flowchart TD"]
    for number, box in enumerate(picture.boxes):
        opening, closing = _MERMAID_SHAPES[box.kind]
        lines.append(f'    n{number}{opening}"{box.title.translate(_MERMAID)}"{closing}')
    for arrow in picture.arrows:
        line = "-.->" if arrow.dashed else "-->"
        label = f'|"{arrow.label.translate(_MERMAID)}"|' if arrow.label else ""
        lines.append(f"    n{arrow.source} {line}{label} n{arrow.target}")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- Graphviz

_DOT = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": " "})
_DOT_SHAPES = {
    "task": "shape=box",
    "actor": "shape=component",
    "call": "shape=box, style=rounded",
    "input": "shape=ellipse",
    "output": "shape=ellipse",
}


def graphviz(picture: Picture) -> str:
    """A directed graph in Graphviz's language."""
    lines = ["digraph {", "    node [fontname=sans]", "    edge [fontname=sans, fontsize=10]"]
    for number, box in enumerate(picture.boxes):
        lines.append(f'    n{number} [label="{box.title.translate(_DOT)}", {_DOT_SHAPES[box.kind]}]')
    for arrow in picture.arrows:
        attributes = [f'label="{arrow.label.translate(_DOT)}"'] if arrow.label else []
        attributes += ["style=dashed"] if arrow.dashed else []
        lines.append(f"    n{arrow.source} -> n{arrow.target}" + (f" [{', '.join(attributes)}]" if attributes else ""))
    return "\n".join([*lines, "}"]) + "\n"


# ---------------------------------------------------------------- files


def plot(dag: DAGNode[Any], to_file: str | os.PathLike[str] | None = None) -> str:
    """A picture of the graph that ends in ``dag``, and a file of it.

    Parameters: ``to_file``, whose suffix says what is written: ``.svg``; ``.dot`` or ``.gv`` for Graphviz; ``.mmd`` for
    Mermaid. Without it nothing is written, and the SVG is returned.

    Returns the text that was written. Raises ValueError for another suffix.
    """
    from trayray.dag.svg import svg

    writers: dict[str, Callable[[Picture], str]] = {".svg": svg, ".dot": graphviz, ".gv": graphviz, ".mmd": mermaid}
    if to_file is None:
        return svg(Picture(dag))
    path = pathlib.Path(to_file)
    writer = writers.get(path.suffix)
    if writer is None:
        raise ValueError(
            f"A graph cannot be plotted to {path.name!r}: the suffix has to be one of {', '.join(writers)}. For other "
            "formats, plot to .dot and convert that with Graphviz."
        )
    text = writer(Picture(dag))
    path.write_text(text, encoding="utf-8")
    return text
