import enum
import math
from typing import Any

import pytest

from trayray.model.options import (
    ACTOR_OPTIONS,
    CALL_OPTIONS,
    METHOD_OPTIONS,
    TASK_OPTIONS,
    PlacementGroupOption,
    SchedulingStrategy,
    actor_resources,
    built_in,
    check_actor_creation,
    task_resources,
    validate_actor_options,
    validate_call_options,
    validate_label_selector,
    validate_method_options,
    validate_task_options,
)

VALIDATORS = {"task": validate_task_options, "actor": validate_actor_options}

BAD_FOR_BOTH: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"num_cpus": -1}, ValueError, "The quantity of resource num_cpus cannot be negative"),
    ({"num_cpus": 0.00001}, ValueError, "The precision of the fractional quantity .* num_cpus cannot go beyond 0.0001"),
    ({"num_cpus": math.nan}, ValueError, "num_cpus must be a finite number"),
    ({"num_cpus": math.inf}, ValueError, "num_cpus must be a finite number"),
    (
        {"num_cpus": "1"},
        TypeError,
        "type of keyword 'num_cpus' must be .*float.*int.*NoneType.* received type .*str",
    ),
    ({"num_gpus": "1"}, TypeError, "num_gpus"),
    ({"num_gpus": -0.5}, ValueError, "num_gpus cannot be negative"),
    ({"memory": -1}, ValueError, "memory cannot be negative"),
    ({"resources": {"CPU": 1}}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword instead"),
    ({"resources": {"GPU": 1}}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword instead"),
    ({"resources": {"special": -1}}, ValueError, "special cannot be negative"),
    ({"resources": {"special": 0.00001}}, ValueError, "special cannot go beyond 0.0001"),
    ({"resources": {"special": "1"}}, TypeError, "special"),
    ({"resources": {5: 1}}, TypeError, "'resources' must be strings"),
    ({"resources": ["special"]}, TypeError, "resources"),
    ({"resources": {"TPU": 3}}, ValueError, r"'TPU' was set to 3 .* \(1, 2, 4, 8\)"),
    ({"resources": {"neuron_cores": 1.5}}, ValueError, "whole numbers.* 1.5"),
    ({"accelerator_type": 100}, TypeError, "accelerator_type"),
    ({"name": 3}, TypeError, "name"),
    ({"runtime_env": 3}, TypeError, "runtime_env"),
    ({"scheduling_strategy": 3}, TypeError, "scheduling_strategy"),
    ({"placement_group": 3}, TypeError, "placement_group"),
    ({"placement_group_bundle_index": None}, TypeError, "'placement_group_bundle_index' must be <class 'int'>, but"),
    ({"placement_group_capture_child_tasks": 3}, TypeError, "placement_group_capture_child_tasks"),
    ({"enable_task_events": None}, TypeError, "enable_task_events"),
    ({"_labels": 3}, TypeError, "_labels"),
    ({"label_selector": 3}, TypeError, "label_selector"),
    ({"label_selector": {"a b": "c"}}, ValueError, "Invalid label key name `a b`"),
    ({"fallback_strategy": 3}, TypeError, "fallback_strategy"),
    ({"fallback_strategy": [3]}, ValueError, "fallback_strategy must be a dictionary"),
    ({"fallback_strategy": [{}]}, ValueError, "Empty dictionary found in `fallback_strategy`"),
    ({"fallback_strategy": [{"memory": 1}]}, ValueError, "Unsupported option found: 'memory'"),
    ({"fallback_strategy": [{"label_selector": 3}]}, ValueError, '"label_selector" must be a dictionary'),
    ({"fallback_strategy": [{"label_selector": {"a": "b c"}}]}, ValueError, "label selector value `b c`"),
    ({"placement_group": PlacementGroupOption(), "scheduling_strategy": "SPREAD"}, ValueError, "scheduling_strategy"),
    ({"object_store_memory": 1.5}, TypeError, "object_store_memory"),
    ({"no_such_option": 1}, ValueError, r"Invalid option keyword no_such_option for .* Valid ones are \['label_sel"),
]

BAD_FOR_TASKS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"num_returns": -1}, ValueError, "num_returns"),
    ({"num_returns": 1.5}, TypeError, "num_returns"),
    ({"num_returns": "many"}, ValueError, "num_returns.*many"),
    ({"max_retries": -2}, ValueError, "'max_retries' only accepts None, 0, -1 or a positive integer"),
    ({"max_retries": "3"}, TypeError, "max_retries"),
    ({"retry_exceptions": 3}, TypeError, "retry_exceptions"),
    ({"retry_exceptions": None}, TypeError, "retry_exceptions"),
    ({"retry_exceptions": ["ValueError"]}, ValueError, "retry_exceptions must be either a boolean or a list"),
    ({"retry_exceptions": (KeyboardInterrupt,)}, ValueError, "retry_exceptions"),
    ({"object_store_memory": 0}, ValueError, "'object_store_memory' is not implemented for tasks"),
    ({"_generator_backpressure_num_objects": 0}, ValueError, "_generator_backpressure_num_objects=0 is not allowed"),
    ({"max_buffered": 0}, ValueError, "'max_buffered' must be at least 1, but received 0"),
    ({"max_buffered": 1.5}, TypeError, "max_buffered"),
    ({"max_restarts": 1}, ValueError, "keyword max_restarts for remote functions"),
]

