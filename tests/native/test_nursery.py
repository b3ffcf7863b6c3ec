"""`open_nursery`, `call` and deadlines on real processes: nothing that a block has started outlives it."""

import math
import os
import time

import pytest
import trio

import trayray
from tests.processes.cancelled import alive
from tests.processes.waiting import eventually
from trayray.exceptions import RayTaskError, TaskCancelledError


@pytest.fixture
def cluster(ray):
    """One for the module, whose core worker has a thread of its own; `test_cluster` has the other way."""
    return ray


@trayray.remote(num_cpus=0)
def add(x, y=1):
    return x + y


@trayray.remote(num_cpus=0)
def fail(text, seconds=0.0):
    time.sleep(seconds)
    raise ValueError(text)


@trayray.remote(num_cpus=0)
def write_later(path, seconds):
    time.sleep(seconds)
    path.write_text("written")


@trayray.task(num_cpus=0)
async def sleep_noted(path):
    """Says by a file that it runs; the file goes when it ends."""
    path.write_text(str(os.getpid()))
    try:
        await trio.sleep_forever()
    finally:
        path.unlink()


@trayray.remote(num_cpus=0)
def parent_of(path, *, ends):
    """Starts `sleep_noted` without waiting for it."""
    child = sleep_noted.remote(path)
    eventually(path.exists)
    if ends == "returns":
        return child
    if ends == "raises":
        raise LookupError("the parent")
    return trayray.get(child)


def noted(path):
    return path.exists() and path.read_text() != ""


async def until(condition):
    while not condition():
        await trio.sleep(0.005)


# ---------------------------------------------------------------- results


async def test_children_have_results(cluster):
    async with trayray.open_nursery() as nursery:
        refs = [nursery.start_soon(add, i, y=2) for i in range(4)]
        total = nursery.start_soon(add, refs[0], refs[1])
        assert await refs[3] == 5

    assert [await ref for ref in refs] == [2, 3, 4, 5]
    assert await total == 5
    assert await trio.to_thread.run_sync(trayray.get, refs) == [2, 3, 4, 5]


async def test_call_returns_the_value(cluster):
    assert await trayray.call(add, 1, y=5) == 6
    assert await trayray.call(add.options(name="sum"), 1) == 2
    assert await trayray.call(add.options(num_returns=0), 1) is None

    @trayray.remote(num_returns=2)
    def pair():
        return 1, 2

    assert await trayray.call(pair) == (1, 2)


async def test_generators_are_children(cluster):
    @trayray.remote
    def count(n):
        yield from range(n)

    async with trayray.open_nursery() as nursery:
        values = [await ref async for ref in nursery.start_soon(count, 4)]
    assert values == [0, 1, 2, 3]

    with pytest.raises(TypeError, match="is a generator"):
        await trayray.call(count, 3)


async def test_a_generator_that_is_left_early_ends(cluster, tmp_path):
    path = tmp_path / "note"

    @trayray.task(num_cpus=0)
    async def endless():
        path.touch()
        try:
            while True:
                yield 1
                await trio.sleep(0.001)
        finally:
            path.unlink()

    async with trayray.open_nursery() as nursery:
        async for ref in nursery.start_soon(endless):
            assert await ref == 1
            assert path.exists()
            nursery.cancel_scope.cancel()
    assert not path.exists()


async def test_what_is_not_remote_is_refused(cluster):
    async with trayray.open_nursery() as nursery:
        with pytest.raises(TypeError, match=r"nursery\.local\.start_soon"):
            nursery.start_soon(trio.sleep, 0)
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            nursery.start_soon(add, 1, z=3)
        nursery.local.start_soon(trio.sleep, 0)
    with pytest.raises(TypeError, match="remote function"):
        await trayray.call(trio.sleep, 0)


# ---------------------------------------------------------------- errors


async def test_one_error_ends_the_siblings_and_arrives_once(cluster, tmp_path):
    paths = [tmp_path / str(i) for i in range(3)]
    begun = time.monotonic()
    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            failing = nursery.start_soon(fail, "no", 0.1)
            for path in paths:
                nursery.start_soon(write_later, path, 4)
            await failing  # the same failure, met a second time

    assert time.monotonic() - begun < 1
    (error,) = caught.value.exceptions
    assert type(error) is ValueError
    assert error.args == ("no",)
    (note,) = error.__notes__
    assert "raised in fail() (pid " in note
    assert "raise ValueError(text)\n" in note
    assert isinstance(error.__cause__, RayTaskError)
    assert not any(path.exists() for path in paths)


