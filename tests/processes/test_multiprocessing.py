"""`util.multiprocessing.Pool` on real processes."""

import gc
import itertools
import multiprocessing
import os
import pickle
import sys
import threading

import pytest

from tests.processes.waiting import eventually
from trayray.exceptions import ActorDiedError, RayTaskError
from trayray.util.multiprocessing import AsyncResult, Pool


@pytest.fixture(scope="module")
def pool(ray):
    with Pool(2) as made:
        yield made
    made.join()


@pytest.fixture
def gate(tmp_path):
    """What waits for it goes on once its file exists."""
    return Gate(tmp_path / "open")


class Gate:
    def __init__(self, path):
        self.path = path

    def wait(self, value):
        eventually(self.path.exists, 30)
        return value

    def open(self):
        self.path.touch()


def pool_threads():
    return [thread for thread in threading.enumerate() if thread.name == "trayray-pool"]


# ---------------------------------------------------------------- results


def test_calls(pool):
    assert pool.apply(divmod, (7, 2)) == (3, 1)
    assert pool.apply(dict, (), {"a": 1}) == {"a": 1}
    assert pool.apply(dict, kwargs={"a": 1}) == pool.apply(dict, kwds={"a": 1}) == {"a": 1}
    assert pool.apply_async(dict, None, None).get(30) == {}
    assert pool.map(str, range(50)) == [str(i) for i in range(50)]
    assert pool.map(abs, []) == []
    assert pool.starmap(divmod, [(7, 2), (9, 4)], chunksize=1) == [(3, 1), (2, 1)]
    called_back = []
    assert pool.starmap_async(pow, [(2, 3), (2, 4)], called_back.append, chunksize=1).get(30) == [8, 16]
    assert called_back == [[8, 16]]
    assert pool.apply(os.getpid) != os.getpid()


def test_a_process_that_is_busy_holds_nothing_back(pool, gate):
    slow = pool.apply_async(gate.wait, (0,))

    assert pool.map(abs, range(-20, 0), chunksize=1) == list(range(20, 0, -1))
    assert not slow.ready()
    gate.open()
    assert slow.get(30) == 0


def test_an_error_comes_with_its_own_type_and_its_remote_traceback(pool):
    def fail(x):
        if x % 2:
            raise KeyError(f"odd {x}")
        return x

    with pytest.raises(KeyError, match="odd 1") as caught:
        pool.map(fail, range(5), chunksize=2)

    assert type(caught.value) is KeyError
    assert isinstance(caught.value.__cause__, RayTaskError)
    assert 'raise KeyError(f"odd {x}")' in str(caught.value.__cause__)


def test_an_exception_that_cannot_be_pickled_is_told(pool):
    def fail():
        error = RuntimeError("has a lock")
        error.lock = threading.Lock()
        raise error

    with pytest.raises(Exception, match="has a lock"):
        pool.apply(fail)


def test_what_cannot_be_pickled_is_an_error_of_the_result(pool):
    with pytest.raises(TypeError, match="lock"):
        pool.apply(id, (threading.Lock(),))
    with pytest.raises(TypeError, match="lock"):
        pool.apply(threading.Lock)
    with pytest.raises(TypeError, match="lock"):
        pool.map(id, [threading.Lock()])
    assert pool.apply(abs, (-1,)) == 1


def test_a_result_that_is_not_there(pool, gate):
    result = pool.apply_async(gate.wait, (5,))

    assert isinstance(result, AsyncResult)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError, match=r"after 0\.01 s"):
        result.get(0.01)
    result.wait(0.01)
    assert repr(result) == "<AsyncResult: waiting, 1 of 1 chunks missing>"
    gate.open()
    assert result.get() == 5
    assert result.successful()


def test_names_of_the_standard_library():
    from trayray.util import multiprocessing as ours

    assert ours.TimeoutError is multiprocessing.TimeoutError
    assert ours.JoinableQueue == multiprocessing.JoinableQueue


# ---------------------------------------------------------------- callbacks


def test_callbacks_run_in_the_pools_thread_before_the_result_is_ready(pool):
    called = []

    def note(value):
        called.append((value, threading.current_thread().name, result.ready(), result.get()))

    started = threading.Event()

    def note_when_started(value):
        started.wait(10)
        note(value)

    result = pool.map_async(abs, [-1, -2], callback=note_when_started)
    started.set()
    result.wait()

    assert called == [([1, 2], "trayray-pool", False, [1, 2])]