BAD_FOR_ACTORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"max_restarts": "1"}, TypeError, "max_restarts"),
    ({"max_restarts": -2}, ValueError, "max_restarts"),
    ({"max_task_retries": -2}, ValueError, "max_task_retries"),
    ({"max_pending_calls": -2}, ValueError, "max_pending_calls"),
    ({"pending_calls_policy": "drop"}, ValueError, "'error' .* or 'wait' .*, but received 'drop'"),
    ({"pending_calls_policy": 1}, TypeError, "pending_calls_policy"),
    ({"max_concurrency": -1}, ValueError, "'max_concurrency' only accepts None, 0 or a positive integer"),
    ({"max_concurrency": "a"}, TypeError, "max_concurrency"),
    ({"lifetime": "forever"}, ValueError, "'detached', 'non_detached' and 'None'"),
    ({"lifetime": 3}, TypeError, "lifetime"),
    ({"namespace": 3}, TypeError, "namespace"),
    ({"get_if_exists": None}, TypeError, "get_if_exists"),
    ({"allow_out_of_order_execution": 3}, TypeError, "allow_out_of_order_execution"),
    ({"enable_tensor_transport": 3}, TypeError, "enable_tensor_transport"),
    ({"object_store_memory": -1}, ValueError, "object_store_memory"),
    ({"_actor_generator_backpressure_num_objects": 0}, ValueError, "must be > 0 .* Got 0"),
    ({"_actor_generator_backpressure_num_objects": -2}, ValueError, "Got -2"),
    ({"max_retries": 1}, ValueError, "keyword max_retries for actors"),
]

GOOD_FOR_BOTH: list[dict[str, Any]] = [
    {},
    {"num_cpus": 0, "num_gpus": 1.5, "memory": 10**9, "resources": {"slot": 0.5, "TPU": 4.0, "neuron_cores": 2}},
    {"num_cpus": None, "num_gpus": None, "memory": None, "resources": None, "accelerator_type": None, "name": None},
    {"scheduling_strategy": "foo"},
    {"scheduling_strategy": SchedulingStrategy(), "placement_group": "default"},
    {"scheduling_strategy": None, "placement_group": PlacementGroupOption(), "placement_group_bundle_index": 1},
    {"runtime_env": {"env_vars": {}}, "_labels": {"a": "b"}, "enable_task_events": False},
    {"label_selector": {"ray.io/zone": "!in(a, b)"}, "fallback_strategy": [{"label_selector": None}]},
    {"fallback_strategy": [{"label_selector": {"a": "b"}}, {"label_selector": {}}]},
]


