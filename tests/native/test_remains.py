"""Nothing is left of what a block had running, also where processes die or are at their end already."""

import asyncio
import math
import os
import threading
import time

import pytest
import trio

import trayray
from tests.conftest import init_arguments
from tests.processes.waiting import eventually
from trayray.exceptions import WorkerCrashedError
from trayray.worker.child_scopes import ChildScope
from trayray.worker.current import core_worker
from trayray.worker.execution import Executor


async def until(condition):
    while not condition():
        await trio.sleep(0.005)


# ---------------------------------------------------------------- at the end


async def test_a_call_that_has_ended_does_not_wait_for_the_cpus_that_it_has_lent(ray, tmp_path):
    parent_runs, child_may_end, other_runs, other_may_end = (tmp_path / name for name in "abcd")

    @trayray.remote(num_cpus=0)
    def child():
        eventually(child_may_end.exists)

    @trayray.remote(num_cpus=4)
    def parent():
        child.remote()
        parent_runs.touch()
        return os.getpid()

    @trayray.remote(num_cpus=3)
    def other():
        other_runs.touch()
        eventually(other_may_end.exists)

    async with trayray.open_nursery() as outer:
        try:
            with trio.fail_after(8):
                async with trayray.open_nursery() as nursery:
                    nursery.start_soon(parent)
                    await until(parent_runs.exists)
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


@trayray.remote(num_cpus=0)
class Slow:
    """Takes its time to clean up, and says so."""

    def __init__(self, log, seconds=1.5):
        self.log = log
        self.seconds = seconds

    def ready(self):
        pass

    def __trayray_shutdown__(self):
        with self.log.open("a") as file:
            file.write("begun ")
        time.sleep(self.seconds)
        with self.log.open("a") as file:
            file.write("done ")


def begin_slow(log):
    """Create a `Slow` that is there; None if the log shows that there was one."""
    if log.exists():
        return None
    log.touch()
    actor = Slow.remote(log)
    trayray.get(actor.ready.remote())
    return actor


async def test_each_attempt_at_a_task_is_gone(ray, tmp_path):
    log = tmp_path / "log"

    @trayray.remote(num_cpus=0, max_retries=1)
    def crash():
        actor = begin_slow(log)
        os._exit(1 if actor is None else 2)

    with pytest.raises(WorkerCrashedError):
        await trayray.call(crash)
    assert log.read_text() == "begun done "


@trayray.remote(num_cpus=0)
class Crashing:
    def __init__(self, log):
        self.actor = begin_slow(log)

    def crash_once(self):
        if self.actor is not None:
            os._exit(1)
        return "second"

    def crash(self):
        os._exit(1)


async def test_the_attempt_before_an_actor_call_that_succeeds_is_gone(ray, tmp_path):
    log = tmp_path / "log"
    async with trayray.open_actor(Crashing.options(max_restarts=1, max_task_retries=1), log) as actor:
        assert await trayray.call(actor.crash_once) == "second"
        assert log.read_text() == "begun done "


async def test_what_an_actor_had_before_its_restart_is_gone(ray, tmp_path):
    log = tmp_path / "log"
    async with trayray.open_actor(Crashing.options(max_restarts=1), log) as actor:
        actor.crash.remote()
        await until(lambda: log.read_text() == "begun ")
    assert log.read_text() == "begun done "


async def test_an_actor_that_ends_already_is_waited_for_when_its_creator_dies(ray, tmp_path):
    log = tmp_path / "log"

    @trayray.remote(num_cpus=0, max_retries=0)
    def create():
        def crash():
            eventually(lambda: log.read_text() == "begun ")
            os._exit(1)

        begin_slow(log)
        threading.Thread(target=crash).start()

    with pytest.raises(WorkerCrashedError):
        await trayray.call(create)
    assert log.read_text() == "begun done "


# ---------------------------------------------------------------- what is kept


async def test_what_a_method_has_started_outlives_its_callers_deadline(ray, tmp_path):
    path = tmp_path / "may_end"

    @trayray.task(num_cpus=0)
    async def background():
        await until(path.exists)
        return "fine"

    @trayray.remote(num_cpus=0)
    def left():
        return trayray.time_left()

    @trayray.remote(num_cpus=0)
    class Keeper:
        def begin(self):
            self.ref = background.remote()

        def end(self):
            return trayray.get(self.ref)

        def left_in_a_call(self):
            return trio.run(trayray.call, left)

    async with trayray.open_actor(Keeper) as keeper:
        with trio.CancelScope(deadline=trio.current_time() + 1) as scope:
            await trayray.call(keeper.begin)
        await trio.sleep_until(scope.deadline + 0.1)
        path.touch()
        assert await trayray.call(keeper.end) == "fine"
        with trio.fail_after(20):
            assert 0 < await trayray.call(keeper.left_in_a_call) <= 20


# ---------------------------------------------------------------- many actors


def test_all_actors_of_a_call_end_within_a_bound(fresh_ray, monkeypatch, tmp_path):
    monkeypatch.setenv("TRAYRAY_SHUTDOWN_SECONDS", "0.5")
    fresh_ray.init(**init_arguments())
    log = tmp_path / "log"

    @trayray.remote(num_cpus=0)
    def create():
        actors = [Slow.remote(log, 0.4) for _ in range(6)]
        trayray.get([actor.ready.remote() for actor in actors])
        return actors  # otherwise they would end together, for want of handles

    trio.run(trayray.call, create)
    assert 1 <= log.read_text().split().count("begun") <= 4


def test_hundreds_of_actors_end_at_once_where_the_node_is_gone(fresh_ray):
    fresh_ray.init(**init_arguments())
    core = core_worker()
    assert core is not None
    fresh_ray.shutdown()
    scope = ChildScope(core, math.inf, keeps=False)
    for _ in range(2000):
        scope.add_actor(os.urandom(16))
    done = []
    scope._end_actors(lambda: done.append(True))
    assert done == [True]
    assert not scope.is_open
