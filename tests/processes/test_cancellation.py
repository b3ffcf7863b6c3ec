"""Cancelled tasks in real processes: what each step reaches, what it leaves alone, and that nothing stays behind."""

import os
import pathlib
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.conftest import init_arguments
from tests.processes.cancelled import GRACE, SLACK, alive, all_is_free, says, step_of
from tests.processes.waiting import eventually


@pytest.fixture(scope="module", autouse=True)
def short_grace() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TRAYRAY_CANCEL_GRACE_SECONDS", str(GRACE))
        yield


@pytest.fixture
def note(tmp_path: pathlib.Path) -> pathlib.Path:
    """The file in which remote code says where it is."""
    return tmp_path / "note"


# ---------------------------------------------------------------- running tasks


def sleep(ray):
    time.sleep(60)


def wait_for_a_lock(ray):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def wait_for_a_queue(ray):
    queue.Queue().get()


def read_a_socket(ray):
    ours, _theirs = socket.socketpair()
    ours.recv(1)


def wait_for_a_child(ray):
    subprocess.run(["sleep", "60"], check=True)


def get_what_never_comes(ray):
    @ray.remote(num_cpus=10_000)
    def impossible():
        pass

    ray.get(impossible.remote())


def wait_for_what_never_comes(ray):
    @ray.remote(num_cpus=10_000)
    def impossible():
        pass

    ray.wait([impossible.remote()])


def compute(ray):
    while True:
        sum(range(1000))


def use_the_runtime(ray):
    while True:
        ray.get(ray.put(bytes(200_000)))


def run_trio(ray):
    import trio

    trio.run(trio.sleep, 60)


def run_asyncio(ray):
    import asyncio

    asyncio.run(asyncio.sleep(60))


@pytest.mark.parametrize(
    "work",
    [
        sleep,
        wait_for_a_lock,
        wait_for_a_queue,
        read_a_socket,
        wait_for_a_child,
        get_what_never_comes,
        wait_for_what_never_comes,
        compute,
        use_the_runtime,
        run_trio,
        run_asyncio,
    ],
)
def test_running_task_is_interrupted(ray, note, work):
    @ray.remote
    def task():
        try:
            note.write_text(str(os.getpid()))
            work(ray)
        finally:
            with note.open("a") as file:
                file.write(" cleaned up")

    @ray.remote
    def pid():
        return os.getpid()

    ref = task.remote()
    says(note, "")
    ray.cancel(ref)
    assert step_of(ray, ref) == "interrupt"
    assert note.read_text().endswith(" cleaned up")
    assert ray.get(pid.remote(), timeout=20)
    assert alive(int(note.read_text().split()[0])), "an interrupted worker serves on"


def test_a_worker_serves_on_after_it_was_interrupted(one_worker, note):
    ray = one_worker

    @ray.remote
    def task(runs):
        while runs is not None:
            runs.touch()
            time.sleep(0.001)
        return os.getpid()

    first = ray.get(task.remote(None), timeout=20)
    for number in range(20):
        runs = note.with_name(str(number))
        ref = task.remote(runs)
        after = [task.remote(None) for _ in range(3)]
        eventually(runs.exists)
        ray.cancel(ref)
        assert step_of(ray, ref) == "interrupt"
        assert ray.get(after, timeout=20) == [first] * 3


@pytest.fixture
def one_worker(fresh_ray):
    fresh_ray.init(**init_arguments(num_cpus=1))
    return fresh_ray


def hold_the_interpreter():
    sum(range(10**13))


def swallow():
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass


@pytest.mark.parametrize("stubborn", [hold_the_interpreter, swallow])
def test_what_an_interrupt_does_not_reach_is_killed_after_the_grace(ray, note, stubborn):
    @ray.remote
    def task():
        note.write_text(str(os.getpid()))
        stubborn()

    @ray.remote
    def works():
        return True

    ref = task.remote()
    says(note, "")
    started = time.monotonic()
    ray.cancel(ref)
    assert step_of(ray, ref) == "kill"
    assert GRACE <= time.monotonic() - started <= GRACE + SLACK
    eventually(lambda: not alive(int(note.read_text())))
    assert ray.get(works.remote(), timeout=20)
    all_is_free(ray)


@pytest.mark.parametrize("ends", ["value", "error"])
def test_what_the_task_makes_of_the_interrupt_within_the_grace_is_its_result(ray, note, ends):
    @ray.remote(max_retries=3, retry_exceptions=True)
    def task():
        with note.open("a") as file:
            file.write("x")
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if ends == "error":
                raise ValueError("mine") from None
            return ray.get_runtime_context().is_canceled()

    ref = task.remote()
    says(note, "x")
    ray.cancel(ref)
    if ends == "value":
        assert ray.get(ref, timeout=20) is True
    else:
        with pytest.raises(ValueError, match="mine"):
            ray.get(ref, timeout=20)
    assert note.read_text() == "x", "a cancelled task is not tried again"


def test_force_kills_at_once_and_without_an_exception(ray, note):
    @ray.remote
    def task():
        note.write_text(f"{os.getpid()} running")
        try:
            time.sleep(60)
        except BaseException:
            note.write_text("interrupted")
            raise

    ref = task.remote()
    says(note, "running")
    started = time.monotonic()
    ray.cancel(ref, force=True)
    assert step_of(ray, ref) == "kill"
    assert time.monotonic() - started < GRACE + SLACK
    assert "running" in note.read_text()
    eventually(lambda: not alive(int(note.read_text().split()[0])))