async def test_no_sibling_writes_after_its_time_would_have_come(cluster, tmp_path):
    path = tmp_path / "file"
    with pytest.raises(ExceptionGroup):
        async with trayray.open_nursery() as nursery:
            nursery.start_soon(write_later, path, 0.6)
            nursery.start_soon(fail, "no", 0.1)
    await trayray.call(write_later, tmp_path / "later", 0.7)
    assert not path.exists()


async def test_a_failed_argument_is_no_second_failure(cluster):
    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            failing = nursery.start_soon(fail, "once")
            nursery.start_soon(add, failing)
            nursery.start_soon(add, 1, y=failing)
    assert [error.args for error in caught.value.exceptions] == [("once",)]


async def test_errors_that_look_alike_are_all_there(cluster):
    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            refs = [fail.remote("alike") for _ in range(3)]

            async def raise_it(ref):
                with trio.CancelScope(shield=True):
                    await ref

            for ref in refs:
                nursery.local.start_soon(raise_it, ref)
    assert len(caught.value.exceptions) == 3


async def test_an_error_of_the_block_ends_the_children(cluster, tmp_path):
    path = tmp_path / "note"
    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            nursery.start_soon(sleep_noted, path)
            await until(lambda: noted(path))
            raise KeyError("mine")
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert not path.exists()


async def test_what_is_raised_while_a_call_is_cancelled_is_not_lost(cluster, tmp_path):
    path = tmp_path / "note"

    @trayray.task(num_cpus=0)
    async def stubborn():
        path.touch()
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("while cleaning up")

    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            nursery.start_soon(stubborn)
            await until(path.exists)
            nursery.cancel_scope.cancel()
    assert [type(error) for error in caught.value.exceptions] == [OSError]


async def test_an_error_passes_three_processes_quickly(cluster):
    @trayray.task(num_cpus=0)
    async def level(n, pids):
        pids = [*pids, os.getpid()]
        if n == 0:
            raise KeyError(pids)
        async with trayray.open_nursery() as nursery:
            nursery.start_soon(level, n - 1, pids)
            await trio.sleep_forever()

    for attempt in range(2):  # the first one starts the processes
        begun = time.monotonic()
        with pytest.raises(ExceptionGroup) as caught:
            await trayray.call(level, 3, [])
        took = time.monotonic() - begun
        group, depth = caught.value, 0
        while isinstance(group, ExceptionGroup):
            assert len(group.exceptions) == 1
            group, depth = group.exceptions[0], depth + 1
        assert depth == 3
        assert isinstance(group, KeyError)
        assert len(set(group.args[0])) == 4, "each level in a process of its own"
        assert attempt == 0 or took < 0.3


async def test_a_crash_is_told_by_its_cause(cluster):
    @trayray.remote(max_retries=0)
    def crash():
        os._exit(3)

    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            nursery.start_soon(crash)
    (error,) = caught.value.exceptions
    assert isinstance(error, trayray.exceptions.WorkerCrashedError)
    assert "exit code 3" in str(error)


async def test_an_error_of_a_call_without_results_is_not_lost(cluster):
    with pytest.raises(ValueError, match="none"):
        await trayray.call(fail.options(num_returns=0), "none")


# ---------------------------------------------------------------- cancellation


async def test_a_cancelled_block_waits_until_everything_is_gone(cluster, tmp_path):
    paths = [tmp_path / str(i) for i in range(3)]
    async with trayray.open_nursery() as nursery:
        for path in paths:
            nursery.start_soon(sleep_noted, path)
        await until(lambda: all(map(noted, paths)))
        nursery.cancel_scope.cancel()
    assert not any(path.exists() for path in paths)


async def test_a_call_that_never_began_never_does(cluster, tmp_path):
    path = tmp_path / "file"
    with trio.CancelScope() as scope:
        scope.cancel()
        await trayray.call(write_later, path, 0)
    assert scope.cancelled_caught
    assert await trayray.call(add, 1) == 2
    assert not path.exists()


async def test_cancelling_a_call_that_resists_kills_its_process(cluster, tmp_path, monkeypatch):
    path = tmp_path / "pid"

    @trayray.remote
    def resist():
        path.write_text(str(os.getpid()))
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                continue

    with trio.CancelScope() as scope:
        async with trayray.open_nursery() as nursery:
            nursery.start_soon(resist)
            await until(lambda: noted(path))
            scope.cancel()
    assert scope.cancelled_caught
    assert not alive(int(path.read_text()))