def test_the_callback_of_nothing(pool):
    called = []

    pool.map_async(abs, [], callback=called.append).wait()

    assert called == [[]]


def test_error_callbacks_get_the_first_error_once(pool):
    errors, values = [], []

    result = pool.map_async(int, ["1", "x", "y"], 1, values.append, errors.append)
    result.wait()

    assert [type(error) for error in errors] == [ValueError]
    assert values == []
    assert not result.successful()


def test_what_a_callback_raises_is_reported_and_the_pool_goes_on(pool, monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append((args.exc_type, args.thread.name)))

    def broken(value):
        raise ZeroDivisionError(value)

    assert pool.apply_async(abs, (-3,), callback=broken).get(30) == 3

    assert reported == [(ZeroDivisionError, "trayray-pool")]
    assert pool.apply(abs, (-4,)) == 4


def test_a_callback_may_submit_but_not_wait(pool):
    errors, results = [], []

    def go_on(value):
        results.append(pool.apply_async(abs, (value - 10,)))
        for wait in (results[0].get, pool.imap(abs, [1]).next):
            with pytest.raises(RuntimeError) as refused:
                wait()
            errors.append(refused.value)

    pool.apply_async(abs, (-3,), callback=go_on).wait()

    assert results[0].get(30) == 7
    assert ["callback" in str(error) for error in errors] == [True, True]


# ---------------------------------------------------------------- iterators


def test_imap_reads_its_input_as_results_are_taken(pool):
    read = itertools.count()
    results = pool.imap(abs, read, chunksize=2)

    assert [next(results) for _ in range(10)] == list(range(10))
    assert next(read) <= 10 + 2 * (2 * 2 + 1)  # two chunks ahead for each process


def test_imap_gives_errors_in_their_place_and_goes_on(pool):
    results = pool.imap(int, ["1", "x", "3"], chunksize=3)

    assert next(results) == 1
    with pytest.raises(ValueError, match="'x'"):
        next(results)
    assert list(results) == [3]
    assert list(results) == []