@pytest.mark.parametrize("in_options", [False, True], ids=["decorator", "options"])
class TestTasksAndActors:
    @pytest.mark.parametrize("kind", VALIDATORS)
    @pytest.mark.parametrize(("options", "error", "says"), BAD_FOR_BOTH, ids=lambda value: str(value)[:40])
    def test_bad_option_of_both(
        self, kind: str, options: dict[str, Any], error: type[Exception], says: str, in_options: bool
    ):
        with pytest.raises(error, match=says):
            VALIDATORS[kind](options, in_options=in_options)

    @pytest.mark.parametrize(("options", "error", "says"), BAD_FOR_TASKS, ids=lambda value: str(value)[:40])
    def test_bad_option_of_a_task(self, options: dict[str, Any], error: type[Exception], says: str, in_options: bool):
        with pytest.raises(error, match=says):
            validate_task_options(options, in_options=in_options)

    @pytest.mark.parametrize(("options", "error", "says"), BAD_FOR_ACTORS, ids=lambda value: str(value)[:40])
    def test_bad_option_of_an_actor(self, options: dict[str, Any], error: type[Exception], says: str, in_options: bool):
        with pytest.raises(error, match=says):
            validate_actor_options(options, in_options=in_options)

    @pytest.mark.parametrize("kind", VALIDATORS)
    @pytest.mark.parametrize("options", GOOD_FOR_BOTH, ids=str)
    def test_good_options_of_both(self, kind: str, options: dict[str, Any], in_options: bool):
        VALIDATORS[kind](options, in_options=in_options)

    def test_good_options_of_tasks(self, in_options: bool):
        for returns in (0, 3, "streaming", "dynamic", None):
            validate_task_options({"num_returns": returns}, in_options=in_options)
        for retries in (True, [], [ValueError], (OSError, KeyError)):
            validate_task_options({"retry_exceptions": retries, "max_retries": -1}, in_options=in_options)
        validate_task_options({"object_store_memory": None}, in_options=in_options)
        validate_task_options({"_generator_backpressure_num_objects": -1}, in_options=in_options)

    def test_good_options_of_actors(self, in_options: bool):
        validate_actor_options(
            {"max_restarts": -1, "max_task_retries": None, "max_pending_calls": 0, "max_concurrency": 0},
            in_options=in_options,
        )
        validate_actor_options(
            {"lifetime": "detached", "namespace": "", "get_if_exists": True, "name": ""}, in_options=in_options
        )

    def test_object_store_memory_of_actors_is_deprecated(self, in_options: bool):
        with pytest.warns(DeprecationWarning, match="object_store_memory"):
            validate_actor_options({"object_store_memory": 5}, in_options=in_options)


@pytest.mark.parametrize(
    ("kind", "options", "bad"),
    [
        ("task", {"max_calls": 1}, {"max_calls": -1}),
        ("task", {"_num_objects_per_yield": 2}, {"_num_objects_per_yield": 0}),
        ("actor", {"concurrency_groups": {"io": 2}}, {"concurrency_groups": {"io": 0}}),
        ("actor", {"concurrency_groups": [{"name": "io"}]}, {"concurrency_groups": {"io": 0}}),
    ],
)
def test_options_of_the_decorator_only(kind: str, options: dict[str, Any], bad: dict[str, Any]):
    VALIDATORS[kind](options, in_options=False)
    (name,) = options
    with pytest.raises(ValueError, match=name):
        VALIDATORS[kind](options, in_options=True)
    with pytest.raises(ValueError, match=name):
        VALIDATORS[kind](bad, in_options=False)


@pytest.mark.parametrize("groups", [3, {"io": "2"}, {1: 2}, ["io"]])
def test_concurrency_groups_of_the_wrong_type(groups: Any):
    with pytest.raises(TypeError, match="concurrency_groups"):
        validate_actor_options({"concurrency_groups": groups}, in_options=False)


def test_defaults_pass_their_own_checks():
    for table in (TASK_OPTIONS, ACTOR_OPTIONS, METHOD_OPTIONS, CALL_OPTIONS):
        for name, option in table.items():
            assert option.name == name
            option.validate(option.default)


