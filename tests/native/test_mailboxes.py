"""Bounded mailboxes: what calls do that an actor with ``max_pending_calls`` has no room for."""

import threading

import pytest
import trio

import trayray
from tests.processes.waiting import eventually
from trayray.exceptions import PendingCallsLimitExceeded
from trayray.worker.current import core_worker


class Gate:
    """Calls wait until it is opened, from outside the mailbox: by a file."""

    async def wait(self, path: str) -> str:
        while not await trio.Path(path).exists():
            await trio.sleep(0.005)
        return "done"

    async def now(self) -> str:
        return "now"

    async def talk(self, stream: trayray.Stream[int, int]) -> int:
        return await stream.receive()


@pytest.fixture
def gate(ray, tmp_path):
    """An actor with room for two calls, both taken; the file that opens it; the calls."""
    actor = ray.remote(Gate).options(max_pending_calls=2, pending_calls_policy="wait", num_cpus=0).remote()
    path = tmp_path / "gate"
    calls = [actor.wait.remote(str(path)) for _ in range(2)]
    yield actor, path, calls
    path.touch()
    assert ray.get(calls, timeout=30) == ["done", "done"]


def waiting(actor) -> int:
    """How many wait for room at the actor."""
    core = core_worker()
    return len(core.actors.client(actor._ray_info.actor_id, ordered=False).mailbox.waiting)


def test_a_thread_waits_for_room(ray, gate):
    actor, path, _ = gate
    made = []
    thread = threading.Thread(target=lambda: made.append(actor.now.remote()))
    thread.start()
    eventually(lambda: waiting(actor) == 1)
    assert not made
    path.touch()
    thread.join(30)
    assert ray.get(made[0], timeout=30) == "now"
    eventually(lambda: waiting(actor) == 0)


def test_waiting_threads_go_on_when_the_actor_dies(ray, gate):
    actor, _, calls = gate
    made = []
    thread = threading.Thread(target=lambda: made.append(actor.now.remote()))
    thread.start()
    eventually(lambda: waiting(actor) == 1)
    ray.kill(actor)
    thread.join(30)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(made[0], timeout=30)
    for call in calls:
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(call, timeout=30)
    calls.clear()
    calls += [ray.put("done"), ray.put("done")]


async def test_an_event_loop_is_not_blocked(ray, gate):
    actor, _, _ = gate
    with pytest.raises(PendingCallsLimitExceeded, match=r"await trayray\.call\(actor\.method"):
        actor.now.remote()


async def test_native_calls_wait_for_room(ray, gate):
    actor, path, _ = gate
    found = []

    async def call() -> None:
        found.append(await trayray.call(actor.now))

    async def talk() -> None:
        async with trayray.open_stream(actor.talk) as stream:
            await stream.send(3)
            await stream.send_eof()
        found.append(stream.result)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        nursery.start_soon(talk)
        await trio.to_thread.run_sync(eventually, lambda: waiting(actor) == 2)
        assert not found
        path.touch()
    assert sorted(map(str, found)) == ["3", "now"]
    assert waiting(actor) == 0


async def test_waiting_for_room_can_be_cancelled(ray, gate):
    actor, _, calls = gate
    with trio.move_on_after(0.1) as scope:
        await trayray.call(actor.now)
    assert scope.cancelled_caught
    assert waiting(actor) == 0
    assert trayray.wait(calls, timeout=0)[0] == []


def test_error_is_the_default(ray, tmp_path):
    actor = ray.remote(Gate).options(max_pending_calls=1, num_cpus=0).remote()
    path = tmp_path / "gate"
    call = actor.wait.remote(str(path))
    with pytest.raises(PendingCallsLimitExceeded, match=r"max_pending_calls=1\. Get some results first"):
        actor.now.remote()
    path.touch()
    assert ray.get(call, timeout=30) == "done"


def test_a_task_that_waits_for_room_lends_its_cpus(ray, gate):
    actor, path, _ = gate

    @ray.remote(num_cpus=4)
    def call(actor):
        return ray.get([actor.now.remote() for _ in range(5)])

    @ray.remote(num_cpus=4)
    def open_gate(path):
        path.touch()

    results = call.remote(actor)
    ray.get(open_gate.remote(path), timeout=30)
    assert ray.get(results, timeout=30) == ["now"] * 5
