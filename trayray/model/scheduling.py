"""Where work may run: the strategy of a task or actor as it travels to whoever chooses the node, and rules on labels.

Covers what the options say, and whether a node's labels satisfy a rule. Not here: the classes that users write
(``util.scheduling_strategies``), the choice itself (``core.node_choice``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

__all__ = ("ANYWHERE", "LabelRule", "Scheduling", "parse_selector", "satisfies")

#: Operators of a `LabelRule`.
IN, NOT_IN, EXISTS, DOES_NOT_EXIST = "in", "!in", "exists", "!exists"


@frozen
class LabelRule:
    """What one label of a node must be. A node without the label satisfies ``!in`` and ``!exists``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels satisfies the rule."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "!in":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case _:
                return value is None

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return f"{self.key} exists"
        if self.operator == DOES_NOT_EXIST:
            return f"{self.key} does not exist"
        return f"{self.key} {'is' if self.operator == IN else 'is not'} {' or '.join(self.values)}"


@frozen
class Scheduling:
    """Where a class of tasks, or an actor, may run. The default is: wherever its resources are."""

    #: Id of a placement group; ``bundle`` is the index of one of its bundles, -1 for any.
    group: bytes = b""
    bundle: int = -1
    #: What it starts goes into the same group.
    captures: bool = False
    #: Id of a node that it belongs to; with ``soft``, another will do when that one cannot ever take it.
    node: bytes = b""
    soft: bool = False
    #: Spread over the nodes, whatever is free elsewhere.
    spread: bool = False
    #: All of them must hold for the node; the first of the ``fallbacks`` that any node satisfies stands in for them.
    rules: tuple[LabelRule, ...] = ()
    fallbacks: tuple[tuple[LabelRule, ...], ...] = ()
    #: Nodes that satisfy these too are better.
    preferred: tuple[LabelRule, ...] = ()


ANYWHERE: Final = Scheduling()


def satisfies(labels: Mapping[str, str], rules: Iterable[LabelRule]) -> bool:
    """Whether a node with these labels satisfies all rules."""
    return all(rule.accepts(labels) for rule in rules)


def parse_selector(selector: Mapping[str, str] | None) -> tuple[LabelRule, ...]:
    """The rules of a valid label selector (see ``options.validate_label_selector``), in the order of their keys."""
    return tuple(_parse(key, value) for key, value in sorted((selector or {}).items()))


def _parse(key: str, value: str) -> LabelRule:
    wanted = value.removeprefix("!")
    operator = IN if wanted == value else NOT_IN
    if wanted.startswith("in(") and wanted.endswith(")"):
        return LabelRule(key, operator, tuple(member.strip() for member in wanted[3:-1].split(",")))
    return LabelRule(key, operator, (wanted,))
