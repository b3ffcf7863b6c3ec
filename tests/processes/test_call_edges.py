"""Calls at the edges: parameters of any name, options of derived types, what a call knows of itself, old handles."""

import abc
import enum
import threading

import pytest

from tests.conftest import init_arguments
from tests.processes.waiting import eventually


class Name(enum.StrEnum):
    SHORT = "short"


class Count(enum.IntEnum):
    TWO = 2


def test_parameters_may_have_the_names_that_remote_could_use_itself(ray):
    @ray.remote
    def function(self=0, args=0, kwargs=0, **more):
        return self, args, kwargs, more

    @ray.remote
    class Actor:
        def method(this, **more):  # noqa: N805 -- so that `self` is free
            return more

    assert ray.get(function.remote(self=1, args=2, kwargs=3, options=4)) == (1, 2, 3, {"options": 4})
    assert ray.get(function.options(num_cpus=1).remote(self=1)) == (1, 0, 0, {})
    assert ray.get(Actor.remote().method.remote(self=1, info=2)) == {"self": 1, "info": 2}


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ({"name": Name.SHORT}, [1, 2]),
        ({"num_returns": Count.TWO}, [1, 2]),
        ({"num_returns": True}, [1, 2]),
        ({"max_retries": True, "num_cpus": True}, [1, 2]),
        ({"resources": {Name.SHORT: 0}}, [1, 2]),
    ],
    ids=str,
)
def test_options_of_tasks_may_be_of_derived_types(ray, options, result):
    @ray.remote
    def pair():
        return [1, 2]

    assert ray.get(pair.options(**options).remote(), timeout=30) == result


def test_options_of_actors_and_calls_may_be_of_derived_types(ray):
    @ray.remote(max_concurrency=True, max_restarts=Count.TWO, max_pending_calls=Count.TWO)
    class Actor:
        @ray.method(num_returns=Count.TWO)
        def names(self):
            context = ray.get_runtime_context()
            return context.get_actor_name(), context.get_task_name()

    actor = Actor.options(name=Name.SHORT).remote()
    assert ray.get(actor.names.options(name=Name.SHORT).remote(), timeout=30) == ["short", "short"]


def test_name_of_the_function_does_not_follow_the_name_option(ray):
    def names():
        context = ray.get_runtime_context()
        return context.get_task_name(), context.get_task_function_name()

    @ray.remote
    def task():
        return names()

    @ray.remote
    class Actor:
        def method(self):
            return names()

    for options in ({}, {"name": "renamed"}):
        name, function = ray.get(task.options(**options).remote())
        assert name == options.get("name", "task")
        assert function.startswith(f"{__name__}.")
        assert function.endswith(".task")
        name, function = ray.get(Actor.remote().method.options(**options).remote())
        assert name == options.get("name", "Actor.method")
        assert function.endswith(".Actor.method")


def test_threads_of_a_task_share_its_context(ray):
    def seen():
        context = ray.get_runtime_context()
        return context.get_task_id(), context.get_assigned_resources()

    @ray.remote(num_cpus=0.5)
    def task():
        found = []
        thread = threading.Thread(target=lambda: found.append(seen()))
        thread.start()
        thread.join()
        return seen(), found[0]

    in_task, in_thread = ray.get(task.remote())
    assert in_thread == in_task
    assert in_task[1] == {"CPU": 0.5}


def test_abstract_class_is_refused_when_an_actor_is_asked_for(ray):
    class Base(abc.ABC):
        @abc.abstractmethod
        def missing(self): ...

    with pytest.raises(TypeError, match="abstract class Base: it does not define missing"):
        ray.remote(Base).remote()


def test_method_decorator_takes_a_function_or_keywords(ray):
    with pytest.raises(AssertionError, match="keyword arguments only"):
        ray.method(3)


@pytest.mark.parametrize("name", [None, ""])
def test_no_name_is_no_name_of_an_actor(ray, name):
    with pytest.raises(ValueError, match="non-empty"):
        ray.get_actor(name)


def test_calls_may_overtake_one_that_waits_for_its_argument_when_the_actor_allows_it(ray, tmp_path):
    @ray.remote
    class Actor:
        def echo(self, value):
            return value

    @ray.remote(num_cpus=0)
    def opened(gate):
        return eventually(gate.exists)

    gate = tmp_path / "gate"
    actor = Actor.options(allow_out_of_order_execution=True).remote()
    first = actor.echo.remote(opened.remote(gate))
    assert ray.get(actor.echo.remote(2), timeout=30) == 2
    gate.touch()
    assert ray.get(first, timeout=30) is True


def test_handle_of_an_earlier_cluster_is_refused_at_the_call(fresh_ray):
    ray = fresh_ray

    class Actor:
        def method(self):
            return 1

    ray.init(**init_arguments(num_cpus=1))
    old = ray.remote(Actor).remote()
    assert ray.get(old.method.remote()) == 1
    ray.shutdown()
    ray.init(**init_arguments(num_cpus=1))
    with pytest.raises(ray.exceptions.ActorHandleNotFoundError, match="before the present init"):
        old.method.remote()
    assert ray.get(ray.remote(Actor).remote().method.remote()) == 1
