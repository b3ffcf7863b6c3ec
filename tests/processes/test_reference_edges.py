"""Where references are easily forgotten: in exceptions, functions and classes, and arguments that were needed once."""

import gc
import os
import signal
import time

import numpy as np
import pytest

from tests.processes.waiting import eventually
from trayray.worker.current import core_worker

SECONDS = 30


class Carrying(Exception):
    def __init__(self, refs):
        super().__init__(refs)
        self.refs = refs


def large(number):
    return np.full(300_000, number, np.uint8)


def known():
    """Ids of the references that others have heard of, or that came from others."""
    gc.collect()
    return {ref.hex() for ref in core_worker().references.known.values()}


@pytest.fixture
def nothing_stays(ray):
    """What the test has put into the store, and told others of, goes with it."""
    total = ray.cluster_resources()["object_store_memory"]
    before = known()
    yield
    eventually(lambda: known() <= before)
    eventually(lambda: ray.available_resources()["object_store_memory"] == total)


def test_what_an_exception_refers_to_stays_when_its_task_has_ended(ray, nothing_stays):
    @ray.remote
    def fail():
        raise Carrying([ray.put(large(1)), ray.put("small")])

    @ray.remote
    def collect():
        gc.collect()

    failed = fail.remote()
    ray.wait([failed], timeout=SECONDS)
    ray.get([collect.remote() for _ in range(8)], timeout=SECONDS)
    with pytest.raises(Carrying) as caught:
        ray.get(failed, timeout=SECONDS)
    del failed
    first, second = caught.value.cause.refs
    assert int(ray.get(first, timeout=SECONDS)[0]) == 1
    assert ray.get(second, timeout=SECONDS) == "small"
    del first, second, caught


@pytest.mark.parametrize("returns", [2, "dynamic", "streaming"])
def test_what_an_exception_refers_to_with_several_returns(ray, nothing_stays, returns):
    @ray.remote(num_returns=returns)
    def fail():
        raise Carrying([ray.put(large(2))])
        yield  # with a number of returns, a generator's exception is the value of those that remain

    made = fail.remote()
    ref = made[1] if returns == 2 else made if returns == "dynamic" else next(made)
    del made
    with pytest.raises(Carrying) as caught:
        for each in ray.get(ref, timeout=SECONDS):
            ray.get(each, timeout=SECONDS)
    del ref
    assert int(ray.get(caught.value.cause.refs[0], timeout=SECONDS)[0]) == 2
    del caught


def test_an_exception_for_which_a_task_is_tried_again_leaves_nothing(ray, nothing_stays, tmp_path):
    @ray.remote(max_retries=3, retry_exceptions=[Carrying])
    def fail_twice():
        for attempt in ("first", "second"):
            if not (tmp_path / attempt).exists():
                (tmp_path / attempt).touch()
                raise Carrying([ray.put(large(3))])
        return "third"

    assert ray.get(fail_twice.remote(), timeout=SECONDS) == "third"


def test_a_constructors_arguments_are_given_back_once_it_has_run(ray, nothing_stays):
    @ray.remote(num_cpus=0)
    class Reads:
        def __init__(self, refs):
            self.sum = int(ray.get(refs[0]).sum())

        def read(self):
            return self.sum

    ref = ray.put(large(1))
    name = ref.hex()
    reads = Reads.remote([ref])
    del ref
    assert ray.get(reads.read.remote(), timeout=SECONDS) == 300_000
    eventually(lambda: name not in known())
    ray.kill(reads)


def test_a_pending_task_holds_what_its_function_captures(ray, tmp_path):
    gate = tmp_path / "gate"

    def start():
        ref = ray.put(large(4))

        @ray.remote
        def later(refs):
            return int(ray.get(ref)[0])

        @ray.remote
        def wait_for_the_gate():
            while not gate.exists():
                time.sleep(0.005)

        return later.remote([wait_for_the_gate.remote()]), later.remote(wait_for_the_gate.remote())

    results = start()
    gc.collect()
    gate.touch()
    assert ray.get(list(results), timeout=SECONDS) == [4, 4]


def test_a_function_holds_what_it_has_captured_whatever_the_name_means_now(ray):
    captured = ray.put(large(5))

    @ray.remote
    def read():
        return int(ray.get(captured)[0])

    assert ray.get(read.remote(), timeout=SECONDS) == 5
    captured = None
    gc.collect()
    assert ray.get([read.remote() for _ in range(20)], timeout=SECONDS) == [5] * 20


def test_an_actor_holds_what_its_class_captures(ray):
    def start():
        ref = ray.put(large(6))

        @ray.remote(num_cpus=0)
        class Reads:
            def read(self):
                return int(ray.get(ref)[0])

        return Reads.remote()

    reads = start()
    gc.collect()
    assert ray.get(reads.read.remote(), timeout=SECONDS) == 6
    gc.collect()
    assert ray.get(reads.read.remote(), timeout=SECONDS) == 6
    ray.kill(reads)


@pytest.mark.parametrize("value", ["small", large(7)], ids=["inline", "stored"])
def test_what_a_dead_process_owned_is_lost_also_to_those_who_have_read_it(ray, nothing_stays, value):
    @ray.remote(num_cpus=0)
    class Owner:
        def make(self):
            self.ref = ray.put(value)
            return [self.ref]

        def pid(self):
            return os.getpid()

    @ray.remote
    def read(refs):
        return ray.get(refs)

    @ray.remote
    def take(value):
        return value

    owner = Owner.remote()
    refs = ray.get(owner.make.remote(), timeout=SECONDS)
    np.testing.assert_array_equal(ray.get(refs[0], timeout=SECONDS), value)
    os.kill(ray.get(owner.pid.remote(), timeout=SECONDS), signal.SIGKILL)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(owner.pid.remote(), timeout=SECONDS)
    others = [ray.put(large(200)) for _ in range(20)]  # in whose place the value would be read
    readings = [refs[0], read.remote(refs), take.remote(refs[0])]
    del refs
    for reading in readings:
        with pytest.raises(ray.exceptions.OwnerDiedError):
            ray.get(reading, timeout=SECONDS)
    del others, reading, readings
