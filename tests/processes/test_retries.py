"""Retries, `max_calls` and `max_pending_calls` in real processes."""

import os
import pathlib
import signal
import sys
import time
import types

import pytest

from tests.conftest import init_arguments
from tests.processes.waiting import eventually


def executions(path: pathlib.Path) -> int:
    return len(path.read_text().split()) if path.exists() else 0


def note(path: pathlib.Path) -> int:
    """Note one execution; its number, from 1."""
    with path.open("a") as log:
        log.write("x\n")
    return len(path.read_text().split())


def test_exceptions_and_crashes_share_the_retries(ray, tmp_path):
    log = tmp_path / "log"

    @ray.remote(max_retries=2, retry_exceptions=[ValueError])
    def fails():
        number = note(log)
        if number == 1:
            os._exit(1)
        raise ValueError(f"execution {number}")

    with pytest.raises(ValueError, match="execution 3"):
        ray.get(fails.remote(), timeout=30)
    assert executions(log) == 3


def test_minus_one_retries_until_it_works(ray, tmp_path):
    log = tmp_path / "log"

    @ray.remote(max_retries=-1, retry_exceptions=True)
    def sixth_time():
        number = note(log)
        if number < 6:
            raise OSError("not yet")
        return number

    assert ray.get(sixth_time.remote(), timeout=30) == 6


def test_the_users_own_exception_class_is_recognised(ray, tmp_path):
    class Busy(Exception):
        pass

    class VeryBusy(Busy):
        pass

    log = tmp_path / "log"

    @ray.remote(max_retries=1, retry_exceptions=[Busy])
    def busy():
        if note(log) == 1:
            raise VeryBusy
        return "done"

    assert ray.get(busy.remote(), timeout=30) == "done"


def test_an_error_of_an_argument_is_not_retried(ray, tmp_path):
    log = tmp_path / "log"

    @ray.remote
    def fail():
        raise ValueError("argument")

    @ray.remote(max_retries=3, retry_exceptions=True)
    def use(x):
        note(log)

    with pytest.raises(ValueError, match="argument"):
        ray.get(use.remote(fail.remote()), timeout=30)
    assert executions(log) == 0


def test_retries_keep_their_arguments(ray, tmp_path):
    log = tmp_path / "log"
    large = ray.put(b"x" * 300_000)

    @ray.remote(max_retries=2, retry_exceptions=True)
    def use(box, data):
        if note(log) < 3:
            box.append("mutated")
            raise RuntimeError("again")
        return box, len(data)

    assert ray.get(use.remote(["fresh"], large), timeout=30) == (["fresh"], 300_000)