def test_force_after_patience(ray, note):
    @ray.remote
    def task():
        note.touch()
        swallow()

    ref = task.remote()
    eventually(note.exists)
    ray.cancel(ref)
    ray.cancel(ref, force=True)
    assert step_of(ray, ref) == "kill"


def test_force_does_not_kill_the_task_before_it(one_worker, tmp_path):
    """The class is pipelined by then, so the cancelled ones are with the worker that runs another."""
    ray = one_worker
    gate = tmp_path / "gate"

    @ray.remote(max_retries=0)
    def work(i):
        while i == 0 and not gate.exists():
            time.sleep(0.005)
        return os.getpid()

    (pid,) = set(ray.get([work.remote(-1) for _ in range(200)], timeout=20))
    refs = [work.remote(i) for i in range(8)]
    for ref in refs[1:7]:
        ray.cancel(ref, force=True)
    assert [step_of(ray, ref) for ref in refs[1:7]] == ["pending"] * 6
    gate.touch()
    assert ray.get([refs[0], refs[7]], timeout=20) == [pid, pid]


def test_nobody_is_killed_for_a_task_behind_one_that_holds_the_interpreter(one_worker, note):
    ray = one_worker

    @ray.remote(max_retries=0)
    def work(seconds):
        if seconds:
            note.touch()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                sum(range(10**7))
        return os.getpid()

    (pid,) = set(ray.get([work.remote(0) for _ in range(200)], timeout=20))
    long, behind = work.remote(3 * GRACE), work.remote(0)
    eventually(note.exists)
    ray.cancel(behind)
    assert step_of(ray, behind) == "pending"
    assert ray.get(long, timeout=20) == pid


def test_a_finished_task_keeps_its_value_and_one_cancelled_twice_ends_once(ray, note):
    @ray.remote
    def task(seconds):
        note.touch()
        time.sleep(seconds)
        return "kept"

    done = task.remote(0)
    assert ray.get(done, timeout=20) == "kept"
    ray.cancel(done)
    assert ray.get(done, timeout=20) == "kept"
    note.unlink()
    ref = task.remote(60)
    eventually(note.exists)
    ray.cancel(ref)
    ray.cancel(ref)
    assert step_of(ray, ref) == "interrupt"


def test_the_error_tells_the_step(ray, note):
    @ray.remote
    def task():
        note.touch()
        time.sleep(60)

    ref = task.remote()
    eventually(note.exists)
    ray.cancel(ref)
    with pytest.raises(
        ray.exceptions.TaskCancelledError, match=r"'interrupt': KeyboardInterrupt was raised in it"
    ) as e:
        ray.get(ref, timeout=20)
    assert e.value.task_id == ref.task_id()


def test_only_the_holder_of_a_lease_may_have_its_worker_killed(ray, note, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote(max_retries=0)
    def victim():
        note.touch()
        while not gate.exists():
            time.sleep(0.005)
        return "lives"

    @ray.remote(max_retries=0)
    def intruder():
        from trayray.wire.lease_messages import KillLeased
        from trayray.worker.current import core_worker

        core_worker().to_node([KillLeased(lease, "it is in the way") for lease in range(1000)])
        time.sleep(60)

    ref = victim.remote()
    eventually(note.exists)
    with pytest.raises(ray.exceptions.WorkerCrashedError):  # it is cut off
        ray.get(intruder.remote(), timeout=20)
    gate.touch()
    assert ray.get(ref, timeout=20) == "lives"


# ---------------------------------------------------------------- tasks that do not run yet


def test_a_task_that_waits_for_its_argument_never_runs(ray, note, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def late():
        while not gate.exists():
            time.sleep(0.005)

    @ray.remote
    def task(_):
        note.touch()

    argument = late.remote()
    ref = task.remote(argument)
    ray.cancel(ref)
    assert step_of(ray, ref) == "pending"
    gate.touch()
    ray.get(argument, timeout=20)
    assert not note.exists()


def test_a_task_that_waits_for_its_next_attempt_never_runs_again(fresh_ray, note, monkeypatch):
    monkeypatch.setenv("TRAYRAY_task_retry_delay_ms", "60000")
    ray = fresh_ray
    ray.init(**init_arguments())

    @ray.remote(max_retries=5)
    def crash():
        with note.open("a") as file:
            file.write("x")
        os._exit(1)

    from trayray.worker.current import core_worker

    ref = crash.remote()
    core = core_worker()
    assert core is not None
    eventually(lambda: any(core.tasks.waits_for_retry(task) for task in list(core.tasks.pending.values())))
    attempts = note.read_text()
    ray.cancel(ref)
    assert step_of(ray, ref) == "pending"
    assert note.read_text() == attempts
    all_is_free(ray)


# ---------------------------------------------------------------- async tasks


def test_async_task_is_cancelled_in_its_loop(ray, note):
    @ray.task
    async def task():
        import trio

        note.write_text("running")
        try:
            await trio.sleep(60)
        finally:
            note.write_text("cleaned up")

    ref = task.remote()
    says(note, "running")
    ray.cancel(ref)
    assert step_of(ray, ref) == "async"
    assert note.read_text() == "cleaned up"


def test_async_task_that_blocks_its_loop_is_killed(ray, note):
    @ray.task
    async def task():
        note.touch()
        time.sleep(60)  # noqa: ASYNC251 -- that is the case

    ref = task.remote()
    eventually(note.exists)
    ray.cancel(ref)
    assert step_of(ray, ref) == "kill"