async def test_what_a_killed_call_has_started_is_gone_too(cluster, tmp_path):
    child = tmp_path / "child"

    @trayray.remote(num_cpus=0, max_retries=0)
    def die():
        refs = [sleep_noted.remote(child)]
        eventually(lambda: noted(child))
        os.kill(os.getpid(), 9)
        return refs

    with pytest.raises(trayray.exceptions.WorkerCrashedError):
        await trayray.call(die)
    assert not child.exists()


async def test_others_may_cancel_a_child(cluster, tmp_path):
    path = tmp_path / "note"
    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            ref = nursery.start_soon(sleep_noted, path)
            await until(lambda: noted(path))
            trayray.cancel(ref)
    assert [type(error) for error in caught.value.exceptions] == [TaskCancelledError]


# ---------------------------------------------------------------- what children have started


@pytest.mark.parametrize("how", ["cancelled", "raises"])
async def test_what_a_child_has_started_ends_with_it(cluster, tmp_path, how):
    path = tmp_path / "note"
    with trio.CancelScope() as scope:
        try:
            async with trayray.open_nursery() as nursery:
                nursery.start_soon(parent_of, path, ends="waits" if how == "cancelled" else "raises")
                if how == "cancelled":
                    await until(lambda: noted(path))
                    scope.cancel()
        except* LookupError:
            assert how == "raises"
    assert scope.cancelled_caught == (how == "cancelled")
    assert not path.exists()


async def test_a_child_that_returns_ends_after_what_it_has_started(cluster, tmp_path):
    path = tmp_path / "file"

    @trayray.remote(num_cpus=0)
    def start():
        write_later.remote(path, 0.2)

    await trayray.call(start)
    assert path.read_text() == "written"


async def test_waiting_for_them_takes_no_cpu(cluster):
    """Four calls hold all CPUs when they return; what they have started needs these."""

    @trayray.remote
    def inner(x):
        return x

    @trayray.remote
    def outer(x):
        return [inner.remote(x)]

    async with trayray.open_nursery() as nursery:
        refs = [nursery.start_soon(outer, x) for x in range(4)]
    assert [await (await ref)[0] for ref in refs] == [0, 1, 2, 3]


async def test_actors_that_a_function_has_created_end_with_it(cluster, tmp_path):
    path = tmp_path / "log"

    @trayray.remote(num_cpus=0)
    class Child:
        def __init__(self, name):
            self.name = name

        def pid(self):
            return os.getpid()

        def __trayray_shutdown__(self):
            with path.open("a") as log:
                log.write(f"{self.name} ")

    @trayray.task(num_cpus=0)
    async def create():
        children = [Child.remote(name) for name in ("first", "second")]
        return [await child.pid.remote() for child in children], children

    pids, children = await trayray.call(create)
    assert not any(map(alive, pids))
    assert path.read_text() == "second first "
    with pytest.raises(trayray.exceptions.ActorDiedError, match="the call that created it has ended"):
        await children[0].pid.remote()


async def test_actors_keep_what_their_methods_have_started(cluster):
    @trayray.remote(num_cpus=0)
    class Keeper:
        def start(self):
            self.ref = add.remote(1)
            self.other = Keeper.remote()

        def look(self):
            return trayray.get([self.ref, self.other.pid.remote()])

        def pid(self):
            return os.getpid()

    async with trayray.open_actor(Keeper) as keeper:
        await trayray.call(keeper.start)
        value, pid = await trayray.call(keeper.look)
        assert value == 2
        assert alive(pid)
    assert not alive(pid)


# ---------------------------------------------------------------- readiness


@trayray.task(num_cpus=0)
async def serve(port, *, task_status, path):
    task_status.started(("address", port))
    path.touch()
    try:
        await trio.sleep_forever()
    finally:
        path.unlink()


async def test_start_waits_until_the_child_is_ready(cluster, tmp_path):
    path = tmp_path / "note"

    @trayray.remote(num_cpus=0)
    def plain(task_status):
        task_status.started()
        return 1

    async with trayray.open_nursery() as nursery:
        assert await nursery.start(serve, 80, path=path) == ("address", 80)
        assert await nursery.start(plain) is None
        await until(path.exists)
        nursery.cancel_scope.cancel()
    assert not path.exists()


async def test_start_raises_what_comes_before(cluster):
    @trayray.remote
    def early(*, task_status):
        raise ValueError("too early")

    @trayray.remote
    def silent(*, task_status):
        return None

    @trayray.remote
    def twice(*, task_status):
        task_status.started()
        task_status.started()

    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            with pytest.raises(ValueError, match="too early"):
                await nursery.start(early)
            with pytest.raises(RuntimeError, match=r"silent\(\) has returned without calling"):
                await nursery.start(silent)
            with pytest.raises(TypeError, match="unexpected keyword argument 'task_status'"):
                await nursery.start(add, 1)
            await nursery.start(twice)
    assert "has called task_status.started() before" in str(caught.value.exceptions[0])


