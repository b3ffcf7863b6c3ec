"""Whole programs in one process: everything that a program does with tasks, actors and objects."""

import asyncio
import contextvars
import os
import threading

import numpy as np
import pytest
import trio
import trio.lowlevel

import trayray
from tests.processes.waiting import eventually
from trayray.util.placement_group import placement_group, remove_placement_group
from trayray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

#: Functions of modules are pickled by name: workers use these very objects.
GATE = threading.Event()


def gated():
    GATE.wait()


class Counter:
    def __init__(self, start=0):
        self.value = start

    def add(self, amount=1):
        self.value += amount
        return self.value

    def context(self):
        context = trayray.get_runtime_context()
        return context.get_actor_id(), context.get_actor_name(), context.get_task_name()


def test_tasks_run_in_threads_of_this_process(ray):
    @ray.remote
    def where():
        return os.getpid(), threading.current_thread().name

    pid, thread = ray.get(where.remote())
    assert pid == os.getpid()
    assert thread == "ray::where"


def test_nested_tasks_lend_their_cpus(ray):
    @ray.remote
    def depth(levels):
        return 0 if levels == 0 else 1 + ray.get(depth.remote(levels - 1))

    assert ray.get(depth.remote(12)) == 12  # with 4 CPUs


def test_wait_and_errors(ray):
    @ray.remote(max_retries=0)
    def fail():
        raise KeyError("missing")

    GATE.clear()
    late, soon = ray.remote(gated).remote(), fail.remote()
    ready, rest = ray.wait([late, soon])
    assert (ready, rest) == ([soon], [late])
    with pytest.raises(KeyError, match="missing") as caught:
        ray.get(soon)
    assert isinstance(caught.value, ray.exceptions.RayTaskError)
    GATE.set()
    ray.get(late)


def test_exceptions_are_retried(ray, tmp_path):
    @ray.remote(max_retries=3, retry_exceptions=[OSError])
    def flaky():
        attempts = len(list(tmp_path.iterdir()))
        (tmp_path / str(attempts)).touch()
        if attempts < 2:
            raise OSError("again")
        return attempts

    assert ray.get(flaky.remote()) == 2


def test_arguments_are_copies_and_large_ones_are_read_in_place(ray):
    @ray.remote
    def change(items, array):
        items.append(1)
        return array.flags.writeable, array.sum()

    items, array = [], np.ones(10**6)
    assert ray.get(change.remote(items, ray.put(array))) == (False, 10**6)
    assert items == []


def test_generators_stream_and_wait_for_their_consumer(ray):
    @ray.remote(num_returns="streaming", _generator_backpressure_num_objects=2)
    def numbers(note):
        for number in range(6):
            ray.get(note.add.remote())
            yield number

    counter = ray.remote(Counter).remote()
    stream = numbers.remote(counter)
    assert ray.get(next(stream)) == 0
    produced = eventually(lambda: (n := ray.get(counter.add.remote(0))) >= 3 and n)
    assert produced <= 4
    assert [ray.get(ref) for ref in stream] == [1, 2, 3, 4, 5]


def test_async_def_tasks(ray):
    @trayray.task
    async def both():
        await trio.lowlevel.checkpoint()
        await asyncio.sleep(0)
        return await inner.remote()

    @ray.remote
    def inner():
        return "awaited"

    assert ray.get(both.remote()) == "awaited"


def test_actors_keep_state_and_order(ray):
    counter = ray.remote(Counter).remote(10)
    assert ray.get([counter.add.remote() for _ in range(50)]) == list(range(11, 61))


def test_threaded_actors_run_calls_side_by_side(ray):
    @ray.remote(max_concurrency=3)
    class Meeting:
        def __init__(self):
            self.barrier = threading.Barrier(3)

        def join(self):
            self.barrier.wait()
            return trayray.get_runtime_context().get_task_name(), trayray.get_runtime_context().get_actor_id()

    meeting = Meeting.remote()
    joined = ray.get([meeting.join.remote() for _ in range(3)])
    assert {name for name, _ in joined} == {"Meeting.join"}
    assert {actor for _, actor in joined} == {meeting._actor_id.hex()}


def test_async_actors_and_concurrency_groups(ray):
    @ray.remote(concurrency_groups={"io": 2})
    class Server:
        def __init__(self):
            self.opened = asyncio.Event()

        @ray.method(concurrency_group="io")
        async def wait(self):
            await self.opened.wait()
            return trayray.get_runtime_context().get_actor_id()

        async def open(self):
            self.opened.set()

    server = Server.remote()
    waiting = [server.wait.remote() for _ in range(2)]
    ray.get(server.open.remote())
    assert ray.get(waiting) == [server._actor_id.hex()] * 2


def test_named_actors_and_context(ray):
    counter = ray.remote(Counter).options(name="shared").remote()
    assert ray.get(ray.get_actor("shared").add.remote()) == 1
    assert ray.get(counter.context.remote()) == (counter._actor_id.hex(), "shared", "Counter.context")
    context = trayray.get_runtime_context()
    assert context.get_actor_id() is None
    assert context.get_task_id() is None


def test_handles_travel(ray):
    @ray.remote
    def use(counter):
        return ray.get(counter.add.remote(5))

    counter = ray.remote(Counter).remote()
    assert ray.get(use.remote(counter)) == 5


def test_resources_are_shared_out(ray):
    @ray.remote(num_cpus=4)
    def everything():
        return ray.available_resources().get("CPU", 0)

    assert ray.get([everything.remote() for _ in range(3)]) == [0, 0, 0]
    assert ray.cluster_resources()["CPU"] == 4
    assert eventually(lambda: ray.available_resources().get("CPU") == 4)


def test_placement_groups(ray):
    group = placement_group([{"CPU": 1}, {"CPU": 2}])
    ray.get(group.ready())

    @ray.remote(num_cpus=2)
    def inside():
        return trayray.get_runtime_context().get_placement_group_id()

    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=1)
    assert ray.get(inside.options(scheduling_strategy=strategy).remote()) == group.id.hex()
    remove_placement_group(group)


def test_a_thread_of_user_code_is_the_drivers_unless_it_takes_the_context_along(ray):
    @ray.remote
    def threads():
        found = {}

        def note(name):
            found[name] = trayray.get_runtime_context().get_worker_id()

        context = contextvars.copy_context()
        for name, run in (("bare", note), ("with context", lambda name: context.run(note, name))):
            thread = threading.Thread(target=run, args=(name,))
            thread.start()
            thread.join()
        return found, trayray.get_runtime_context().get_worker_id()

    found, worker = ray.get(threads.remote())
    assert found["with context"] == worker
    assert found["bare"] == trayray.get_runtime_context().get_worker_id() != worker


def test_dropped_actors_end(ray):
    """Each end is seen, however the threads of the two meet."""
    for _ in range(30):
        counter = ray.remote(Counter).options(name="mortal").remote()
        ray.get(counter.add.remote())
        del counter
        eventually(lambda: ray.util.list_named_actors() == [])


def test_an_object_store_that_is_full_spills(fresh_ray, tmp_path):
    fresh_ray.init(
        mode="in_process", num_cpus=2, object_store_memory=80 * 2**20, object_spilling_directory=str(tmp_path)
    )
    refs = [fresh_ray.put(np.full(4 * 2**20, number)) for number in range(5)]  # 32 MiB each
    assert [int(fresh_ray.get(ref)[0]) for ref in refs] == list(range(5))
