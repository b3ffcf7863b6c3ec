"""Cancelled calls of actors, and cancelled generators, in real processes."""

import os
import pathlib
import time
from collections.abc import Iterator

import pytest

from tests.processes.cancelled import GRACE, SLACK, Worker, all_is_free, cancelled_call, says, step_of


@pytest.fixture(scope="module", autouse=True)
def short_grace() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TRAYRAY_CANCEL_GRACE_SECONDS", str(GRACE))
        yield


@pytest.fixture
def note(tmp_path: pathlib.Path) -> pathlib.Path:
    """The file in which remote code says where it is."""
    return tmp_path / "note"


# ---------------------------------------------------------------- actors


class AsyncWorker:
    def __init__(self, note):
        self.note = note

    async def pid(self):
        return os.getpid()

    async def swallow(self):
        import asyncio

        self.note.write_text("running")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.note.write_text("swallowed")

    async def block(self):
        self.note.write_text("running")
        time.sleep(60)  # noqa: ASYNC251 -- that is the case

    async def told(self):
        import trayray

        return trayray.get_runtime_context().is_canceled()


def test_a_plain_call_is_interrupted_after_one_grace_and_its_side_effect_does_not_happen(ray, note):
    actor = ray.remote(Worker).remote(note)
    pid = ray.get(actor.pid.remote(), timeout=20)
    ref, started = cancelled_call(ray, note, actor.sleep)
    assert step_of(ray, ref) == "interrupt"
    assert GRACE <= time.monotonic() - started <= GRACE + SLACK
    assert ray.get(actor.all_seen.remote(), timeout=20) == []
    assert ray.get(actor.pid.remote(), timeout=20) == pid, "the actor serves on"


def test_a_plain_call_that_looks_ends_by_itself(ray, note):
    actor = ray.remote(Worker).remote(note)
    ref, _ = cancelled_call(ray, note, actor.look)
    assert step_of(ray, ref) == "checkpoint"
    assert ray.get(actor.all_seen.remote(), timeout=20) == ["told"]


def test_a_call_that_nothing_reaches_takes_its_process_with_it_which_counts_as_a_crash(ray, note):
    actor = ray.remote(max_restarts=1)(Worker).remote(note)
    pid = ray.get(actor.pid.remote(), timeout=20)
    ref, started = cancelled_call(ray, note, actor.hold_the_interpreter)
    behind = actor.all_seen.remote()
    assert step_of(ray, ref) == "kill"
    assert 2 * GRACE <= time.monotonic() - started <= 2 * GRACE + SLACK
    with pytest.raises(
        ray.exceptions.ActorUnavailableError, match=r"hold_the_interpreter\(\), which it ran, was cance"
    ):
        ray.get(behind, timeout=20)
    assert ray.get(actor.pid.options(max_task_retries=-1).remote(), timeout=20) != pid
    note.unlink()
    ref, _ = cancelled_call(ray, note, actor.hold_the_interpreter)
    assert step_of(ray, ref) == "kill"
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.pid.remote(), timeout=20)


def test_calls_that_wait_in_an_actor_never_run(ray, note, tmp_path):
    actor = ray.remote(max_concurrency=2)(Worker).remote(note)
    held = []
    for _ in range(2):
        held.append(actor.spin.remote())
        says(note, "running")
        note.unlink()
    waiting = actor.all_seen.remote()
    ray.cancel(waiting)
    assert step_of(ray, waiting) == "pending"
    for ref in held:
        ray.cancel(ref)
    assert [step_of(ray, ref) for ref in held] == ["interrupt"] * 2


def test_a_call_in_a_thread_is_interrupted_between_two_instructions(ray, note):
    actor = ray.remote(max_concurrency=2)(Worker).remote(note)
    pid = ray.get(actor.pid.remote(), timeout=20)
    ref, _ = cancelled_call(ray, note, actor.spin)
    assert step_of(ray, ref) == "interrupt"
    assert ray.get(actor.pid.remote(), timeout=20) == pid


def test_a_call_in_a_thread_that_waits_in_c_is_killed_with_its_actor(ray, note):
    actor = ray.remote(max_concurrency=2)(Worker).remote(note)
    ref, _ = cancelled_call(ray, note, actor.sleep)
    assert step_of(ray, ref) == "kill"
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.pid.remote(), timeout=20)


@pytest.mark.parametrize("method", ["swallow", "block"])
def test_an_async_call_that_goes_on_is_killed_with_its_actor(ray, note, method):
    actor = ray.remote(max_restarts=1)(AsyncWorker).remote(note)
    pid = ray.get(actor.pid.remote(), timeout=20)
    ref, _ = cancelled_call(ray, note, getattr(actor, method))
    assert step_of(ray, ref) == "kill"
    assert ray.get(actor.pid.options(max_task_retries=-1).remote(), timeout=20) != pid


def test_is_canceled_is_for_synchronous_workers(ray, note):
    with pytest.raises(RuntimeError, match="driver"):
        ray.get_runtime_context().is_canceled()
    with pytest.raises(RuntimeError, match="asynchronous actor"):
        ray.get(ray.remote(AsyncWorker).remote(note).told.remote(), timeout=20)

    @ray.remote
    def told():
        return ray.get_runtime_context().is_canceled()

    assert ray.get(told.remote(), timeout=20) is False


# ---------------------------------------------------------------- generators


def end_of(ray, generator):
    """How the stream ended: the step, and whether anything came after it."""
    step = None
    for ref in generator:
        assert step is None, "an item after the end"
        try:
            ray.get(ref, timeout=20)
        except ray.exceptions.TaskCancelledError as error:
            step = error.step
    return step


@pytest.mark.parametrize("ahead", [-1, 1])
def test_a_generator_ends_with_its_cancellation(ray, note, ahead):
    @ray.remote(_generator_backpressure_num_objects=ahead)
    def endless():
        number = 0
        try:
            while True:
                yield number
                number += 1
                time.sleep(0.001)
        finally:
            note.write_text("cleaned up")

    generator = endless.remote()
    assert ray.get(next(generator), timeout=20) == 0
    ray.cancel(generator)
    assert end_of(ray, generator) == "interrupt"
    says(note, "cleaned up")
    all_is_free(ray)


def test_an_actors_generator_ends_at_its_next_yield(ray, note):
    actor = ray.remote(Worker).remote(note)
    generator = actor.count.options(num_returns="streaming").remote()
    assert ray.get(next(generator), timeout=20) == 0
    ray.cancel(generator)
    assert end_of(ray, generator) == "checkpoint"
    assert ray.get(actor.all_seen.remote(), timeout=20) == []
