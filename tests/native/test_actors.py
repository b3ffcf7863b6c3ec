"""`open_actor`: an actor that lives as long as a block."""

import os
import time

import pytest
import trio

import trayray
from tests.processes.cancelled import alive
from trayray.exceptions import ActorDiedError, RayTaskError


@pytest.fixture
def log(tmp_path):
    """The file in which actors say what becomes of them."""
    return tmp_path / "log"


@trayray.remote(num_cpus=0)
class Counter:
    def __init__(self, start, log=None):
        if start < 0:
            raise ValueError(f"{start} is negative")
        self.total = start
        self.log = log

    def add(self, x):
        self.total += x
        return self.total

    def pid(self):
        return os.getpid()

    def sleep(self):
        self.log.touch()
        try:
            time.sleep(60)
        finally:
            self.log.write_text("interrupted ")

    def exit(self):
        trayray.actor.exit_actor()

    def crash(self):
        os._exit(3)

    def __trayray_shutdown__(self):
        if self.log is not None:
            with self.log.open("a") as file:
                file.write("cleaned up")


async def until(condition):
    while not condition():
        await trio.sleep(0.005)


async def test_it_is_gone_when_the_block_is_left(ray, log):
    async with trayray.open_actor(Counter, 1, log=log) as counter:
        pid = await counter.pid.remote()
        assert await trayray.call(counter.add, 2) == 3
    assert not alive(pid)
    assert log.read_text() == "cleaned up"
    with pytest.raises(ActorDiedError, match="block was left"):
        await counter.add.remote(1)


async def test_calls_in_progress_are_interrupted(ray, log):
    async with trayray.open_actor(Counter, 1, log) as counter:
        counter.sleep.remote()
        await until(log.exists)
    assert log.read_text() == "interrupted cleaned up"


async def test_it_is_gone_when_the_block_is_cancelled_or_raises(ray, log):
    with trio.CancelScope() as scope:
        async with trayray.open_actor(Counter, 1, log) as counter:
            pid = await counter.pid.remote()
            scope.cancel()
            await trio.sleep_forever()
    assert not alive(pid)
    assert log.read_text() == "cleaned up"
    with pytest.raises(KeyError):
        async with trayray.open_actor(Counter, 1) as counter:
            pid = await counter.pid.remote()
            raise KeyError
    assert not alive(pid)


async def test_what_its_constructor_raises_is_raised(ray):
    with pytest.raises(ValueError, match="-1 is negative") as caught:
        async with trayray.open_actor(Counter, -1):
            raise AssertionError("not reached")
    assert "raised in Counter.__init__()" in caught.value.__notes__[0]
    assert isinstance(caught.value.__cause__, RayTaskError)


@pytest.mark.parametrize(("how", "why"), [("crash", "exit code 3"), ("exit", "exit_actor")])
async def test_an_actor_that_dies_ends_its_block(ray, how, why):
    with pytest.raises(ActorDiedError, match=why):
        async with trayray.open_actor(Counter, 1) as counter:
            getattr(counter, how).remote()
            await trio.sleep(60)


async def test_its_death_is_told_once(ray):
    with pytest.raises(ActorDiedError, match="exit code 3"):
        async with trayray.open_actor(Counter, 1) as counter:
            await trayray.call(counter.crash)


async def test_its_death_is_told_from_within_a_nursery(ray):
    with pytest.raises(ActorDiedError, match="exit code 3"):
        async with trayray.open_actor(Counter, 1) as counter:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                counter.crash.remote()


async def test_one_that_is_restarted_does_not_end_its_block(ray):
    async with trayray.open_actor(Counter.options(max_restarts=1), 1) as counter:
        first = await counter.pid.remote()
        with pytest.raises(trayray.exceptions.ActorUnavailableError):
            await counter.crash.remote()
        while True:
            try:
                assert await counter.pid.remote() != first
                break
            except trayray.exceptions.ActorUnavailableError:
                continue


async def test_named_actors_are_opened_too(ray):
    async with trayray.open_actor(Counter.options(name="counter"), 1):
        handle = await trio.to_thread.run_sync(trayray.get_actor, "counter")
        assert await handle.add.remote(1) == 2
    with pytest.raises(ValueError, match="counter"):
        await trio.to_thread.run_sync(trayray.get_actor, "counter")


async def test_what_it_has_started_is_gone_too(ray):
    @trayray.remote(num_cpus=0)
    class Parent:
        def __init__(self):
            self.children = [Counter.remote(i) for i in range(2)]

        def pids(self):
            return trayray.get([child.pid.remote() for child in self.children])

    async with trayray.open_actor(Parent) as parent:
        pids = await parent.pids.remote()
    assert not any(map(alive, pids))


async def test_what_cannot_be_opened_is_refused(ray):
    with pytest.raises(TypeError, match="decorate a class"):
        async with trayray.open_actor(dict):
            pass
    with pytest.raises(TypeError, match="missing a required argument"):
        async with trayray.open_actor(Counter):
            pass
    with pytest.raises(ValueError, match="somebody else's"):
        async with trayray.open_actor(Counter.options(name="x", get_if_exists=True), 1):
            pass
    with pytest.raises(ValueError, match="detached"):
        async with trayray.open_actor(Counter.options(lifetime="detached", name="x"), 1):
            pass