# ---------------------------------------------------------------- methods and calls


def test_method_options():
    validate_method_options({})
    validate_method_options(
        {"num_returns": 2, "concurrency_group": "io", "max_task_retries": -1, "retry_exceptions": [KeyError]}
    )
    validate_method_options({"_num_objects_per_yield": 2, "tensor_transport": "object_store"})
    for name in ("num_cpus", "name"):
        with pytest.raises(AssertionError, match=rf"@method: '{name}'.*'num_returns'"):
            validate_method_options({name: 1})


@pytest.mark.parametrize("validate", [validate_method_options, validate_call_options])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_returns": -1}, ValueError),
        ({"num_returns": "many"}, ValueError),
        ({"concurrency_group": 3}, TypeError),
        ({"max_task_retries": -2}, ValueError),
        ({"retry_exceptions": 3}, TypeError),
        ({"enable_task_events": 3}, TypeError),
        ({"tensor_transport": "pigeon"}, ValueError),
        ({"_num_objects_per_yield": 0}, ValueError),
    ],
    ids=str,
)
def test_bad_method_and_call_options(validate: Any, options: dict[str, Any], error: type[Exception]):
    (name,) = options
    with pytest.raises(error, match=name.replace("_", "[_ ]")):
        validate(options)


def test_call_options():
    validate_call_options({"name": "call", "num_returns": "streaming", "_labels": None, "enable_task_events": None})
    with pytest.raises(TypeError, match=r"no option 'num_cpus'.*num_returns"):
        validate_call_options({"num_cpus": 1})
    with pytest.raises(ValueError, match="_num_objects_per_yield cannot be overridden"):
        validate_call_options({"_num_objects_per_yield": 2})


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("value", ["", "v", "!v", "in(a,b)", "!in(a)", "a.b-c_d", "a" * 63])
def test_good_label_selectors(value: str):
    validate_label_selector({"key": value, "ray.io/key": value})


@pytest.mark.parametrize("value", ["a b", "-a", "a-", "!", "in()", "in(a,)", "in(a", "!in(a,b c)", "a" * 64, "a\n"])
def test_bad_label_values(value: str):
    with pytest.raises(ValueError, match="Invalid label selector value"):
        validate_label_selector({"key": value})


@pytest.mark.parametrize("key", ["", "a b", "-a", "a" * 64, "ray.io/", "/a", "A_B/c", "a" * 254 + "/b"])
def test_bad_label_keys(key: str):
    with pytest.raises(ValueError, match="Invalid label key"):
        validate_label_selector({key: "v"})


@pytest.mark.parametrize("selector", [{"a": 3}, {3: "a"}, {"a": None}])
def test_label_selectors_are_strings(selector: dict[Any, Any]):
    with pytest.raises(TypeError, match="label selector"):
        validate_label_selector(selector)


# ---------------------------------------------------------------- creation of actors


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"name": ""}, ValueError, "name"),
        ({"name": 5}, TypeError, "name"),
        ({"namespace": ""}, ValueError, "namespace"),
        ({"get_if_exists": True}, ValueError, "name must be specified"),
        ({"lifetime": "forever"}, ValueError, "detached"),
        ({"max_concurrency": 0}, ValueError, "max_concurrency"),
        ({"max_concurrency": 2, "allow_out_of_order_execution": False}, ValueError, "threaded.*allow_out_of_order"),
    ],
    ids=str,
)
def test_actor_that_cannot_be_created(options: dict[str, Any], error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        check_actor_creation(options)


def test_actor_that_can_be_created():
    check_actor_creation({})
    check_actor_creation({"name": "a", "get_if_exists": True, "lifetime": "detached", "namespace": "n"})
    in_order = {"max_concurrency": 1, "allow_out_of_order_execution": False}
    check_actor_creation(in_order)
    with pytest.raises(ValueError, match="async"):
        check_actor_creation(in_order, is_async=True)
    check_actor_creation({"allow_out_of_order_execution": True}, is_async=True)


# ---------------------------------------------------------------- resources


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, {"CPU": 1}),
        ({"num_cpus": None, "num_gpus": None, "resources": None}, {"CPU": 1}),
        ({"num_cpus": 0}, {}),
        ({"num_cpus": 0.5, "num_gpus": 0.25, "memory": 100}, {"CPU": 0.5, "GPU": 0.25, "memory": 100}),
        ({"num_gpus": 2.0, "resources": {"slot": 1}}, {"CPU": 1, "GPU": 2, "slot": 1}),
        ({"accelerator_type": "V100"}, {"CPU": 1, "accelerator_type:V100": 0.001}),
    ],
    ids=str,
)
def test_task_resources(options: dict[str, Any], wanted: dict[str, float]):
    assert task_resources(options).to_dict() == wanted


