"""Supervisors that end at awkward moments: before they have begun, interrupted, with a child or the node that fails.

Not here: what they do when all goes well (``test_supervision``).
"""

import os
import pathlib
import signal
import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing

import trayray
from tests.conftest import init_arguments
from tests.processes.supervised import Child, note, until, words
from tests.processes.waiting import eventually
from trayray import ChildSpec, SupervisorSpec, open_supervisor
from trayray.api.session import session
from trayray.exceptions import ActorDiedError, LocalRayletDiedError, SupervisionError, SupervisorGaveUpError

pytestmark = pytest.mark.usefixtures("ray")


@pytest.fixture
def log(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "log")


def child(log: str, name: str, **how: Any) -> ChildSpec:
    return ChildSpec(name, Child, (log, name), **how)


@trayray.remote(num_cpus=0)
class NeverStarts:
    """Its constructor does not return."""

    def __init__(self, log: str) -> None:
        note(log, "begins")
        time.sleep(1000)


async def idle() -> None:
    await trio.sleep_forever()


# --- before it has begun ---


def test_a_block_that_is_cancelled_at_once_leaves_no_child() -> None:
    living: list[int] = []

    async def local() -> None:
        living.append(1)
        try:
            await trio.sleep_forever()
        finally:
            living.pop()

    async def main() -> None:
        with trio.fail_after(20):
            for _ in range(20):  # which of the block's tasks begins is chance
                with trio.CancelScope() as scope:
                    scope.cancel()
                    async with open_supervisor([ChildSpec("a", local)]):
                        raise AssertionError("it is cancelled")
                assert not living

    trio.run(main)


def test_an_interrupted_start_leaves_no_child(log: str, ray: ModuleType) -> None:
    def interrupt() -> None:
        eventually(lambda: words(log) == ["start-a", "begins"])
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    hangs = ChildSpec("b", NeverStarts, (log,), shutdown="brutal_kill")
    with pytest.raises(KeyboardInterrupt), ray.supervise([child(log, "a"), hangs]):
        raise AssertionError("it has not started")
    thread.join()
    assert words(log) == ["start-a", "begins", "end-a"]


# --- children of the supervisor's loop ---


def test_a_child_that_calls_sys_exit_has_ended(log: str) -> None:
    async def leaves() -> None:
        async with trio.open_nursery():
            sys.exit(3)

    async def main() -> None:
        async with open_supervisor([child(log, "a")]) as supervisor:
            events = supervisor.events()
            await supervisor.start_child(ChildSpec("b", leaves, restart="temporary"))
            assert "it raised" in (await until(events, "exited", "b")).reason
            assert words(log) == ["start-a"], "the others go on"

    trio.run(main)
    assert words(log) == ["start-a", "end-a"]


def test_an_interrupt_in_a_child_is_raised_when_the_children_are_gone(log: str) -> None:
    go = trio.Event()

    async def interrupted() -> None:
        await go.wait()
        raise KeyboardInterrupt

    async def main() -> None:
        async with open_supervisor([child(log, "a"), ChildSpec("b", interrupted), ChildSpec("c", idle)]):
            go.set()
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert words(log) == ["start-a", "end-a"]


def test_a_supervisor_that_fails_itself_kills_its_children(log: str) -> None:
    go = trio.Event()

    async def breaks() -> None:
        await go.wait()
        raise GeneratorExit  # no end of a child: it goes through

    async def main() -> None:
        handle: Any = None
        with pytest.raises(BaseExceptionGroup):
            async with open_supervisor([child(log, "a"), ChildSpec("b", breaks)]) as supervisor:
                handle = supervisor["a"]
                go.set()
                await trio.sleep_forever()
        with pytest.raises(ActorDiedError):
            await handle.count.remote()

    trio.run(main)


def test_an_error_that_cannot_be_sent_is_told_all_the_same(log: str) -> None:
    failures = ["no text: \udcff", "much " * 10_000]

    go = trio.Event()

    async def fails() -> None:
        await go.wait()
        if failures:
            raise ValueError(failures.pop(0))
        await trio.sleep_forever()

    async def main() -> None:
        spec = SupervisorSpec([child(log, "a"), ChildSpec("b", fails)], strategy="one_for_all", intensity=2)
        async with open_supervisor(spec) as supervisor:
            events = supervisor.events()
            go.set()
            await until(events, "started", "b")
            await until(events, "started", "b")
            assert await supervisor["a"].count.remote() == 1
            assert len(supervisor.which_children()[1].reason) <= 2000

    trio.run(main)


