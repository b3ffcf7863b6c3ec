"""Circles of waits in real processes end with DeadlockError, and no other wait does."""

import asyncio
import os
import threading
import time

import pytest

from tests.processes.waiting import eventually

#: Longer than a circle is ever left alone.
A_WHILE = 1.5
#: A circle is found within 0.7 s when the machine has nothing else to do.
SOON = 10.0


@pytest.fixture(scope="module")
def caller(ray):
    """A class whose methods call others and wait for them."""

    @ray.remote(num_cpus=0)
    class Caller:
        def get(self, *way):
            """Wait for `get` of the first handle with the rest; the last one just answers. Counts the calls."""
            return 1 + ray.get(way[0].get.remote(*way[1:])) if way else 1

        def get_all(self, refs):
            return ray.get(refs)

        def get_patiently(self, other, me):
            try:
                return ray.get(other.get.remote(me), timeout=A_WHILE)
            except ray.exceptions.GetTimeoutError:
                return "timeout"

        def wait(self, *way):
            return len(ray.wait([way[0].get.remote(*way[1:])])[0])

        def wait_for_one(self, refs):
            (ready,), _ = ray.wait(refs)
            return ray.get(ready)

        def caught(self, *way):
            try:
                return ray.get(way[0].get.remote(*way[1:]))
            except ray.exceptions.DeadlockError as error:
                return str(error)

        def ask(self, other, me):
            return "went on", ray.get(other.caught.remote(me))

        def pass_on(self, other, me):
            return ray.get(other.echo.remote(me.get.remote()))

        def echo(self, value):
            return value

        def by_task(self, me):
            @ray.remote
            def between(actor):
                return ray.get(actor.get.remote())

            return ray.get(between.remote(me))

        def create(self, child_class, me):
            child = child_class.remote(me)
            return ray.get(child.answer.remote())

        def start_thread(self, me):
            self.answers = []
            self.thread = threading.Thread(target=lambda: self.answers.append(ray.get(me.get.remote())))
            self.thread.start()
            time.sleep(A_WHILE)

        def join_thread(self):
            self.thread.join(SOON)
            return self.answers

    return Caller


@pytest.fixture(scope="module")
def slow(ray):
    @ray.remote
    def slow(fails=False):
        time.sleep(A_WHILE)
        if fails:
            raise ValueError("slow and in vain")
        return "slow"

    return slow


def deadlock(ray, ref):
    """The error of a call that waits for itself."""
    started = time.monotonic()
    with pytest.raises(ray.exceptions.DeadlockError) as caught:
        ray.get(ref, timeout=30)
    assert time.monotonic() - started < SOON
    assert isinstance(caught.value, ray.exceptions.RayTaskError)
    return caught.value


def name_of(actor):
    return actor._ray_info.actor_id.hex()


# ---------------------------------------------------------------- circles


def test_two_actors_that_wait_for_each_other(ray, caller):
    a, b = caller.remote(), caller.remote()

    error = deadlock(ray, a.get.remote(b, a))

    assert name_of(a) in str(error)
    assert name_of(b) in str(error)
    assert "Caller.get() has not begun: its actor runs one call at a time while Caller.get() waits." in str(error)
    assert error.cause.calls == ("Caller.get",)
    assert ray.get([a.get.remote(), b.get.remote()], timeout=10) == [1, 1]


def test_an_actor_that_waits_for_itself(ray, caller):
    a = caller.remote()

    deadlock(ray, a.get.remote(a))

    assert ray.get(a.get.remote(), timeout=10) == 1


def test_a_longer_circle(ray, caller):
    actors = [caller.remote() for _ in range(4)]

    error = deadlock(ray, actors[0].get.remote(*actors[1:], actors[0]))

    assert all(name_of(actor) in str(error) for actor in actors)


def test_a_task_within_the_circle(ray, caller):
    a = caller.remote()

    error = deadlock(ray, a.by_task.remote(a))

    assert {name.rpartition(".")[2] for name in error.cause.calls} == {"by_task", "between", "get"}


def test_a_constructor_within_the_circle(ray, caller):
    @ray.remote(num_cpus=0)
    class Child:
        def __init__(self, parent):
            self.got = ray.get(parent.get.remote())

        def answer(self):
            return self.got

    a = caller.remote()

    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        ray.get(a.create.remote(Child, a), timeout=SOON)
    assert "Child.__init__() waits for the result of Caller.get(), which waits for Child" in str(caught.value)


