"""Keywords of ``remote``, ``task``, ``method`` and ``.options``, by name and type.

Without ``num_returns``: the overloads spell it out, since the type of the result depends on it.
Not here: the rules of their values (``model.options``), whose names these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from trayray.model.options import PlacementGroupOption, SchedulingStrategy


class _Placement(TypedDict, total=False):
    num_cpus: float | None
    num_gpus: float | None
    memory: float | None
    resources: dict[str, float] | dict[str, int] | None
    accelerator_type: str | None
    object_store_memory: int | None
    name: str | None
    runtime_env: dict[str, Any] | None
    scheduling_strategy: str | SchedulingStrategy | None
    placement_group: str | PlacementGroupOption | None
    placement_group_bundle_index: int
    placement_group_capture_child_tasks: bool | None
    label_selector: dict[str, str] | None
    fallback_strategy: list[dict[str, Any]] | None
    enable_task_events: bool
    _labels: dict[str, str] | None


class _OfTasks(TypedDict, total=False):
    max_retries: int | None
    retry_exceptions: bool | Sequence[type[Exception]]
    max_buffered: int | None
    _generator_backpressure_num_objects: int | None


class _OfActors(TypedDict, total=False):
    max_concurrency: int | None
    max_restarts: int | None
    max_task_retries: int | None
    max_pending_calls: int | None
    pending_calls_policy: Literal["error", "wait"] | None
    lifetime: Literal["detached", "non_detached"] | None
    namespace: str | None
    get_if_exists: bool
    allow_out_of_order_execution: bool | None
    enable_tensor_transport: bool | None
    _actor_generator_backpressure_num_objects: int | None


class _OfMethods(TypedDict, total=False):
    concurrency_group: str | None
    max_task_retries: int | None
    retry_exceptions: bool | Sequence[type[Exception]] | None
    enable_task_events: bool | None
    tensor_transport: str | None
    max_buffered: int | None
    _generator_backpressure_num_objects: int | None


class TaskOptions(_Placement, _OfTasks, total=False):
    """Keywords of a remote function's ``.options``."""


class ActorOptions(_Placement, _OfActors, total=False):
    """Keywords of an actor class's ``.options``."""


class FunctionOptions(TaskOptions, total=False):
    """Keywords of ``task``."""

    max_calls: int | None
    _num_objects_per_yield: int | None


class RemoteOptions(_Placement, _OfTasks, _OfActors, total=False):
    """Keywords of ``remote``, for functions and classes."""

    max_calls: int | None
    _num_objects_per_yield: int | None
    concurrency_groups: dict[str, int] | list[dict[str, Any]] | None


class MethodOptions(_OfMethods, total=False):
    """Keywords of ``method``."""

    _num_objects_per_yield: int | None


class CallOptions(_OfMethods, total=False):
    """Keywords of ``handle.method.options``."""

    name: str | None
    _labels: dict[str, str] | None