def test_what_a_child_raises_while_it_is_stopped_is_told() -> None:
    async def untidy() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("not cleaned up")

    async def main() -> list[str]:
        async with open_supervisor([ChildSpec("a", untidy)]) as supervisor:
            events = supervisor.events()
        return [event.reason async for event in events if event.kind == "stopped"]

    [reason] = trio.run(main)
    assert reason.startswith("its supervisor ends")
    assert reason.endswith("and then raised ValueError: not cleaned up")


# --- children made at run time ---


def test_a_restarted_supervisor_of_children_that_are_alike_has_forgotten_them() -> None:
    told: list[str] = []
    go = trio.Event()

    async def worker(word: str) -> None:
        told.append(word)
        await trio.sleep_forever()

    async def crashes() -> None:
        if not go.is_set():
            await go.wait()
            raise RuntimeError("together")
        await trio.sleep_forever()

    async def main() -> None:
        pool = SupervisorSpec([ChildSpec("w", worker)], "pool", strategy="simple_one_for_one")
        async with open_supervisor([ChildSpec("c", crashes), pool], strategy="one_for_all") as supervisor:
            await supervisor["pool"].start_child("first")
            events = supervisor.events()
            go.set()
            await until(events, "started", "pool")
            await supervisor["pool"].start_child("second")
            await trio.testing.wait_all_tasks_blocked()
        assert told == ["first", "second"]

    trio.run(main)


def test_terminate_child_takes_any_handle_of_a_child(log: str, ray: ModuleType) -> None:
    async def main() -> None:
        spec = ChildSpec("a", Child.options(name="known", namespace="ends"), (log, "a"))
        pool = SupervisorSpec([ChildSpec("i", idle)], "pool")
        async with open_supervisor([spec, pool]) as supervisor:
            other = await trio.to_thread.run_sync(lambda: trayray.get_actor("known", namespace="ends"))
            await supervisor.terminate_child(other)
            await supervisor.terminate_child(supervisor["pool"])
            assert [info.state for info in supervisor.which_children()] == ["stopped", "stopped"]
            with pytest.raises(SupervisionError, match="has no child") as caught:
                await supervisor.terminate_child(object())
            assert caught.value.refusal == "not found"

    trio.run(main)
    with ray.supervise([SupervisorSpec([child(log, "b")], "pool")]) as supervisor:
        supervisor.terminate_child(supervisor["pool"])
        assert supervisor.which_children()[0].state == "stopped"


# --- actors ---


def test_a_job_whose_actors_are_detached_supervises_as_any_other(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.core(), "detaches_actors", True)

    async def main() -> None:
        async with open_supervisor([child(log, "a")]) as supervisor:
            assert supervisor["a"]._ray_ref is not None, "a detached actor's handle holds nothing"

    trio.run(main)


def test_an_actor_may_be_unwatched_twice(log: str, ray: ModuleType) -> None:
    actor = Child.remote(log, "a")
    assert ray.get(actor.count.remote()) == 1
    core = session.core()
    client = core.actors.client(actor._ray_info.actor_id, ordered=True)
    core.call_soon(client.unwatch, print)
    core.call_soon(client.unwatch, print)
    assert ray.get(actor.count.remote()) == 2


# --- programs that block, and the node ---


def test_an_error_of_a_block_says_that_its_supervisor_has_given_up(log: str, ray: ModuleType) -> None:
    with (
        pytest.raises(LookupError) as caught,
        ray.supervise(SupervisorSpec([child(log, "a")], intensity=0)) as supervisor,
    ):
        os.kill(ray.get(supervisor["a"].pid.remote()), signal.SIGKILL)
        with pytest.raises(SupervisorGaveUpError):
            supervisor.wait()
        raise LookupError("of the block")
    assert any("SupervisorGaveUpError" in line for line in caught.value.__notes__)


def test_the_nodes_death_ends_the_block_with_an_error(fresh_ray: ModuleType, log: str) -> None:
    fresh_ray.init(**init_arguments())

    async def main() -> None:
        with trio.fail_after(20):
            async with open_supervisor([child(log, "a"), ChildSpec("b", idle)]):
                os.kill(session.connection.node.process.pid, signal.SIGKILL)
                await trio.sleep_forever()

    with pytest.raises(LocalRayletDiedError):
        trio.run(main)
