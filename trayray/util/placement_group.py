"""Ray's ``ray.util.placement_group``: resources reserved together, for tasks and actors that belong together.

Not here: scheduling into a group (``scheduling_strategies``), what becomes of a group (``gcs.placement_groups``).
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from trayray.api.session import session
from trayray.core.placement import STRATEGIES
from trayray.model.ids import JobID, PlacementGroupID
from trayray.model.options import PlacementGroupOption, validate_label_selector
from trayray.model.resources import check_amount
from trayray.model.scheduling import parse_selector
from trayray.wire.lease_messages import CreateGroup
from trayray.wire.serialization import serialize
from trayray.wire.values import ERROR
from trayray.worker.current import actor_self, core_worker, running

if TYPE_CHECKING:
    from trayray.wire.proto.trayray import v1
    from trayray.worker.references import ObjectRef

_EXAMPLE = 'For example: [{"CPU": 1}, {"GPU": 1}].'


class PlacementGroup(PlacementGroupOption):
    """A handle to a placement group; it may be passed anywhere. `placement_group` makes one.

    Args:
        id: which group.
        bundle_cache: what its bundles reserve, if that is known.
    """

    __slots__ = ("bundle_cache", "id")

    def __init__(
        self,
        id: PlacementGroupID,  # noqa: A002 -- Ray's name
        bundle_cache: list[dict[str, float]] | None = None,
    ) -> None:
        self.id = id
        self.bundle_cache = bundle_cache

    @staticmethod
    def empty() -> PlacementGroup:
        """The handle that stands for no group at all."""
        return PlacementGroup(PlacementGroupID.nil(), [])

    @property
    def is_empty(self) -> bool:
        """Whether it stands for no group."""
        return self.id.is_nil()

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle reserves.

        Raises:
            ValueError: the cluster has no such group.
        """
        if self.bundle_cache is None:
            self.bundle_cache = session.core().groups.bundles(self.id.binary())
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles there are."""
        return len(self.bundle_specs)

    def ready(self) -> ObjectRef[PlacementGroup]:
        """A reference to the group that has its value as soon as everything is reserved.

        ``get`` raises TaskPlacementGroupRemoved when the group is removed before.
        """
        core = session.core()
        if self.is_empty:
            return core.objects.put(serialize(self))
        return core.groups.ready(self.id.binary(), lambda: PlacementGroup(self.id, self.bundle_cache))

    def wait(self, timeout_seconds: float | None = 30) -> bool:
        """Whether everything is reserved within ``timeout_seconds``; None waits as long as it takes.

        Raises:
            ValueError: the group was removed, or is not of this cluster; or the timeout is negative.
        """
        if timeout_seconds is not None and timeout_seconds < 0:
            raise ValueError(f"timeout_seconds must be at least 0, not {timeout_seconds}")
        core = session.core()
        ref: Any = self.ready()
        ready, _ = core.objects.wait([ref], 1, timeout_seconds)
        if not ready:
            # The node's word may be under way, as always when nothing is waited for.
            return placement_group_table(self).get("state") == "CREATED"
        if ref._value.kind == ERROR:
            raise ValueError(f"Placement group {self.id.hex()} does not exist: {core.objects.error_of(ref._value)}")
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroup, (self.id, self.bundle_cache)


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: Any = None,
) -> PlacementGroup:
    """Reserve all ``bundles`` or none; returns at once, `PlacementGroup.ready` and `PlacementGroup.wait` tell when.

    Args:
        bundles: each a set of resources that one node must have: names and amounts.
        strategy: ``"PACK"`` (few nodes, the default), ``"SPREAD"`` (many), ``"STRICT_PACK"`` (one node),
            ``"STRICT_SPREAD"`` (a node for each).
        name: for `get_placement_group`.
        lifetime: ``"detached"`` for a group that outlives its job; None for one that ends with it, or with the
            detached actor that creates it.
        bundle_label_selector: for each bundle, what the labels of its node must be.

    Raises:
        ValueError: one of the arguments makes no sense; the text says which and why.
        RaySystemError: another group has the name.
    """
    checked = _checked_bundles(bundles)
    selectors = _checked_selectors(bundle_label_selector, len(checked))
    if topology_strategy is not None:
        also = "strategy and topology_strategy exclude each other. " if strategy is not None else ""
        raise ValueError(f"{also}topology_strategy is not supported. Use strategy, or bundle_label_selector.")
    strategy = strategy or "PACK"
    if strategy not in STRATEGIES:
        raise ValueError(
            f"Invalid placement group strategy {strategy}. Supported strategies are: {', '.join(STRATEGIES)}."
        )
    if _soft_target_node_id is not None and strategy != "STRICT_PACK":
        raise ValueError(f"_soft_target_node_id is for STRICT_PACK only, but the strategy is {strategy}.")
    if lifetime not in (None, "detached"):
        raise ValueError(f"Placement group `lifetime` argument must be either `None` or 'detached'. Got {lifetime}.")
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise ValueError(f"The name of a placement group must be a str, got {type(name).__name__}.")
    core = session.core()
    group_id = PlacementGroupID.of(JobID(core.job))
    actor = actor_self()
    wanted = [(bundle, parse_selector(selector)) for bundle, selector in zip(checked, selectors, strict=True)]
    core.groups.create(
        CreateGroup(
            group_id.binary(),
            name,
            core.namespace,
            strategy,
            wanted,
            core.job,
            lifetime == "detached",
            b"" if actor is None else actor.actor_id,
        )
    )
    return PlacementGroup(group_id, checked)


def _checked_bundles(bundles: Any) -> list[dict[str, float]]:
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}. {_EXAMPLE}")
    if not bundles:
        raise ValueError(f"Bundles must be a non-empty list of resource dictionaries. {_EXAMPLE} Got an empty list.")
    checked: list[dict[str, float]] = []
    for index, bundle in enumerate(cast("list[Any]", bundles)):
        if not isinstance(bundle, dict):
            raise ValueError(f"Bundle {index} must be a dictionary of resources, got {bundle!r}. {_EXAMPLE}")
        amounts = cast("dict[Any, Any]", bundle)
        for name, amount in amounts.items():
            if not isinstance(name, str):
                raise ValueError(f"Bundle {index} has a resource whose name is no string: {name!r}. {_EXAMPLE}")
            try:
                check_amount(name, amount)
            except (TypeError, ValueError) as error:
                raise ValueError(f"Bundle {index} is invalid: {error}") from None
        if not any(amounts.values()):
            raise ValueError(
                f"Bundles cannot be an empty dictionary or resources with only 0 values; bundle {index} is {bundle}."
            )
        checked.append(dict(amounts))
    return checked


def _checked_selectors(selectors: Any, count: int) -> Sequence[Mapping[str, str]]:
    none: list[dict[str, str]] = [{} for _ in range(count)]
    if selectors is None:
        return none
    if not isinstance(selectors, list):
        raise ValueError(f"Placement group bundle_label_selector must be a list, got {type(selectors)}.")
    listed = cast("list[Any]", selectors)
    if not listed:
        return none
    if len(listed) != count:
        raise ValueError(
            f"Invalid bundle label selector {selectors}. The length of `bundle_label_selector` should equal the length "
            f"of `bundles`, which is {count}."
        )
    for selector in listed:
        if not isinstance(selector, dict):
            raise ValueError(f"bundle_label_selector must be a list of dictionaries, but it has {selector!r}.")
        try:
            validate_label_selector(cast("dict[Any, Any]", selector))
        except (TypeError, ValueError) as error:
            raise ValueError(f"Invalid label selector provided in bundle_label_selector list: {error}") from None
    return listed


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Free what a group reserves. Tasks and actors that run in it are killed, those that wait for it fail.

    Removing it again, or a group that the cluster does not have, changes nothing.

    Raises:
        TypeError: not a placement group.
    """
    if not isinstance(placement_group, PlacementGroup):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise TypeError(f"remove_placement_group() expects a PlacementGroup, got {type(placement_group).__name__}")
    if not placement_group.is_empty:
        session.core().groups.remove(placement_group.id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of this name: of this namespace, or else the only one of that name in any other.

    Raises:
        ValueError: there is none.
    """
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    core = session.core()
    found = core.run_async(lambda: core.gcs.placement_groups(name=placement_group_name, namespace=core.namespace))
    if not found:
        raise ValueError(
            f"Failed to look up placement group with name: {placement_group_name}. It was never created, it was "
            "removed, or several other namespaces have one."
        )
    return PlacementGroup(
        PlacementGroupID(found[0].placement_group_id), [dict(bundle.resources) for bundle in found[0].bundles]
    )


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What is known of a group (nothing of one that the cluster does not have); without one: of all, by id.

    Raises:
        TypeError: not a placement group.
    """
    core = session.core()
    if placement_group is None:
        return {g.placement_group_id.hex(): _entry(g) for g in core.run_async(core.gcs.placement_groups)}
    if not isinstance(placement_group, PlacementGroup):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise TypeError(f"placement_group_table() expects a PlacementGroup, got {type(placement_group).__name__}")
    if placement_group.is_empty:
        return {}
    found = core.run_async(core.gcs.placement_groups, placement_group.id.binary())
    return _entry(found[0]) if found else {}


def _entry(group: v1.PlacementGroup) -> dict[str, Any]:
    return {
        "placement_group_id": group.placement_group_id.hex(),
        "name": group.name,
        "bundles": {index: dict(bundle.resources) for index, bundle in enumerate(group.bundles)},
        "bundles_to_node_id": {index: bundle.node_id.hex() for index, bundle in enumerate(group.bundles)},
        "strategy": group.strategy,
        "state": group.state,
        "stats": {
            "end_to_end_creation_latency_ms": group.creation_seconds * 1000,
            "scheduling_latency_ms": group.scheduling_seconds * 1000,
            "scheduling_attempt": group.attempts,
            "highest_retry_delay_ms": 0.0,
            "scheduling_state": group.progress,
        },
    }


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the running task or actor was scheduled into; None outside of groups and in drivers."""
    if core_worker() is None:
        session.core()
    actor, task = actor_self(), running.get()
    group = actor.placement_group if actor is not None else b"" if task is None else task.placement_group
    return PlacementGroup(PlacementGroupID(group)) if group else None


class _CallableModule(types.ModuleType):
    """``ray.util.placement_group`` is the function, and this module too: importing the module puts it there."""

    __call__ = staticmethod(placement_group)

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (__name__,)


sys.modules[__name__].__class__ = _CallableModule
__signature__ = inspect.signature(placement_group)  # of the module that is the function

__all__ = (
    "PlacementGroup",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
)
