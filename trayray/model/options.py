"""The options of tasks, actors and method calls: one table of what they accept, and the resources that they ask for.

Covers what can be told from the options alone, at the decorator, at ``.options()`` and at ``.remote()``. Not here:
whether a function is a generator, whether a name is taken, what a runtime environment means.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from attrs import frozen

from trayray.model.label_options import fallback_strategy, label_selector, validate_label_selector
from trayray.model.resources import ResourceSet, check_amount

__all__ = (
    "ACTOR_OPTIONS",
    "CALL_OPTIONS",
    "MAX_BUFFERED",
    "METHOD_OPTIONS",
    "Option",
    "PENDING_CALLS_POLICIES",
    "PlacementGroupOption",
    "SchedulingStrategy",
    "TASK_OPTIONS",
    "actor_resources",
    "built_in",
    "check_actor_creation",
    "task_resources",
    "validate_actor_options",
    "validate_call_options",
    "validate_label_selector",
    "validate_method_options",
    "validate_task_options",
)


class SchedulingStrategy:
    """Base of the scheduling strategies that ``scheduling_strategy`` takes besides strings."""

    __slots__ = ()


class PlacementGroupOption:
    """Base of the placement groups that ``placement_group`` takes."""

    __slots__ = ()


_Check = Callable[[str, Any], None]
_NONE: Final = type(None)


@frozen
class Option:
    """What one option accepts, and what it is if it is not given.

    ``check`` gets the name and a value of the right type that is not None, and raises if the value is a bad one.
    ``fixed`` says why the option cannot be given to ``.options()``; most can.
    """

    name: str
    types: tuple[type, ...]
    default: Any = None
    check: _Check | None = None
    fixed: str | None = None

    def validate(self, value: Any) -> None:
        """Raise TypeError for a value of the wrong type and ValueError for a bad one, both naming the option."""
        if not isinstance(value, self.types):
            wanted = self.types[0] if len(self.types) == 1 else self.types
            raise TypeError(f"The type of keyword '{self.name}' must be {wanted}, but received type {type(value)}")
        if value is not None and self.check is not None:
            self.check(self.name, value)


# ---------------------------------------------------------------- checks of values

#: The chips of one TPU host that a task can have.
_TPU_CHIPS: Final = (1, 2, 4, 8)
#: Accelerators that cannot be shared by tasks.
_WHOLE_ONLY: Final = ("neuron_cores", "HPU")
#: What a call does that an actor with ``max_pending_calls`` has no room for.
PENDING_CALLS_POLICIES: Final = ("error", "wait")
MAX_BUFFERED: Final = 16
_TENSOR_TRANSPORTS: Final = ("OBJECT_STORE",)


def _quantity(name: str, value: Any) -> None:
    check_amount(name, value)


def _count(name: str, value: int) -> None:
    if value < 0:
        raise ValueError(f"The keyword '{name}' only accepts None, 0 or a positive integer.")


def _count_or_infinite(name: str, value: int) -> None:
    if value < -1:
        raise ValueError(
            f"The keyword '{name}' only accepts None, 0, -1 or a positive integer, where -1 represents infinity."
        )


def _custom_resources(name: str, value: Mapping[Any, Any]) -> None:
    if "CPU" in value or "GPU" in value:
        raise ValueError("Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' keyword")
    for resource, amount in value.items():
        if not isinstance(resource, str):
            raise TypeError(f"The names in keyword '{name}' must be strings, but received {resource!r}")
        check_amount(resource, amount)
        if resource == "TPU" and amount not in _TPU_CHIPS:
            raise ValueError(
                f"The number of requested 'TPU' was set to {amount} which is not a supported chip configuration. "
                f"Supported configs: {_TPU_CHIPS}"
            )
        if resource in _WHOLE_ONLY and amount != int(amount):
            raise ValueError(
                f"{resource} resource quantity must be whole numbers. The specified quantity {amount} is invalid."
            )


def _num_returns(name: str, value: int | str) -> None:
    if value not in ("streaming", "dynamic") and (isinstance(value, str) or value < 0):
        raise ValueError(
            f"The keyword '{name}' only accepts None, a non-negative integer, 'streaming' (for generators), or "
            f"'dynamic', but received {value!r}. None means 1, and 'streaming' for generators."
        )


def _retry_exceptions(name: str, value: bool | Iterable[Any]) -> None:
    if isinstance(value, bool):
        return
    if not all(isinstance(member, type) and issubclass(member, Exception) for member in value):
        raise ValueError(f"{name} must be either a boolean or a list of exceptions")


def _backpressure(name: str, value: int) -> None:
    if value == 0:
        raise ValueError(
            f"{name}=0 is not allowed. Use a value > 0; with 1, the generator makes one object whenever `next` is "
            "called. Use -1 to disable this feature."
        )


def _max_buffered(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(
            f"The keyword '{name}' must be at least 1, but received {value}: a stream without room never moves."
        )


def _pending_calls_policy(name: str, value: str) -> None:
    if value not in PENDING_CALLS_POLICIES:
        raise ValueError(
            f"The keyword '{name}' only accepts None, 'error' (raise PendingCallsLimitExceeded) or 'wait' (block until "
            f"there is room), but received {value!r}."
        )


def _actor_backpressure(name: str, value: int) -> None:
    if value < 1 and value != -1:
        raise ValueError(
            f"{name} must be > 0 to cap the actor's total unconsumed generator objects, or -1 to disable. Got {value}."
        )


def _objects_per_yield(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is a private streaming generator option that must be set to a positive integer.")


def _lifetime(name: str, value: str) -> None:
    if value not in ("detached", "non_detached"):
        raise ValueError(f"actor `{name}` argument must be one of 'detached', 'non_detached' and 'None'.")


def _not_for_tasks(name: str, value: Any) -> None:
    raise ValueError(f"Setting '{name}' is not implemented for tasks")


def _deprecated_for_actors(name: str, value: int) -> None:
    _count(name, value)
    warnings.warn(
        f"Setting '{name}' for actors is deprecated, since it reserves nothing. Objects that do not fit are spilled.",
        DeprecationWarning,
        stacklevel=2,
    )


def _concurrency_groups(name: str, value: Mapping[Any, Any] | list[Any]) -> None:
    if isinstance(value, list):
        if not all(isinstance(group, dict) for group in value):
            raise TypeError(f"The list in keyword '{name}' must have a dict for each group")
        return
    for group, threads in value.items():
        if not isinstance(group, str) or not isinstance(threads, int):
            raise TypeError(
                f"The keyword '{name}' maps names to numbers of threads, but received {group!r}: {threads!r}"
            )
        if threads < 1:
            raise ValueError(
                f"The keyword '{name}' needs 1 thread or more for each group, but received {group!r}: {threads}"
            )


def _tensor_transport(name: str, value: str) -> None:
    if value.upper() not in _TENSOR_TRANSPORTS:
        raise ValueError(f"Invalid tensor transport: {value.upper()}. Valid ones are {list(_TENSOR_TRANSPORTS)}.")


# ---------------------------------------------------------------- the table

_AMOUNT: Final = (float, int, _NONE)
_INT: Final = (int, _NONE)
_STR: Final = (str, _NONE)
_BOOL: Final = (bool, _NONE)
_DICT: Final = (dict, _NONE)


def _table(*options: Option) -> dict[str, Option]:
    return {option.name: option for option in options}


_COMMON: Final = _table(
    Option("label_selector", _DICT, check=label_selector),
    Option("fallback_strategy", (list, _NONE), check=fallback_strategy),
    Option("accelerator_type", _STR),
    Option("memory", _AMOUNT, check=_quantity),
    Option("name", _STR),
    Option("num_cpus", _AMOUNT, check=_quantity),
    Option("num_gpus", _AMOUNT, check=_quantity),
    Option("placement_group", (_NONE, str, PlacementGroupOption), default="default"),
    Option("placement_group_bundle_index", (int,), default=-1),
    Option("placement_group_capture_child_tasks", _BOOL),
    Option("resources", _DICT, check=_custom_resources),
    Option("runtime_env", _DICT),
    Option("scheduling_strategy", (_NONE, str, SchedulingStrategy)),
    Option("enable_task_events", (bool,), default=True),
    Option("_labels", _DICT),
)
_NUM_RETURNS: Final = Option("num_returns", (int, str, _NONE), check=_num_returns)
_BACKPRESSURE: Final = Option("_generator_backpressure_num_objects", _INT, check=_backpressure)
_PER_YIELD: Final = Option(
    "_num_objects_per_yield",
    _INT,
    default=1,
    check=_objects_per_yield,
    fixed="_num_objects_per_yield cannot be overridden per task call. Use @remote(_num_objects_per_yield=...) instead.",
)
#: How many items of a call's stream may wait at each of its ends.
_MAX_BUFFERED: Final = Option("max_buffered", _INT, default=MAX_BUFFERED, check=_max_buffered)
_RETRIES: Final = Option("max_task_retries", _INT, default=0, check=_count_or_infinite)
_NOT_IN_OPTIONS: Final = "Setting '{}' is not supported in '.options()'."

#: What a remote function takes. ``max_retries`` has no default here: it is a setting that is read at ``.remote()``.
TASK_OPTIONS: Final = _COMMON | _table(
    Option("object_store_memory", _INT, check=_not_for_tasks),
    Option("max_calls", _INT, check=_count, fixed=_NOT_IN_OPTIONS.format("max_calls")),
    Option("max_retries", _INT, check=_count_or_infinite),
    _NUM_RETURNS,
    Option("retry_exceptions", (bool, list, tuple), default=False, check=_retry_exceptions),
    _BACKPRESSURE,
    _MAX_BUFFERED,
    _PER_YIELD,
)

#: What an actor class takes. The default of ``max_concurrency`` depends on the class.
ACTOR_OPTIONS: Final = _COMMON | _table(
    Option("object_store_memory", _INT, check=_deprecated_for_actors),
    Option(
        "concurrency_groups",
        (list, dict, _NONE),
        check=_concurrency_groups,
        fixed=_NOT_IN_OPTIONS.format("concurrency_groups"),
    ),
    Option("enable_tensor_transport", _BOOL),
    Option("lifetime", _STR, check=_lifetime),
    Option("max_concurrency", _INT, check=_count),
    Option("max_restarts", _INT, default=0, check=_count_or_infinite),
    _RETRIES,
    Option("max_pending_calls", _INT, default=-1, check=_count_or_infinite),
    Option("pending_calls_policy", _STR, default="error", check=_pending_calls_policy),
    Option("namespace", _STR),
    Option("get_if_exists", (bool,), default=False),
    Option("allow_out_of_order_execution", _BOOL),
    Option("_actor_generator_backpressure_num_objects", _INT, check=_actor_backpressure),
)

_METHOD: Final = _table(
    _NUM_RETURNS,
    Option("concurrency_group", _STR),
    _RETRIES,
    Option("retry_exceptions", (bool, list, tuple, _NONE), check=_retry_exceptions),
    _BACKPRESSURE,
    _MAX_BUFFERED,
    _PER_YIELD,
    Option("enable_task_events", _BOOL),
    Option("tensor_transport", _STR, check=_tensor_transport),
)

#: What ``@method`` takes. None stands for what the actor has.
METHOD_OPTIONS: Final = _METHOD

#: What ``handle.method.options`` takes.
CALL_OPTIONS: Final = _METHOD | _table(Option("name", _STR), Option("_labels", _DICT))

#: Options that may be true or false, or hold such values.
_FLAGS: Final = frozenset(
    option.name for option in (TASK_OPTIONS | ACTOR_OPTIONS | CALL_OPTIONS).values() if bool in option.types
) | {"runtime_env", "fallback_strategy"}


# ---------------------------------------------------------------- validation


def built_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """Valid options with numbers and strings of the built-in types, which are what travels.

    Members of enumerations, numpy's floats and other derived values keep what they are worth; a bool that stands for
    a number becomes one.
    """
    return {name: _built_in(value, flag=name in _FLAGS) for name, value in options.items()}


def _built_in(value: Any, *, flag: bool) -> Any:
    kind = cast("type[Any]", type(value))
    if kind is dict:
        return {_built_in(key, flag=False): _built_in(part, flag=flag) for key, part in value.items()}
    if kind is list:
        return [_built_in(part, flag=flag) for part in value]
    if kind is bool and not flag:
        return int(value)
    if isinstance(value, str) and kind is not str:
        return str.__str__(value)
    if isinstance(value, int) and kind is not int and kind is not bool:
        return int.__int__(value)
    if isinstance(value, float) and kind is not float:
        return float.__float__(value)
    return value


def validate_task_options(options: Mapping[str, Any], *, in_options: bool) -> None:
    """Check the options of a remote function; ``in_options`` where they come from ``.options()``.

    Raises TypeError for a wrong type, ValueError for a bad value or an unknown option.
    """
    _validate(TASK_OPTIONS, options, "remote functions", in_options)


def validate_actor_options(options: Mapping[str, Any], *, in_options: bool) -> None:
    """Check the options of an actor class; ``in_options`` where they come from ``.options()``.

    Raises TypeError for a wrong type, ValueError for a bad value or an unknown option.
    """
    _validate(ACTOR_OPTIONS, options, "actors", in_options)


def _validate(table: Mapping[str, Option], options: Mapping[str, Any], whose: str, in_options: bool) -> None:
    for name, value in options.items():
        option = table.get(name)
        if option is None:
            raise ValueError(f"Invalid option keyword {name} for {whose}. Valid ones are {list(table)}.")
        if in_options and option.fixed is not None:
            raise ValueError(option.fixed)
        option.validate(value)
    placed = options.get("placement_group", "default") not in (None, "default")
    if placed and options.get("scheduling_strategy") is not None:
        raise ValueError(
            "Placement groups should be specified via the scheduling_strategy option. "
            "The placement_group option is deprecated."
        )


def validate_method_options(options: Mapping[str, Any]) -> None:
    """Check what ``@method`` got. Raises AssertionError for an unknown option, else as for tasks."""
    for name, value in options.items():
        option = METHOD_OPTIONS.get(name)
        if option is None:
            raise AssertionError(
                f"Unexpected keyword argument to @method: '{name}'. "
                f"The supported keyword arguments are {list(METHOD_OPTIONS)}"
            )
        option.validate(value)


def validate_call_options(options: Mapping[str, Any]) -> None:
    """Check what ``handle.method.options`` got, at ``.remote()``. Raises TypeError for an unknown option."""
    for name, value in options.items():
        option = CALL_OPTIONS.get(name)
        if option is None:
            known = [known.name for known in CALL_OPTIONS.values() if known.fixed is None]
            raise TypeError(f"A call of an actor's method has no option '{name}'. Valid ones are {known}.")
        if option.fixed is not None:
            raise ValueError(option.fixed)
        option.validate(value)


def check_actor_creation(options: Mapping[str, Any], *, is_async: bool = False) -> None:
    """Check at ``.remote()`` what only makes sense for the options of an actor together.

    Parameters: the merged options; whether the class has an async method. Raises TypeError or ValueError.
    """
    for option in ("name", "namespace", "lifetime", "get_if_exists"):
        if option in options:
            ACTOR_OPTIONS[option].validate(options[option])
    name = options.get("name")
    if name == "":
        raise ValueError("Actor name cannot be an empty string. Leave `name` out for an actor without a name.")
    if options.get("namespace") == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    if options.get("get_if_exists") and name is None:
        raise ValueError("The actor name must be specified to use `get_if_exists`.")
    concurrency = options.get("max_concurrency")
    if concurrency == 0:
        raise ValueError("max_concurrency=0 would let no call of the actor run. Use 1 or more.")
    if options.get("allow_out_of_order_execution") is False and (is_async or (concurrency or 1) > 1):
        kind = "async" if is_async else "threaded"
        raise ValueError(
            f"An actor that is {kind} cannot run its calls in order, so allow_out_of_order_execution=False is not "
            "possible. Set it to True, or use max_concurrency=1 without async methods."
        )


# ---------------------------------------------------------------- what they ask for

#: Names that have options of their own, or a meaning inside of placement groups.
_RESERVED: Final = ("CPU", "GPU", "memory", "object_store_memory", "bundle")
#: What ``accelerator_type`` takes of a node's resource ``accelerator_type:<type>``.
_ACCELERATOR_SHARE: Final = 0.001


def _requested(options: Mapping[str, Any]) -> dict[str, float]:
    amounts: dict[str, float] = dict(options.get("resources") or {})
    for name in _RESERVED:
        if name in amounts:
            raise ValueError(f"The 'resources' option must not have the key '{name}': the name is reserved.")
    num_gpus = options.get("num_gpus")
    if num_gpus is not None and num_gpus > 1 and num_gpus != int(num_gpus):
        raise ValueError(f"GPU quantities above 1 must be whole numbers. The specified quantity {num_gpus} is invalid.")
    for resource, option in (("CPU", "num_cpus"), ("GPU", "num_gpus"), ("memory", "memory")):
        if options.get(option) is not None:
            amounts[resource] = options[option]
    if options.get("accelerator_type") is not None:
        amounts[f"accelerator_type:{options['accelerator_type']}"] = _ACCELERATOR_SHARE
    return amounts


def task_resources(options: Mapping[str, Any]) -> ResourceSet:
    """What a task needs to run: 1 CPU unless ``num_cpus`` is given.

    Raises ValueError for a fraction of GPUs above 1 and for reserved names in ``resources``.
    """
    return ResourceSet.of({"CPU": 1} | _requested(options))


def actor_resources(options: Mapping[str, Any]) -> tuple[ResourceSet, ResourceSet]:
    """What an actor needs to be placed, and what it holds while it lives. Raises as ``task_resources`` does.

    An actor that asks for nothing but memory is placed where a CPU is, and holds none. One that asks for anything
    else, be it zero of it, holds 1 CPU unless ``num_cpus`` says otherwise.
    """
    requested = _requested(options)
    if requested.keys() <= {"memory"}:
        running = ResourceSet.of(requested)
        return running + ResourceSet.of({"CPU": 1}), running
    running = ResourceSet.of({"CPU": 1} | requested)
    return running, running