@pytest.mark.parametrize(
    ("options", "placement", "running"),
    [
        ({}, {"CPU": 1}, {}),
        ({"memory": 100}, {"CPU": 1, "memory": 100}, {"memory": 100}),
        ({"resources": {}}, {"CPU": 1}, {}),
        ({"num_cpus": 0}, {}, {}),
        ({"num_cpus": 0.5}, {"CPU": 0.5}, {"CPU": 0.5}),
        ({"num_gpus": 1}, {"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 1}),
        ({"num_gpus": 0}, {"CPU": 1}, {"CPU": 1}),
        ({"resources": {"slot": 1}, "num_cpus": 0}, {"slot": 1}, {"slot": 1}),
        (
            {"accelerator_type": "T4"},
            {"CPU": 1, "accelerator_type:T4": 0.001},
            {"CPU": 1, "accelerator_type:T4": 0.001},
        ),
    ],
    ids=str,
)
def test_actor_resources(options: dict[str, Any], placement: dict[str, float], running: dict[str, float]):
    assert [amounts.to_dict() for amounts in actor_resources(options)] == [placement, running]


@pytest.mark.parametrize("resources_of", [task_resources, actor_resources])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_gpus": 1.5}, "whole numbers.* 1.5 "),
        ({"resources": {"memory": 1}}, "'memory'"),
        ({"resources": {"object_store_memory": 1}}, "'object_store_memory'"),
        ({"resources": {"bundle": 1}}, "'bundle'"),
    ],
    ids=str,
)
def test_requests_that_are_refused_at_submission(resources_of: Any, options: dict[str, Any], says: str):
    validate_task_options(options, in_options=False)
    with pytest.raises(ValueError, match=says):
        resources_of(options)


class Word(enum.StrEnum):
    ONE = "one"


class Mixed(str, enum.Enum):  # noqa: UP042 -- its text differs from its value
    ONE = "one"


class Number(enum.IntEnum):
    TWO = 2


class Real(float):
    pass


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({"name": Word.ONE}, {"name": "one"}),
        ({"name": Mixed.ONE}, {"name": "one"}),
        ({"num_returns": Number.TWO}, {"num_returns": 2}),
        ({"num_returns": True}, {"num_returns": 1}),
        ({"num_cpus": Real(0.5)}, {"num_cpus": 0.5}),
        ({"resources": {Word.ONE: Real(1)}}, {"resources": {"one": 1.0}}),
        ({"concurrency_groups": [{"name": Word.ONE}]}, {"concurrency_groups": [{"name": "one"}]}),
        ({"get_if_exists": True, "enable_task_events": False}, {"get_if_exists": True, "enable_task_events": False}),
        ({"retry_exceptions": [ValueError]}, {"retry_exceptions": [ValueError]}),
        ({"name": None}, {"name": None}),
    ],
    ids=str,
)
def test_values_of_derived_types_become_built_in(options, plain):
    def types(value):
        if isinstance(value, dict):
            return {key: (type(key), types(part)) for key, part in value.items()}
        return [types(part) for part in value] if isinstance(value, list) else type(value)

    found = built_in(options)
    assert found == plain
    assert types(found) == types(plain)
