"""What the options of a task or actor say about where it may run, and whether a placement group can hold it.

Computed once for each function and its options, and at each creation of an actor. Not here: the strategies' classes
(``util.scheduling_strategies``), the choice of a node (``core.node_choice``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from trayray.model.options import PlacementGroupOption
from trayray.model.resources import ResourceSet
from trayray.model.scheduling import ANYWHERE, Scheduling, parse_selector

_STRINGS = {"DEFAULT": ANYWHERE, "SPREAD": Scheduling(spread=True)}


def scheduling_of(core: Any, options: Mapping[str, Any], needs: ResourceSet, name: str) -> Scheduling | None:
    """Where a task or actor with these options may run; None for anywhere.

    Args:
        needs: what it needs to be placed.
        name: the function's or class's, for errors.

    Raises:
        ValueError: an unknown strategy; a bundle that the group does not have, or that cannot hold it.
    """
    found = _strategy(core, options, needs, name)
    rules = parse_selector(options.get("label_selector"))
    if rules:
        found = attrs.evolve(found, rules=found.rules + rules)
    fallbacks = tuple(parse_selector(choice.get("label_selector")) for choice in options.get("fallback_strategy") or ())
    if fallbacks:
        found = attrs.evolve(found, fallbacks=fallbacks)
    return None if found == ANYWHERE else found


def _strategy(core: Any, options: Mapping[str, Any], needs: ResourceSet, name: str) -> Scheduling:
    strategy = options.get("scheduling_strategy")
    if strategy is None:
        group = options.get("placement_group", "default")
        index = options.get("placement_group_bundle_index", -1)
        captures = options.get("placement_group_capture_child_tasks")
        if isinstance(group, str) and group != "default":
            raise ValueError(f"placement_group must be a PlacementGroup, None or 'default', not {group!r}")
        return _in_group(core, group, index, captures, needs, name)
    if isinstance(strategy, str):
        known = _STRINGS.get(strategy)
        if known is None:
            raise ValueError(
                f'Invalid scheduling_strategy value {strategy}. Valid values are ["DEFAULT" | "SPREAD" | '
                "PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy | NodeLabelSchedulingStrategy]"
            )
        return known
    from trayray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    if isinstance(strategy, PlacementGroupSchedulingStrategy):
        return _in_group(
            core,
            strategy.placement_group,
            strategy.placement_group_bundle_index,
            strategy.placement_group_capture_child_tasks,
            needs,
            name,
        )
    meaning: Scheduling = strategy.scheduling()
    return meaning


def _in_group(
    core: Any,
    group: PlacementGroupOption | str | None,
    index: int,
    captures: bool | None,
    needs: ResourceSet,
    name: str,
) -> Scheduling:
    from trayray.util.placement_group import PlacementGroup

    captures = bool(core.captured) if captures is None else captures
    if group == "default":
        group_id = core.captured if captures else b""
    elif group is None or (isinstance(group, PlacementGroup) and group.is_empty):
        group_id = b""
    elif isinstance(group, PlacementGroup):
        group_id = group.id.binary()
        if group.bundle_cache is not None:
            core.groups.remember(group_id, group.bundle_cache)
    else:
        raise ValueError(f"placement_group must be a PlacementGroup or None, not {type(group).__name__}")
    if not group_id:
        if index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
        return ANYWHERE
    _check_bundle(core.groups.bundles(group_id), index, needs, name)
    return Scheduling(group=group_id, bundle=index, captures=captures)


def _check_bundle(bundles: list[dict[str, float]], index: int, needs: ResourceSet, name: str) -> None:
    if not -1 <= index < len(bundles):
        raise ValueError(
            f"placement group bundle index {index} is invalid. Valid placement group indexes: 0-{len(bundles) - 1}, "
            "and -1 for any."
        )
    candidates = bundles if index == -1 else [bundles[index]]
    if not any(ResourceSet.of(bundle).covers(needs) for bundle in candidates):
        where = (
            f"any bundles for the placement group, {bundles}" if index == -1 else f"its bundle {index}, {candidates[0]}"
        )
        raise ValueError(
            f"Cannot schedule {name} with the placement group because the resource request {needs.to_dict()} cannot "
            f"fit into {where}. Ask for less, or create the group with larger bundles. An actor that states no "
            "resources needs 1 CPU to be created."
        )
