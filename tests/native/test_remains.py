"""Nothing is left of what a block had running, also where processes die or are at their end already."""

import asyncio
import os
import time

import pytest
import trio

import trayray
from tests.processes.waiting import eventually
from trayray.exceptions import WorkerCrashedError
from trayray.worker.execution import Executor


async def until(condition):
    while not condition():
        await trio.sleep(0.005)


# ---------------------------------------------------------------- at the end


async def test_a_call_that_has_ended_does_not_wait_for_the_cpus_that_it_has_lent(ray, tmp_path):
    child_may_end, other_runs, other_may_end = (tmp_path / name for name in ("child", "other", "end"))

    @trayray.remote(num_cpus=0)
    def child():
        eventually(child_may_end.exists)

    @trayray.remote(num_cpus=4)
    def parent():
        child.remote()
        return os.getpid()

    @trayray.remote(num_cpus=4)
    def other():
        other_runs.touch()
        eventually(other_may_end.exists)

    async with trayray.open_nursery() as outer:
        try:
            with trio.fail_after(8):
                async with trayray.open_nursery() as nursery:
                    nursery.start_soon(parent)
                    await until(lambda: trayray.available_resources().get("CPU", 0) == 0)
                    outer.start_soon(other)
                    await until(other_runs.exists)
                    child_may_end.touch()
            assert not other_may_end.exists()
        finally:
            other_may_end.touch()
    assert await trayray.call(parent) != os.getpid()  # the CPUs are all there again


async def test_an_async_task_hears_of_its_cancellation_once(ray, tmp_path):
    began, ended = tmp_path / "began", tmp_path / "ended"

    @trayray.task(num_cpus=0)
    async def cleans_up():
        try:
            began.touch()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.3)  # the caller asks again every 0.1 s
            ended.touch()

    async with trayray.open_nursery() as nursery:
        nursery.start_soon(cleans_up)
        await until(began.exists)
        nursery.cancel_scope.cancel()
    assert ended.exists()


def test_a_loop_that_has_just_ended_takes_nothing_more():
    async def token():
        return trio.lowlevel.current_trio_token()

    executor = Executor.__new__(Executor)
    executor._async = None, trio.run(token)
    assert executor.hand_over(lambda loop: pytest.fail("the loop has ended"))


# ---------------------------------------------------------------- of processes that have died


@trayray.remote(num_cpus=0)
class Shared:
    def hold(self, path):
        path.touch()
        try:
            for _ in range(600):
                time.sleep(0.1)  # an exception for a thread waits until this has returned
        finally:
            path.unlink()

    def pid(self):
        return os.getpid()


@trayray.remote(num_cpus=0)
class AsyncShared:
    async def hold(self, path):
        path.touch()
        try:
            await trio.sleep_forever()
        finally:
            path.unlink()

    async def pid(self):
        return os.getpid()


@pytest.mark.parametrize(
    "kind", [Shared, AsyncShared, Shared.options(max_concurrency=2)], ids=["plain", "async", "pool"]
)
async def test_what_a_dead_process_had_running_in_an_actor_ends(ray, tmp_path, kind):
    path, queued = tmp_path / "held", tmp_path / "queued"

    @trayray.task(num_cpus=0, max_retries=0)
    async def crash(actor):
        async with trayray.open_nursery() as nursery:
            nursery.start_soon(actor.hold, path)
            await until(path.exists)
            nursery.start_soon(actor.hold, queued)
            await trio.sleep(0.1)  # it has been sent
            os._exit(1)

    async with trayray.open_actor(kind) as actor:
        pid = await trayray.call(actor.pid)
        with pytest.raises(WorkerCrashedError):
            await trayray.call(crash, actor)
        with trio.fail_after(8):
            await until(lambda: not path.exists() and not queued.exists())
        assert await trayray.call(actor.pid) == pid
        assert not queued.exists()
