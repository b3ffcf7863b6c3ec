"""Ray's ``ray.util.scheduling_strategies``: what ``scheduling_strategy`` takes besides "DEFAULT" and "SPREAD".

Equal strategies have equal texts: tasks with equal options share what is prepared for them. Not here: the choice of a
node (``core.node_choice``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from trayray.model.ids import NodeID
from trayray.model.options import SchedulingStrategy
from trayray.model.scheduling import DOES_NOT_EXIST, EXISTS, IN, NOT_IN, LabelRule, Scheduling

if TYPE_CHECKING:
    from trayray.util.placement_group import PlacementGroup


class PlacementGroupSchedulingStrategy(SchedulingStrategy):
    """Run inside of a placement group.

    Args:
        placement_group: the group; None for outside of any, also where a task's children go into its group.
        placement_group_bundle_index: which bundle; -1 for any that has room.
        placement_group_capture_child_tasks: what the task or actor starts goes into the group too, unless it says
            otherwise. None: as where it is started.
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def __repr__(self) -> str:
        return (
            f"PlacementGroupSchedulingStrategy({self.placement_group!r}, {self.placement_group_bundle_index}, "
            f"{self.placement_group_capture_child_tasks})"
        )


class NodeAffinitySchedulingStrategy(SchedulingStrategy):
    """Run on one node.

    Args:
        node_id: its id in hexadecimal digits, as ``nodes()`` shows it.
        soft: whether another node will do when that one is not there or can never take it. Without, the task or actor
            fails then with TaskUnschedulableError or ActorUnschedulableError.

    Raises:
        ValueError: that is no node's id.
    """

    def __init__(
        self,
        node_id: str | NodeID,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        self.node_id = node_id.hex() if isinstance(node_id, NodeID) else node_id
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable
        try:
            known = NodeID.from_hex(self.node_id)
        except (ValueError, TypeError, AttributeError):
            known = NodeID.nil()
        if known.is_nil():
            raise ValueError(
                f"Invalid node_id {node_id!r}. Node ID must be a valid hex string. To get a list of all nodes and "
                "their IDs in your cluster, use ray.nodes()."
            )
        if _spill_on_unavailable and not soft:
            raise ValueError("_spill_on_unavailable needs soft=True: with soft=False the node is the only one.")
        if _fail_on_unavailable and soft:
            raise ValueError("_fail_on_unavailable needs soft=False: with soft=True another node is used.")
        self._binary = known.binary()

    def scheduling(self) -> Scheduling:
        """What it means for the choice of a node."""
        return Scheduling(node=self._binary, soft=bool(self.soft))

    def __repr__(self) -> str:
        return f"NodeAffinitySchedulingStrategy({self.node_id!r}, soft={bool(self.soft)})"


class _Operator:
    """A condition on one label."""

    operator: str

    def __init__(self, *values: str) -> None:
        name = type(self).__name__
        if not values:
            raise ValueError(
                f'The variadic parameter of the {name} operator must be a non-empty tuple: e.g. {name}("value1", '
                '"value2").'
            )
        for position, value in enumerate(values):
            if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
                raise ValueError(
                    f"Type of value in position {position} for the {name} operator must be str (e.g. "
                    f'{name}("value1", "value2")) but got {value} of type {type(value)}.'
                )
        self.values = list(values)

    def rule(self, key: str) -> LabelRule:
        """What it asks of label ``key``."""
        return LabelRule(key, self.operator, tuple(self.values))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"


class In(_Operator):
    """The label is one of these values."""

    operator = IN


class NotIn(_Operator):
    """The label is none of these values, or is not there."""

    operator = NOT_IN


class _Presence(_Operator):
    def __init__(self) -> None:
        self.values = []


class Exists(_Presence):
    """The node has the label."""

    operator = EXISTS


class DoesNotExist(_Presence):
    """The node does not have the label."""

    operator = DOES_NOT_EXIST


class NodeLabelSchedulingStrategy(SchedulingStrategy):
    """Run on nodes with certain labels.

    Args:
        hard: conditions by label that the node must satisfy.
        soft: conditions that it should satisfy besides, if possible.

    Raises:
        ValueError: both are empty, or one is no mapping of labels to `In`, `NotIn`, `Exists` and `DoesNotExist`.
    """

    def __init__(self, hard: Mapping[str, _Operator] | None, *, soft: Mapping[str, _Operator] | None = None) -> None:
        self.hard = _rules("hard", hard)
        self.soft = _rules("soft", soft)
        if not (self.hard or self.soft):
            raise ValueError("The `hard` and `soft` parameter of NodeLabelSchedulingStrategy cannot both be empty.")

    def scheduling(self) -> Scheduling:
        """What it means for the choice of a node."""
        return Scheduling(rules=self.hard, preferred=self.soft)

    def __repr__(self) -> str:
        return f"NodeLabelSchedulingStrategy({self.hard!r}, soft={self.soft!r})"


def _rules(parameter: str, conditions: Any) -> tuple[LabelRule, ...]:
    if conditions is None:
        return ()
    example = '(e.g. {"key1": In("value1")})'
    if not isinstance(conditions, Mapping):
        raise ValueError(f"The {parameter} parameter must be a map {example} but got type {type(conditions)}.")
    rules: list[LabelRule] = []
    for key, condition in cast("Mapping[Any, Any]", conditions).items():
        if not isinstance(key, str):
            raise ValueError(
                f"The map key of the {parameter} parameter must be of type str {example} but got {key} of type "
                f"{type(key)}."
            )
        if not isinstance(condition, _Operator):
            raise ValueError(
                f"The map value for key {key} of the {parameter} parameter must be one of the `In`, `NotIn`, `Exists` "
                f"or `DoesNotExist` operator {example} but got {condition} of type {type(condition)}."
            )
        rules.append(condition.rule(key))
    return tuple(sorted(rules, key=lambda rule: rule.key))


#: What ``scheduling_strategy=`` takes; the strings are "DEFAULT" and "SPREAD".
SchedulingStrategyT: TypeAlias = (
    str | PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy | NodeLabelSchedulingStrategy | None
)

__all__ = (
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
    "SchedulingStrategyT",
)