async def test_a_start_that_is_cancelled_ends_the_child(cluster, tmp_path):
    path = tmp_path / "note"

    @trayray.task(num_cpus=0)
    async def never_ready(*, task_status):
        path.touch()
        try:
            await trio.sleep_forever()
        finally:
            path.unlink()

    async with trayray.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.local.start_soon(until, path.exists)

            async def cancel():
                await until(path.exists)
                scope.cancel()

            nursery.local.start_soon(cancel)
            await nursery.start(never_ready)
        assert scope.cancelled_caught
        assert not path.exists()


# ---------------------------------------------------------------- deadlines


@trayray.remote(num_cpus=0)
def left():
    return trayray.time_left()


@trayray.task(num_cpus=0)
async def left_inside():
    return trio.current_effective_deadline() - trio.current_time(), trayray.time_left(), await trayray.call(left)


async def test_deadlines_travel(cluster):
    await trayray.call(left_inside)  # its worker is there from now on
    assert await trayray.call(left) == math.inf
    with trio.fail_after(20):
        times = await trayray.call(left_inside)
        async with trayray.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 10
            sooner = nursery.start_soon(left)
    assert all(19 < each <= 20 for each in times)
    assert 9 < await sooner <= 10


async def test_a_call_that_is_late_is_a_timeout(cluster, tmp_path):
    path = tmp_path / "note"
    with pytest.raises(trio.TooSlowError), trio.fail_after(0.3):
        await trayray.call(sleep_noted, path)
    assert not path.exists()


async def test_a_nursery_that_was_left_takes_no_children(cluster, tmp_path):
    path = tmp_path / "file"
    async with trayray.open_nursery() as nursery:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        nursery.start_soon(write_later, path, 0)
    await trayray.call(write_later, tmp_path / "another", 0)
    assert not path.exists()


class Unloadable:
    """Can be pickled, and not read."""

    def __reduce__(self):
        return _refuse, (os.getpid(),)


def _refuse(where):
    if os.getpid() != where:
        raise LookupError("it cannot be read here")


async def test_a_child_whose_ready_value_cannot_be_read_is_ended(cluster, tmp_path):
    path = tmp_path / "note"

    @trayray.task(num_cpus=0)
    async def ready(*, task_status):
        path.touch()
        try:
            task_status.started(Unloadable())
            await trio.sleep_forever()
        finally:
            path.unlink()

    async with trayray.open_nursery() as nursery:
        with pytest.raises(LookupError, match="cannot be read here"):
            await nursery.start(ready)
        assert not path.exists()


async def test_a_failure_to_start_that_was_dealt_with_hides_none(cluster):
    @trayray.remote(num_cpus=0)
    def early(bad, *, task_status):
        return bad

    bad = fail.remote("bad")
    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            with pytest.raises(ValueError, match="bad"):
                await nursery.start(early, bad)
            nursery.start_soon(add, bad)
    assert [error.args for error in caught.value.exceptions] == [("bad",)]

    with pytest.raises(ExceptionGroup) as caught:
        async with trayray.open_nursery() as nursery:
            with pytest.raises(ValueError, match="bad"):
                await nursery.start(early, bad)
            await bad
    assert [error.cause.args for error in caught.value.exceptions] == [("bad",)]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_generator_that_fails_behind_its_first_value_fails(cluster, asynchronous):
    @trayray.remote(num_returns=2, num_cpus=0)
    def plain():
        yield 1
        raise ValueError("second")

    @trayray.task(num_returns=2, num_cpus=0)
    async def awaited():
        yield 1
        raise ValueError("second")

    with pytest.raises(ValueError, match="second") as caught:
        await trayray.call(awaited if asynchronous else plain)
    assert type(caught.value) is ValueError


async def test_a_call_that_waits_for_what_it_ends_is_not_killed_for_that(cluster, tmp_path):
    """Its child resists, and is killed; the call itself is patient, and cleans up afterwards."""
    note, log = tmp_path / "note", tmp_path / "log"

    @trayray.remote(num_cpus=0)
    def resist():
        note.touch()
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                continue

    @trayray.task(num_cpus=0)
    async def patient():
        try:
            async with trayray.open_nursery() as nursery:
                nursery.start_soon(resist)
                await trio.sleep_forever()
        finally:
            log.write_text("cleaned up")

    async with trayray.open_nursery() as nursery:
        nursery.start_soon(patient)
        await until(note.exists)
        nursery.cancel_scope.cancel()
    assert log.read_text() == "cleaned up"