def test_imap_gives_what_the_input_raises_at_its_end(pool):
    def numbers():
        yield -1
        yield -2
        raise OSError("no more input")

    results = pool.imap(abs, numbers())

    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(OSError, match="no more input"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_imap_unordered_gives_what_is_there(pool, gate):
    def run(x):
        return gate.wait(x) if x == 0 else x

    results = pool.imap_unordered(run, range(10))

    assert sorted(next(results) for _ in range(9)) == list(range(1, 10))
    with pytest.raises(multiprocessing.TimeoutError, match="not there in time"):
        results.next(timeout=0.01)
    gate.open()
    assert results.next(timeout=30) == 0
    with pytest.raises(StopIteration):
        results.next()


# ---------------------------------------------------------------- processes


def test_a_process_that_dies_fails_its_work_and_is_replaced(pool):
    before = set(pool.map(lambda _: os.getpid(), range(8), chunksize=1))

    with pytest.raises(ActorDiedError, match="exit code 3"):
        pool.apply(os._exit, (3,))
    with pytest.raises(ActorDiedError):
        pool.apply(sys.exit, (4,))

    after = set(pool.map(lambda _: os.getpid(), range(8), chunksize=1))
    assert len(before) == len(after) == 2
    assert not before & after


def test_every_process_is_initialised(ray):
    def prepare(name, value):
        os.environ[name] = value

    with Pool(2, initializer=prepare, initargs=("POOL_TEST", "yes")) as prepared:
        assert prepared.map(lambda _: os.environ["POOL_TEST"], range(4), chunksize=1) == ["yes"] * 4


def test_an_initializer_that_fails_is_told_and_tried_again(ray, tmp_path):
    def prepare():
        if not (tmp_path / "there").exists():
            raise FileNotFoundError("nothing there")

    with Pool(1, initializer=prepare) as broken:
        with pytest.raises(ActorDiedError, match="nothing there"):
            broken.apply(abs, (1,))
        (tmp_path / "there").touch()
        assert broken.apply(abs, (-1,)) == 1


def test_a_process_does_its_share_only(ray):
    with Pool(1, maxtasksperchild=2) as fresh:
        pids = fresh.map(lambda _: os.getpid(), range(6), chunksize=1)

    assert [len(set(pids[i : i + 2])) for i in (0, 2, 4)] == [1, 1, 1]
    assert len(set(pids)) == 3


def test_options_reach_the_processes(ray):
    with Pool(1, ray_remote_args={"num_cpus": 2, "runtime_env": None}) as large:
        large.apply(abs, (1,))
        assert ray.available_resources()["CPU"] == 2
    large.join()
    eventually(lambda: ray.available_resources()["CPU"] == 4)


# ---------------------------------------------------------------- the end


def test_a_closed_pool_finishes_and_leaves_nothing(ray, gate):
    before = len(pool_threads())
    closing = Pool(1)
    results = [closing.apply_async(gate.wait, (i,)) for i in range(3)]
    lazily = closing.imap(abs, range(-20, 0))
    with pytest.raises(ValueError, match="still running"):
        closing.join()

    closing.close()
    closing.close()
    gate.open()
    closing.join()

    assert [result.get(0) for result in results] == [0, 1, 2]
    assert list(lazily) == list(range(20, 0, -1))
    assert len(pool_threads()) == before
    with pytest.raises(ValueError, match="not running"):
        closing.apply(abs, (1,))
    with pytest.raises(ValueError, match="not running"), closing:
        raise AssertionError("entered a closed pool")
    assert repr(closing) == "<Pool state=CLOSE processes=1>"


def test_a_terminated_pool_fails_what_is_not_done(ray, gate):
    ending = Pool(1)
    running, waiting = ending.apply_async(gate.wait, (1,)), ending.map_async(abs, [1, 2], 1)
    results = ending.imap(gate.wait, itertools.count())

    ending.terminate()
    ending.join()

    for result in (running, waiting):
        with pytest.raises(RuntimeError, match="terminated"):
            result.get(10)
    with pytest.raises(RuntimeError, match="terminated"):
        results.next(10)
    with pytest.raises(ValueError, match="not running"):
        ending.map(abs, [1])


def test_a_pool_that_nobody_holds_ends(ray):
    before = len(pool_threads())
    forgotten = Pool(1)
    result = forgotten.apply_async(abs, (-2,))
    del forgotten
    gc.collect()
    assert result.get(30) == 2  # the result holds it
    assert len(pool_threads()) == before + 1

    del result
    gc.collect()
    eventually(lambda: len(pool_threads()) == before)


# ---------------------------------------------------------------- bad input


def test_impossible_pools(ray):
    for number in (0, -1):
        with pytest.raises(ValueError, match="processes must be at least 1"):
            Pool(number)
        with pytest.raises(ValueError, match="maxtasksperchild must be at least 1"):
            Pool(1, maxtasksperchild=number)
    with pytest.raises(TypeError, match="processes must be an int"):
        Pool("2")  # type: ignore[arg-type]  # the misuse under test
    with pytest.raises(ValueError, match="the cluster has 4 CPUs"):
        Pool(5)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Pool(1, initializer="x")  # type: ignore[arg-type]  # the misuse under test
    with pytest.warns(UserWarning, match="context"), Pool(1, context=multiprocessing.get_context("spawn")) as made:
        assert made.apply(abs, (-1,)) == 1


def test_impossible_calls(pool):
    with pytest.raises(ValueError, match="chunksize must be at least 1"):
        pool.map(abs, [1], chunksize=0)
    with pytest.raises(ValueError, match="chunksize must be at least 1"):
        pool.imap(abs, [1], chunksize=0)
    with pytest.raises(TypeError, match="chunksize must be an int"):
        pool.imap_unordered(abs, [1], chunksize=1.5)
    with pytest.raises(TypeError, match="not iterable"):
        pool.map(abs, 3)
    with pytest.raises(TypeError, match="callback must be a callable, not int"):
        pool.starmap_async(pow, [(2, 3)], 1)
    with pytest.raises(TypeError, match="error_callback must be a callable, not str"):
        pool.apply_async(abs, (1,), error_callback="x")
    with pytest.raises(TypeError, match="not callable"):
        pool.apply(3)
    with pytest.raises(NotImplementedError, match="pickled"):
        pickle.dumps(pool)
