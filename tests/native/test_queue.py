"""`util.queue.Queue` in a Trio program that runs the core worker itself: it is awaited, and never blocks the loop."""

import pytest
import trio

import trayray
from trayray.util.queue import Empty, Full, Queue


async def test_a_bounded_queue_is_awaited(fresh_ray):
    async with trayray.open_cluster(num_cpus=1, log_to_driver=False):
        queue = Queue(maxsize=2)
        await queue.put_async(1)
        await queue.put_async(2)
        with pytest.raises(Full):
            await queue.put_async(3, timeout=0.05)
        with pytest.raises(Full):
            await queue.put_async(3, block=False)
        with trio.move_on_after(0.05) as scope:
            await queue.put_async(3)
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.put_async, 4)
            assert await queue.get_async() == 1
        assert [await queue.get_async() for _ in range(2)] == [2, 4]
        with pytest.raises(Empty):
            await queue.get_async(timeout=0.05)
        with trio.move_on_after(0.05) as scope:
            await queue.get_async()
        assert scope.cancelled_caught
        await queue.put_async(5)
        assert await queue.get_async() == 5
        with pytest.raises(RuntimeError, match=r"trio\.to_thread\.run_sync"):
            queue.get()
        assert await trio.to_thread.run_sync(queue.size) == 0
        await queue.shutdown_async()
        assert queue.actor is None
