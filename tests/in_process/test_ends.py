"""How tasks, actors and their threads end in a process that goes on: cancelled, killed, in order, or not at all."""

import asyncio
import gc
import os
import sys
import threading
import time

import pytest
import trio

import trayray
from tests.processes.waiting import eventually

#: What actors of this module's classes have done: they live in this process.
done: list[str] = []
#: Set by code that is about to go on for long.
running = threading.Event()


@pytest.fixture(autouse=True)
def nothing_done():
    done.clear()
    running.clear()


def spin():
    running.set()
    try:
        while True:
            pass
    finally:
        done.append("cleaned up")


async def async_spin():
    running.set()
    try:
        await trio.sleep_forever()
    finally:
        done.append("cleaned up")


class Actor:
    def __init__(self, name=""):
        self.name = name

    def ready(self):
        return True

    def spin(self):
        spin()

    def leave(self):
        trayray.actor.exit_actor()

    def system_exit(self, code):
        sys.exit(code)

    def crash(self):
        os._exit(1)

    def life(self):
        return trayray.get_runtime_context().was_current_actor_reconstructed

    def __trayray_shutdown__(self):
        done.append(self.name)


class AsyncActor:
    async def ready(self):
        return True

    async def sleep_in_asyncio(self):
        running.set()
        try:
            await asyncio.sleep(1000)
        finally:
            done.append("asyncio")

    async def sleep_in_trio(self):
        running.set()
        try:
            await trio.sleep(1000)
        finally:
            done.append("trio")

    async def block(self):
        spin()

    async def crash(self):
        os._exit(1)

    async def life(self):
        return trayray.get_runtime_context().was_current_actor_reconstructed

    async def leave(self):
        trayray.actor.exit_actor()


def call_that_waits(ref):
    running.set()
    return trayray.get(ref[0])


# --- cancelling ---


def test_cancel_interrupts_python_code(ray):
    ref = ray.remote(spin).remote()
    running.wait()
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        ray.get(ref)
    assert caught.value.step == "interrupt"
    assert done == ["cleaned up"]
    assert ray.get(ray.remote(Actor).remote().ready.remote())


def test_cancel_reaches_a_task_that_waits_for_another(ray):
    actor = ray.remote(AsyncActor).remote()
    asleep = actor.sleep_in_trio.remote()
    ref = ray.remote(call_that_waits).remote([asleep])
    running.wait()
    ray.cancel(ref, recursive=False)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        ray.get(ref)
    assert caught.value.step == "interrupt"


@pytest.mark.parametrize("method", ["sleep_in_asyncio", "sleep_in_trio"])
def test_cancel_of_async_calls(ray, method):
    actor = ray.remote(AsyncActor).remote()
    ref = getattr(actor, method).remote()
    running.wait()
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        ray.get(ref)
    assert caught.value.step == "async"
    assert done == [method.rpartition("_")[2]]


def test_what_cannot_be_interrupted_is_abandoned_and_named(fresh_ray, monkeypatch):
    monkeypatch.setenv("TRAYRAY_CANCEL_GRACE_SECONDS", "0.05")
    released = threading.Lock()
    released.acquire()
    monkeypatch.setattr(sys.modules[__name__], "released", released, raising=False)
    fresh_ray.init(mode="in_process", num_cpus=1)
    ref = fresh_ray.remote(wait_in_c).options(name="deaf").remote()
    running.wait()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "ray::deaf"]
    fresh_ray.cancel(ref)
    with pytest.raises(fresh_ray.exceptions.TaskCancelledError) as caught:
        fresh_ray.get(ref)
    assert caught.value.step == "kill"
    # Its CPU is another task's, though the thread is still there.
    assert fresh_ray.get(fresh_ray.remote(lambda: 1).remote()) == 1
    with pytest.warns(RuntimeWarning, match="ray::deaf"):
        fresh_ray.shutdown()
    assert thread.daemon
    assert thread.is_alive()
    released.release()
    thread.join(10)
    assert not thread.is_alive()


def wait_in_c():
    running.set()
    sys.modules[__name__].released.acquire()


# --- killing ---


def test_a_killed_actor_is_dead_for_everybody_and_its_thread_ends(ray):
    actor = ray.remote(Actor).options(name="victim").remote()
    ref = actor.spin.remote()
    running.wait()
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ActorDiedError, match=r"killed by ray\.kill"):
        ray.get(ref)
    with pytest.raises(ValueError, match="victim"):
        ray.get_actor("victim")
    assert eventually(lambda: done) == ["cleaned up"]  # of the call; the hook is for ends in good order
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "ray::Actor.spin"])


def test_killed_actors_restart(ray):
    actor = ray.remote(Actor).options(max_restarts=1, max_task_retries=-1).remote()
    assert ray.get(actor.life.remote()) is False
    ray.kill(actor, no_restart=False)
    assert ray.get(actor.life.remote()) is True
    ray.kill(actor, no_restart=False)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.life.remote())