def test_setting_of_the_environment_is_the_default(fresh_ray, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAYRAY_TASK_MAX_RETRIES", "1")
    monkeypatch.setenv("TRAYRAY_task_retry_delay_ms", "0")
    log = tmp_path / "log"
    ray = fresh_ray
    ray.init(**init_arguments(num_cpus=1))

    @ray.remote
    def crash():
        note(log)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(crash.remote(), timeout=30)
    assert executions(log) == 2


def test_a_setting_that_is_no_number_is_refused(fresh_ray, monkeypatch):
    monkeypatch.setenv("TRAYRAY_task_retry_delay_ms", "soon")
    with pytest.raises(ValueError, match="TRAYRAY_task_retry_delay_ms must be a number"):
        fresh_ray.init(**init_arguments(num_cpus=1))


def test_actor_calls_are_repeated_in_place_and_in_order(ray, tmp_path):
    @ray.remote
    class Log:
        def __init__(self):
            self.words = []

        def add(self, word, failures):
            self.words.append(word)
            if self.words.count(word) <= failures:
                raise RuntimeError(word)
            return word

        def read(self):
            return self.words

    log = Log.remote()
    add = log.add.options(max_task_retries=5, retry_exceptions=[RuntimeError])
    refs = [add.remote("a", 0), add.remote("b", 2), add.remote("c", 0)]
    assert ray.get(refs) == ["a", "b", "c"]
    assert ray.get(log.read.remote()) == ["a", "b", "b", "b", "c"]


def test_async_actor_calls_are_repeated(ray):
    @ray.remote
    class Flaky:
        def __init__(self):
            self.calls = 0

        async def call(self):
            self.calls += 1
            if self.calls < 3:
                raise RuntimeError("again")
            return self.calls

    call = Flaky.remote().call.options(max_task_retries=-1, retry_exceptions=True)
    assert ray.get(call.remote(), timeout=30) == 3


def test_pending_calls_are_limited(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote(max_pending_calls=3)
    class Slow:
        def call(self):
            while not gate.exists():
                time.sleep(0.005)
            return "done"

    slow = Slow.remote()
    refs = [slow.call.remote() for _ in range(3)]
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded, match="max_pending_calls=3"):
        slow.call.remote()
    gate.touch()
    assert ray.get(refs, timeout=30) == ["done"] * 3
    eventually(lambda: ray.get(slow.call.remote(), timeout=30) == "done")


def test_max_calls_with_many_tasks_in_flight(ray, tmp_path):
    """Pipelined tasks come back from a worker that has run its share; each runs exactly once."""
    log = tmp_path / "log"

    @ray.remote(max_calls=5, max_retries=0)
    def pid(number):
        with log.open("a") as file:
            file.write(f"{number}\n")
        return os.getpid()

    pids = ray.get([pid.remote(number) for number in range(40)], timeout=60)
    assert max(pids.count(one) for one in set(pids)) <= 5
    assert sorted(map(int, log.read_text().split())) == list(range(40))


def test_a_worker_with_max_calls_stays_while_others_need_what_it_owns(ray):
    @ray.remote(max_calls=1)
    def owner():
        return [ray.put("owned by the worker")]

    (inner,) = ray.get(owner.remote(), timeout=30)
    assert ray.get(inner, timeout=30) == "owned by the worker"


def test_tasks_that_run_at_most_once_do_so_in_workers_that_die_among_many(ray, tmp_path):
    """Results that a worker has sent before it died count, also when the owner was just sending it more."""
    log = tmp_path / "log"

    @ray.remote(max_retries=0)
    def once(number):
        with log.open("ab", buffering=0) as file:
            file.write(b"%d\n" % number)
        if number % 97 == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    refs = []
    for number in range(1, 6001):
        refs.append(once.remote(number))
        if number % 300 == 0:  # many at a time, so that they are sent ahead, and more while they run
            ray.wait(refs, num_returns=len(refs) - 50, timeout=60)
    ray.wait(refs, num_returns=len(refs), timeout=60)
    ran = list(map(int, log.read_text().split()))
    assert sorted(ran) == list(range(1, 6001))
    crashed = 0
    for ref in refs:
        try:
            ray.get(ref)
        except ray.exceptions.WorkerCrashedError:
            crashed += 1
    assert crashed == 6000 // 97


def test_exceptions_that_the_worker_cannot_load_are_not_retried_and_the_error_says_why(ray):
    module = types.ModuleType("module_of_the_driver_alone")
    exec("class Unknown(Exception): pass", module.__dict__)
    sys.modules[module.__name__] = module
    try:

        @ray.remote(max_retries=1, retry_exceptions=[module.Unknown])
        def fail():
            raise ValueError("the user's own")

        with pytest.raises(ValueError, match="module_of_the_driver_alone") as caught:
            ray.get(fail.remote(), timeout=30)
        assert "the user's own" in str(caught.value)
    finally:
        del sys.modules[module.__name__]


def test_exception_classes_of_the_same_name_are_told_apart(ray, tmp_path):
    def class_and_task(log):
        class Busy(Exception):
            pass

        @ray.remote(max_retries=1)
        def busy(kind):
            if note(log) == 1:
                raise kind
            return "done"

        return Busy, busy

    first, task = class_and_task(tmp_path / "log")
    second, _ = class_and_task(tmp_path / "unused")
    with pytest.raises(second):
        ray.get(task.options(retry_exceptions=[first]).remote(second), timeout=30)
    (tmp_path / "log").unlink()
    assert ray.get(task.options(retry_exceptions=[second]).remote(second), timeout=30) == "done"
