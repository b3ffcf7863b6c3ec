"""What a driver, a task and an actor are told of themselves: kind of process, address, ids as objects."""

import warnings

import pytest

import trayray

NAMES = ("job_id", "node_id", "task_id", "actor_id", "current_placement_group_id")


def ids():
    """The context's ids as objects, by name; asking for them warns."""
    context = trayray.get_runtime_context()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = {name: getattr(context, name) for name in NAMES}
    assert [str(warning.message).split(":")[0] for warning in warned] == [
        f"RuntimeContext.{name} is deprecated" for name in NAMES
    ]
    return found


@trayray.remote
class Actor:
    def ids(self):
        return ids(), trayray.get_runtime_context().get()


def test_what_kind_of_process_this_is(ray):
    @ray.remote
    def mode():
        return ray.get_runtime_context().worker.mode

    assert ray.get_runtime_context().worker.mode == ray.SCRIPT_MODE
    assert ray.get(mode.remote()) == ray.WORKER_MODE


def test_the_address_of_this_node(ray):
    @ray.remote
    def address():
        return ray.util.get_node_ip_address()

    assert ray.util.get_node_ip_address() == ray.nodes()[0]["NodeManagerAddress"] == ray.get(address.remote())


def test_ids_of_an_actor_as_objects(ray):
    actor = Actor.remote()
    found, known = ray.get(actor.ids.remote())

    assert found.pop("current_placement_group_id").is_nil()
    assert {name: found_id.hex() for name, found_id in found.items()} == {name: known[name] for name in found}
    assert found["actor_id"] == actor._actor_id


def test_a_task_has_no_actor(ray):
    found = ray.get(ray.remote(ids).remote())
    assert found["actor_id"] is None
    assert isinstance(found["task_id"], ray.TaskID)


@pytest.mark.parametrize("name", ["task_id", "actor_id"])
def test_a_driver_has_no_task(ray, name):
    with (
        pytest.warns(DeprecationWarning, match=rf"use get_{name}\(\)"),
        pytest.raises(AssertionError, match="this is a driver"),
    ):
        getattr(ray.get_runtime_context(), name)