@pytest.mark.parametrize("method", ["sleep_in_asyncio", "sleep_in_trio", "block"])
def test_kill_of_an_async_actor(ray, method):
    actor = ray.remote(AsyncActor).remote()
    ref = getattr(actor, method).remote()
    running.wait()
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(ref)
    eventually(lambda: not [thread for thread in threading.enumerate() if "AsyncActor" in thread.name])
    assert len(done) == 1


def test_kill_of_a_threaded_actor(ray):
    actor = ray.remote(Actor).options(max_concurrency=2).remote()
    refs = [actor.spin.remote(), actor.spin.remote()]
    running.wait()
    ray.kill(actor)
    for ref in refs:
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(ref)
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("ray")])


def test_a_killed_workers_call_cannot_reach_the_cluster_any_more(ray):
    actor = ray.remote(Survivor).remote()
    ref = actor.go_on.remote()
    running.wait()
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(ref)
    assert "has left the cluster" in eventually(lambda: done)[0]


class Survivor:
    def go_on(self):
        try:
            running.set()
            while True:
                time.sleep(0.001)
        except KeyboardInterrupt:
            try:
                trayray.put(bytes(10**6))
            except trayray.exceptions.RayError as error:
                done.append(str(error))


# --- crashes ---


def test_os_exit_is_a_crash_of_the_worker_alone(ray, tmp_path):
    @ray.remote(max_retries=1)
    def crash_once():
        if not (tmp_path / "crashed").exists():
            (tmp_path / "crashed").touch()
            os._exit(3)
        return "survived"

    assert ray.get(crash_once.remote()) == "survived"
    (tmp_path / "crashed").unlink()
    with pytest.raises(ray.exceptions.WorkerCrashedError, match=r"os\._exit\(3\) was called in it"):
        ray.get(crash_once.options(max_retries=0).remote())


@pytest.mark.parametrize("kind", [Actor, AsyncActor])
def test_os_exit_in_an_actor(ray, kind):
    actor = ray.remote(kind).options(max_restarts=1).remote()
    with pytest.raises(ray.exceptions.ActorUnavailableError):
        ray.get(actor.crash.remote())
    assert eventually(lambda: _life_if_there(ray, actor))
    assert done == []  # no hook


# --- ends in good order ---


@pytest.mark.parametrize("kind", [Actor, AsyncActor])
def test_exit_actor(ray, kind):
    actor = ray.remote(kind).remote()
    with pytest.raises(ray.exceptions.ActorDiedError, match="exit_actor"):
        ray.get(actor.leave.remote())


@pytest.mark.parametrize(("code", "lives"), [(0, [False]), (3, [False, True])])
def test_sys_exit_ends_the_actor_and_nothing_else(ray, code, lives):
    actor = ray.remote(Actor).options(max_restarts=1).remote()
    seen = [ray.get(actor.life.remote())]
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.system_exit.remote(code))
    if len(lives) > 1:
        seen.append(eventually(lambda: _life_if_there(ray, actor)))
    assert seen == lives


def _life_if_there(ray, actor):
    try:
        return ray.get(actor.life.remote())
    except ray.exceptions.ActorUnavailableError:
        return None


def test_hooks_run_at_shutdown_youngest_first(fresh_ray):
    fresh_ray.init(mode="in_process", num_cpus=2)
    actors = [fresh_ray.remote(Actor).remote(name) for name in ("first", "second", "third")]
    fresh_ray.get([actor.ready.remote() for actor in actors])
    fresh_ray.shutdown()
    assert done == ["third", "second", "first"]


def test_detached_actors_clean_up_with_the_cluster(fresh_ray):
    fresh_ray.init(mode="in_process", num_cpus=2)
    actor = fresh_ray.remote(Actor).options(name="detached", lifetime="detached").remote("detached")
    fresh_ray.get(actor.ready.remote())
    fresh_ray.shutdown()
    assert done == ["detached"]


@pytest.mark.parametrize("function", [spin, async_spin])
def test_calls_in_progress_are_interrupted_at_shutdown(fresh_ray, function):
    fresh_ray.init(mode="in_process", num_cpus=2)
    decorate = trayray.task if function is async_spin else fresh_ray.remote
    ref = decorate(function).remote()
    running.wait()
    fresh_ray.shutdown()
    del ref
    assert done == ["cleaned up"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ray::")]


def test_async_tasks_that_are_cancelled_before_they_begin_lose_no_coroutine(ray):
    """A lost one would be a warning, which is an error here."""
    for pause in (0, 0.0005, 0.001, 0.002, 0.004):
        ref = trayray.task(async_spin).remote()
        trayray.wait([ref], timeout=pause)
        ray.cancel(ref)
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(ref)
        del ref
        gc.collect()


def test_force_ends_an_async_task(ray):
    ref = trayray.task(async_spin).remote()
    running.wait()
    ray.cancel(ref, force=True)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref)
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "ray::async_spin"])


def test_shutdown_in_a_task_does_nothing(ray):
    assert ray.get(ray.remote(lambda: trayray.shutdown() or trayray.is_initialized()).remote()) is True