def test_a_wait_that_nothing_can_end(ray, caller):
    a = caller.remote()

    deadlock(ray, a.wait.remote(a))


def test_what_began_last_gives_up_and_the_others_go_on(ray, caller):
    a, b = caller.remote(), caller.remote()

    went_on, text = ray.get(a.ask.remote(b, a), timeout=SOON)

    assert went_on == "went on"
    assert text.startswith("Caller.caught() waits for the result of Caller.get(), which waits for Caller.caught()")


def test_all_threads_of_an_actor_wait_for_it(ray, caller):
    a = caller.options(max_concurrency=2).remote()

    error = deadlock(ray, a.get.remote(a, a))

    assert "its actor runs at most 2 calls of its group at a time while Caller.get(), Caller.get() wait" in str(error)


def test_an_async_actor_that_blocks_its_loop(ray):
    @ray.remote(num_cpus=0)
    class Async:
        async def block(self, me):
            return ray.get(me.answer.remote())

        async def answer(self):
            return 1

    a = Async.remote()

    error = deadlock(ray, a.block.remote(a))

    assert "the loop of its actor cannot run it while Async.block() waits" in str(error)
    assert ray.get(a.answer.remote(), timeout=10) == 1


def test_arguments_within_the_circle(ray, caller):
    """The actor waits for a call whose argument is a call of that actor."""
    a, b = caller.remote(), caller.remote()

    error = deadlock(ray, a.pass_on.remote(b, a))

    assert "Caller.echo() waits for its argument ObjectRef(" in str(error)


# ---------------------------------------------------------------- no circles


def test_a_get_with_a_timeout_ends_by_itself(ray, caller):
    a, b = caller.remote(), caller.remote()

    assert ray.get(a.get_patiently.remote(b, a), timeout=30) == "timeout"
    assert ray.get(b.get.remote(), timeout=10) == 1


def test_a_wait_for_any_of_several(ray, caller, slow):
    a, b = caller.remote(), caller.remote()
    first = slow.remote()

    waiting = a.wait_for_one.remote([b.get.remote(a), first])

    assert ray.get(waiting, timeout=30) == "slow"
    assert ray.get(b.get.remote(), timeout=10) == 1


def test_a_get_of_several_that_one_of_them_may_end(ray, caller, slow):
    a, b = caller.remote(), caller.remote()
    failing = slow.remote(True)

    waiting = a.get_all.remote([b.get.remote(a), failing])

    with pytest.raises(ValueError, match="slow and in vain"):
        ray.get(waiting, timeout=30)


def test_an_actor_with_a_free_thread(ray, caller):
    a = caller.options(max_concurrency=3).remote()

    assert ray.get(a.get.remote(a, a), timeout=30) == 3


def test_an_async_actor_that_awaits(ray):
    @ray.remote(num_cpus=0)
    class Async:
        async def get(self, other, me):
            return await other.get.remote(me)

        async def answer(self):
            await asyncio.sleep(A_WHILE)
            return 1

    @ray.remote(num_cpus=0)
    class Plain:
        def get(self, other):
            return ray.get(other.answer.remote())

    a, b = Async.remote(), Plain.remote()

    assert ray.get(a.get.remote(b, a), timeout=30) == 1


def test_tasks_that_lend_their_cpus(ray):
    @ray.remote(num_cpus=4)
    def depth(n):
        if n:
            return 1 + ray.get(depth.remote(n - 1))
        time.sleep(A_WHILE)
        return 0

    assert ray.get(depth.remote(3), timeout=60) == 3


def test_an_actor_that_restarts(ray, caller, tmp_path):
    been = tmp_path / "been"

    @ray.remote(num_cpus=0, max_restarts=1, max_task_retries=1)
    class Mortal:
        def __init__(self):
            if been.exists():
                time.sleep(A_WHILE)

        def get(self):
            if not been.exists():
                been.touch()
                os._exit(1)
            return 1

    a, mortal = caller.remote(), Mortal.remote()

    assert ray.get(a.get.remote(mortal), timeout=30) == 2


def test_a_thread_of_the_users_own(ray, caller):
    a = caller.remote()
    ray.get(a.start_thread.remote(a), timeout=30)

    assert eventually(lambda: ray.get(a.join_thread.remote(), timeout=30)) == [1]
