"""What checkers are told of the API agrees with what there is at run time. The checkers' side is `tests/typing`."""

from collections.abc import Mapping
from types import GenericAlias
from typing import Any

import pytest

import trayray
from trayray.api import actor_class, remote_function
from trayray.api.shapes import actors, calls, options
from trayray.model.options import ACTOR_OPTIONS, CALL_OPTIONS, METHOD_OPTIONS, TASK_OPTIONS, Option


@pytest.mark.parametrize(
    ("shape", "table", "in_options"),
    [
        (options.FunctionOptions, TASK_OPTIONS, False),
        (options.TaskOptions, TASK_OPTIONS, True),
        (options.ActorOptions, ACTOR_OPTIONS, True),
        (options.RemoteOptions, TASK_OPTIONS | ACTOR_OPTIONS, False),
        (options.MethodOptions, METHOD_OPTIONS, False),
        (options.CallOptions, CALL_OPTIONS, True),
    ],
)
def test_keywords_are_those_of_the_table(shape: Any, table: Mapping[str, Option], in_options: bool) -> None:
    allowed = {name for name, option in table.items() if not (in_options and option.fixed)}

    assert shape.__required_keys__ == set()
    assert shape.__optional_keys__ == allowed - {"num_returns"}


@pytest.mark.parametrize(
    ("shape", "real"),
    [
        (calls.RemoteFunction, remote_function.RemoteFunction),
        (calls.Callee, remote_function.BoundFunction),
        (actors.ActorMethod, actor_class.ActorMethod),
        (actors.ActorClass, actor_class.ActorClass),
        (actors.ActorCreator, actor_class.BoundActorClass),
    ],
)
def test_what_a_shape_has_is_there(shape: type, real: type) -> None:
    promised = {name for name in dir(shape) if not name.startswith("_")}

    assert "remote" in promised
    assert promised <= set(dir(real))


@pytest.mark.parametrize(
    ("public", "real"),
    [
        (trayray.ActorHandle, actor_class.ActorHandle),
        (trayray.actor.ActorHandle, actor_class.ActorHandle),
        (trayray.actor.ActorProxy, actor_class.ActorHandle),
        (trayray.actor.ActorClass, actor_class.ActorClass),
        (trayray.actor.ActorMethod, actor_class.ActorMethod),
        (trayray.remote_function.RemoteFunction, remote_function.RemoteFunction),
    ],
)
def test_public_names_are_the_real_classes_and_take_parameters(public: Any, real: type) -> None:
    assert public is real
    assert public[[int], str] == GenericAlias(real, ([int], str))


def test_handles_are_annotated_with_a_class() -> None:
    class Counter:
        pass

    def use(handle: trayray.ActorHandle[Counter]) -> None:
        """Takes a handle; the annotation is evaluated when the function is defined."""

    assert use.__annotations__["handle"] == GenericAlias(actor_class.ActorHandle, (Counter,))
