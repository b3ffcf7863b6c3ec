"""`util.queue.Queue` between real processes."""

import asyncio
import pickle
import queue

import pytest
import trio

from tests.processes.waiting import eventually
from trayray.exceptions import ActorDiedError
from trayray.util.queue import Empty, Full, Queue


@pytest.fixture
def shared(ray):
    """A queue for two items."""
    made = Queue(maxsize=2)
    yield made
    made.shutdown()


def test_items_come_out_as_they_went_in(shared):
    assert len(shared) == 0
    assert shared.empty()
    shared.put(None)
    shared.put({"a": [1]})

    assert shared.full()
    assert (shared.size(), shared.qsize(), len(shared)) == (2, 2, 2)
    assert shared.get() is None
    assert shared.get() == {"a": [1]}


def test_tasks_take_what_the_driver_puts(ray, shared):
    @ray.remote(num_cpus=0)
    def take(source, count):
        return [source.get() for _ in range(count)]

    taken = [take.remote(shared, 10), take.remote(shared, 10)]
    for i in range(20):
        shared.put(i, timeout=30)

    first, second = ray.get(taken, timeout=30)
    assert sorted(first + second) == list(range(20))
    assert first == sorted(first)


def test_a_copy_is_the_same_queue(ray, shared):
    @ray.remote(num_cpus=0)
    def put_into(queues):
        queues["one"].put(5)

    ray.get(put_into.remote({"one": shared}))

    assert shared.get(timeout=0) == 5


def test_full_and_empty_say_so_like_the_standard_library(shared):
    with pytest.raises(queue.Empty, match=r"no item within 0\.01 s"):
        shared.get(timeout=0.01)
    with pytest.raises(Empty, match="the queue has 0"):
        shared.get(block=False)
    shared.put_nowait_batch([1, 2])
    with pytest.raises(queue.Full, match=r"no room within 0\.01 s"):
        shared.put(3, timeout=0.01)
    with pytest.raises(Full, match="2 of at most 2"):
        shared.put_nowait(3)
    with pytest.raises(Full) as caught:
        shared.put(3, block=False)
    assert type(caught.value) is Full
    assert shared.get_nowait_batch(2) == [1, 2]


def test_batches_are_taken_whole_or_not(shared):
    shared.put_nowait_batch(x for x in (1,))
    with pytest.raises(Full, match="no room for 2 items"):
        shared.put_nowait_batch([2, 3])
    with pytest.raises(Empty, match="not 2 items"):
        shared.get_nowait_batch(2)
    assert shared.get_nowait_batch(0) == []
    assert shared.get_nowait_batch(1) == [1]


def test_bad_input(shared):
    with pytest.raises(TypeError, match="maxsize must be an int"):
        Queue("2")  # type: ignore[arg-type]  # the misuse under test
    with pytest.raises(ValueError, match="'timeout'"):
        shared.put(1, timeout=-0.1)
    with pytest.raises(ValueError, match="'timeout'"):
        shared.get(timeout=-1)
    with pytest.raises(TypeError, match="iterable"):
        shared.put_nowait_batch(3)
    with pytest.raises(TypeError, match="num_items must be an int"):
        shared.get_nowait_batch("1")
    with pytest.raises(ValueError, match="at least 0"):
        shared.get_nowait_batch(-1)
    with pytest.raises(ValueError, match="num_cpu"):
        Queue(actor_options={"num_cpu": 1})


async def both_ways(shared):
    await shared.put_async(1)
    await shared.put_async(2, timeout=10)
    with pytest.raises(Full):
        await shared.put_async(3, timeout=0.01)
    with pytest.raises(Full):
        await shared.put_async(3, block=False)
    assert await shared.get_async() == 1
    assert await shared.get_async(block=False) == 2
    with pytest.raises(Empty):
        await shared.get_async(timeout=0.01)
    with pytest.raises(ValueError, match="'timeout'"):
        await shared.get_async(timeout=-1)


def test_asyncio(shared):
    asyncio.run(both_ways(shared))


async def test_trio(shared):
    await both_ways(shared)


async def test_a_cancelled_get_does_not_take_an_item(ray, shared):
    with trio.move_on_after(0.02) as scope:
        await shared.get_async()
    assert scope.cancelled_caught

    # The cancellation went before the item, over another link: wait until the actor has seen it.
    def no_getter_waits(actor):
        return not any(not getter.done() for getter in actor.queue._getters)

    eventually(lambda: ray.get(shared.actor.__ray_call__.remote(no_getter_waits)))
    shared.put("kept")
    assert shared.get(timeout=0) == "kept"


def test_consumers_that_wait_do_not_keep_producers_out(ray):
    many = Queue()
    waiting = [many.actor.get.remote() for _ in range(1500)]

    for i in range(1500):
        many.actor.put.remote(i)

    assert sorted(ray.get(waiting, timeout=60)) == list(range(1500))
    many.shutdown()


def test_options_reach_the_actor(ray):
    named = Queue(actor_options={"name": "a queue"})

    assert ray.get(ray.get_actor("a queue").qsize.remote()) == 0
    named.shutdown(force=True)


def test_shutdown_ends_what_waits_and_is_said_afterwards(ray):
    closing = Queue()
    copy = pickle.loads(pickle.dumps(closing))
    waiting = closing.actor.get.remote()

    closing.shutdown(grace_period_s=10)
    closing.shutdown()

    with pytest.raises(ActorDiedError):
        ray.get(waiting, timeout=10)
    with pytest.raises(ActorDiedError, match=r"shut down by shutdown\(\)"):
        closing.get()
    with pytest.raises(ActorDiedError, match="The queue and its items are gone, make a new one"):
        copy.put(1)
    assert repr(closing) == "<Queue: maxsize 0, shut down>"


def test_a_dead_actor_is_a_clear_error(ray):
    lost = Queue()
    lost.put(1)
    ray.kill(lost.actor)

    with pytest.raises(ActorDiedError, match="The queue and its items are gone, make a new one"):
        lost.get()
    with pytest.raises(ActorDiedError, match="items are gone"):
        asyncio.run(lost.put_async(2))
