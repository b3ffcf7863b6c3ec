"""Remote generators in real processes: every kind of executor, every way to consume, failures, and what is freed."""

import asyncio
import gc
import os
import pathlib
import signal
import time

import pytest
import trio

from tests.processes.waiting import eventually


@pytest.fixture(scope="module")
def numbers(ray):
    @ray.remote
    def numbers(n):
        yield from range(n)

    return numbers


def test_trio_reads_two_streams_at_once(ray, numbers):
    async def main():
        found: list[list[int]] = [[], []]

        async def read(index: int, n: int) -> None:
            found[index] = [await ref async for ref in numbers.remote(n)]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, 0, 3)
            nursery.start_soon(read, 1, 5)
        return found

    assert trio.run(main) == [[0, 1, 2], [0, 1, 2, 3, 4]]


def test_async_task_yields(ray):
    """`@trayray.task` takes async generators, which may await asyncio and Trio code."""

    @ray.task
    async def both():
        await asyncio.sleep(0)
        yield "asyncio"
        await trio.lowlevel.checkpoint()
        yield "trio"

    assert [ray.get(ref) for ref in both.remote()] == ["asyncio", "trio"]
    assert ray.get(both.options(num_returns=2).remote()) == ["asyncio", "trio"]


def test_async_generator_is_refused_by_remote(ray):
    async def generator():
        yield 1

    with pytest.raises(ValueError, match=r"trayray\.task"):
        ray.remote(generator)


def test_fixed_and_dynamic_numbers_of_returns_of_actor_methods(ray):
    @ray.remote
    class Source:
        @ray.method(num_returns=2)
        def fixed(self):
            yield 1
            yield 2

        def stream(self, n):
            yield from range(n)

    source = Source.remote()
    assert ray.get(source.fixed.remote()) == [1, 2]
    refs = ray.get(source.stream.options(num_returns="dynamic").remote(3))
    assert ray.get(list(refs)) == [0, 1, 2]
    assert len(refs) == 3
    assert ray.get(source.stream.options(num_returns=3).remote(3)) == [0, 1, 2]


def test_too_many_values_for_a_fixed_number_is_an_error_in_every_reference(ray, numbers):
    for ref in numbers.options(num_returns=2).remote(3):
        with pytest.raises(ValueError, match="more values than num_returns=2"):
            ray.get(ref)


@pytest.mark.parametrize("word", ["streaming", "dynamic"])
def test_only_generators_stream(ray, word):
    """The mistake is told where it is made: at the decorator and at `options`."""

    def plain():
        return 1

    class Plain:
        def plain(self):
            return 1

    needs_generator = pytest.raises(ValueError, match="plain is not a generator function")
    with needs_generator:
        ray.remote(num_returns=word)(plain)
    with needs_generator:
        ray.remote(plain).options(num_returns=word)
    with needs_generator:
        ray.remote(Plain).remote().plain.options(num_returns=word)
    with needs_generator:
        ray.method(num_returns=word)(plain)


def test_an_item_that_cannot_be_pickled_ends_the_stream_with_the_reason(ray):
    closed = []

    @ray.remote
    def produce():
        try:
            yield 1
            yield (x for x in ())
        finally:
            closed.append(True)

    stream = produce.remote()
    assert ray.get(next(stream)) == 1
    with pytest.raises(TypeError, match="generator"):
        ray.get(next(stream))
    assert list(stream) == []


def test_completed_tells_of_the_end_and_leaves_the_exception_to_the_stream(ray):
    @ray.remote
    def fail():
        yield 1
        raise ValueError("no second")

    stream = fail.remote()
    assert ray.get(stream.completed()) is None
    assert ray.get(next(stream)) == 1
    with pytest.raises(ValueError, match="no second"):
        ray.get(next(stream))
    assert list(stream) == []


def test_failed_dependency_is_the_only_item(ray, numbers):
    @ray.remote
    def fail():
        raise KeyError("no number")

    items = list(numbers.remote(fail.remote()))
    assert len(items) == 1
    with pytest.raises(KeyError, match="no number"):
        ray.get(items[0])


def test_crash_without_retries_comes_after_what_was_yielded(ray):
    @ray.remote(max_retries=0)
    def crash():
        yield 1
        os._exit(1)

    stream = crash.remote()
    assert ray.get(next(stream)) == 1
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(next(stream))
    assert list(stream) == []
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(stream.completed())


def test_crash_of_a_dynamic_generator_is_the_value_of_its_one_reference(ray):
    @ray.remote(max_retries=0, num_returns="dynamic")
    def crash():
        yield 1
        os._exit(1)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(crash.remote())


def test_a_repeated_run_that_yields_less_is_an_error(ray, tmp_path):
    @ray.remote(max_retries=1)
    def shrinking():
        if (tmp_path / "crashed").exists():
            return
        yield 1
        yield 2
        (tmp_path / "crashed").touch()
        os._exit(1)

    items = list(shrinking.remote())
    assert [ray.get(ref) for ref in items[:2]] == [1, 2]
    with pytest.raises(ray.exceptions.StreamingGeneratorReplayInconsistentError, match="yielded 0 values, but 2"):
        ray.get(items[2])


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_generator_method_is_repeated_in_place(ray, tmp_path, kind):
    class Plain:
        def flaky(self, path: pathlib.Path):
            yield "a"
            if not path.exists():
                path.touch()
                raise ConnectionError("once")
            yield "b"

    class Async:
        async def flaky(self, path: pathlib.Path):
            for value in Plain().flaky(path):
                yield value

    actor = ray.remote(Plain if kind == "plain" else Async).remote()
    call = actor.flaky.options(max_task_retries=1, retry_exceptions=[ConnectionError])
    assert [ray.get(ref) for ref in call.remote(tmp_path / "failed")] == ["a", "b"]
    with pytest.raises(ConnectionError):
        ray.get(list(call.options(max_task_retries=0).remote(tmp_path / "again")))


@pytest.mark.parametrize("kind", ["task", "plain", "async", "threaded"])
def test_back_pressure_lets_the_generator_run_only_so_far_ahead(ray, tmp_path, kind):
    """The generator notes how far it is; with a limit of 2 it is never more than 2 values ahead of its consumer."""
    note = tmp_path / "produced"

    def say(path, number):
        path.with_suffix(".new").write_text(str(number))
        path.with_suffix(".new").replace(path)  # never seen half written

    def produce(path, n):
        for number in range(n):
            say(path, number + 1)
            yield number

    class Source:
        def stream(self, path, n):
            yield from produce(path, n)

    class AsyncSource:
        async def stream(self, path, n):
            for number in range(n):
                say(path, number + 1)
                yield number

    if kind == "task":
        call = ray.remote(produce)
    else:
        options = {"max_concurrency": 2} if kind == "threaded" else {}
        call = ray.remote(AsyncSource if kind == "async" else Source).options(**options).remote().stream
    stream = call.options(_generator_backpressure_num_objects=2).remote(note, 6)
    for taken in range(6):
        eventually(lambda taken=taken: note.exists() and note.read_text() == str(min(taken + 2, 6)))
        ready, _ = ray.wait([stream], timeout=10)
        assert ready == [stream]
        assert not ray.wait([stream.completed()], timeout=0)[0] or taken >= 4
        assert ray.get(next(stream)) == taken
        assert int(note.read_text()) <= taken + 3
    assert list(stream) == []


def test_a_generator_that_waits_for_its_consumer_lends_its_cpu(fresh_ray):
    """With one CPU, the consumer's own task can run while the generator waits for it."""
    from tests.conftest import init_arguments

    ray = fresh_ray
    ray.init(**init_arguments(num_cpus=1))

    @ray.remote(_generator_backpressure_num_objects=1)
    def produce(n):
        yield from range(n)

    @ray.remote
    def double(x):
        return 2 * x

    assert [ray.get(double.remote(ref), timeout=30) for ref in produce.remote(4)] == [0, 2, 4, 6]


def test_a_dropped_generator_with_back_pressure_runs_to_its_end(ray, tmp_path):
    @ray.remote(_generator_backpressure_num_objects=1)
    def produce():
        yield from range(5)
        (tmp_path / "ended").touch()

    stream = produce.remote()
    ray.wait([stream])
    del stream
    gc.collect()
    eventually((tmp_path / "ended").exists)


def test_two_threads_share_one_stream_without_losing_or_doubling_items(ray, numbers):
    import concurrent.futures

    stream = numbers.remote(300)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: [ray.get(ref) for ref in stream], range(4)))
    assert sorted(value for part in parts for value in part) == list(range(300))


def test_large_items_are_freed_as_they_are_consumed(ray):
    import numpy as np

    size = 8 * 1024 * 1024  # thirty of them do not fit into the store at once

    @ray.remote(_generator_backpressure_num_objects=2)
    def produce():
        for number in range(30):
            yield np.full(size // 8, float(number))

    for number, ref in enumerate(produce.remote()):
        assert ray.get(ref)[0] == number
        del ref


def test_references_in_items_stay_alive(ray):
    @ray.remote
    def produce():
        for number in range(3):
            yield [ray.put({"number": number})]

    boxes = [ray.get(ref) for ref in produce.remote()]
    assert [ray.get(box[0])["number"] for box in boxes] == [0, 1, 2]


def test_generators_tell_their_state(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def produce():
        yield 1
        while not gate.exists():
            time.sleep(0.01)

    stream = produce.remote()
    ray.wait([stream])
    assert stream.next_ready()
    assert not stream.is_finished()
    assert ray.get(next(stream)) == 1
    assert not stream.next_ready()
    assert stream._next_sync(timeout_s=0.01).is_nil()
    gate.touch()
    ray.get(stream.completed())
    assert stream.is_finished()


def test_actor_that_dies_ends_its_streams(ray):
    @ray.remote
    class Source:
        def stream(self):
            yield 1
            os._exit(1)

    stream = Source.remote().stream.remote()
    assert ray.get(next(stream)) == 1
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(next(stream))
    assert list(stream) == []


def test_streams_end_with_the_cluster(fresh_ray):
    from tests.conftest import init_arguments

    ray = fresh_ray
    ray.init(**init_arguments(num_cpus=1))

    @ray.remote
    def endless():
        number = 0
        while True:
            yield number
            number += 1
            time.sleep(0.01)

    stream = endless.remote()
    next(stream)
    ray.shutdown()
    with pytest.raises(ray.exceptions.RaySystemError):
        for ref in stream:
            ray.get(ref)


# --- who waits for whom ---


def test_a_generator_that_is_dropped_before_it_runs_does_not_wait_for_its_consumer(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote(_generator_backpressure_num_objects=1)
    def produce():
        eventually(gate.exists)
        yield from range(5)
        (tmp_path / "ended").touch()

    stream = produce.remote()
    del stream
    gc.collect()
    gate.touch()
    eventually((tmp_path / "ended").exists)


def test_what_is_taken_between_a_crash_and_the_next_run_counts_as_taken(ray, tmp_path):
    """The second run repeats two values that were not taken when it was ordered, but are when it yields them."""
    first, second, gate = tmp_path / "first", tmp_path / "second", tmp_path / "gate"

    @ray.remote(_generator_backpressure_num_objects=2)
    def produce():
        if first.exists():
            second.touch()
            eventually(gate.exists)
        for number in range(5):
            yield number
            if number == 0 and not first.exists():
                first.with_suffix(".new").write_text(str(os.getpid()))
                first.with_suffix(".new").replace(first)

    stream = produce.remote()
    eventually(lambda: stream._stream.received == 2)
    os.kill(int(first.read_text()), signal.SIGKILL)
    eventually(second.exists)
    taken = [ray.get(next(stream)), ray.get(next(stream))]
    gate.touch()
    eventually(stream.next_ready)
    assert taken + [ray.get(ref) for ref in stream] == list(range(5))


def test_a_method_that_is_repeated_in_place_knows_what_was_taken_before(ray, tmp_path):
    gate, failed = tmp_path / "gate", tmp_path / "failed"

    @ray.remote
    class Source:
        def stream(self):
            for number in range(6):
                if number == 4 and not failed.exists():
                    eventually(gate.exists)
                    failed.touch()
                    raise ConnectionError("once")
                yield number

    call = Source.remote().stream
    options = {"max_task_retries": 1, "retry_exceptions": True, "_generator_backpressure_num_objects": 1}
    stream = call.options(**options).remote()
    taken = [ray.get(next(stream)) for _ in range(4)]
    gate.touch()
    eventually(stream.next_ready)
    assert taken + [ray.get(ref) for ref in stream] == list(range(6))


def test_a_plain_generator_of_an_async_actor_leaves_turns_to_others(ray):
    """Its values arrive while it runs, and other calls run while it waits for its consumer."""

    @ray.remote
    class Mixed:
        def stream(self, n):
            yield from range(n)

        async def answer(self):
            return "answer"

    mixed = Mixed.remote()
    stream = mixed.stream.options(_generator_backpressure_num_objects=2).remote(6)
    assert ray.get(next(stream), timeout=30) == 0
    assert ray.get(mixed.answer.remote(), timeout=30) == "answer"
    assert [ray.get(ref) for ref in stream] == [1, 2, 3, 4, 5]


def test_an_async_generator_that_never_awaits_streams_and_leaves_turns_to_others(ray):
    @ray.remote
    class Busy:
        def __init__(self):
            self.stopped = False

        async def stream(self):
            while not self.stopped:
                yield None

        async def stop(self):
            self.stopped = True

    busy = Busy.remote()
    stream = busy.stream.remote()
    assert ray.get(next(stream), timeout=30) is None
    ray.get(busy.stop.remote(), timeout=30)
    ray.get(stream.completed(), timeout=30)


# --- fixed numbers of returns ---


def generating_calls(ray):
    """One call a kind of executor: n values, or an error after so many."""

    def plain(n, error_after=None):
        for number in range(n):
            if number == error_after:
                raise KeyError(number)
            yield number

    async def asynchronous(n, error_after=None):
        for number in range(n):
            if number == error_after:
                raise KeyError(number)
            await asyncio.sleep(0)
            yield number

    class Source:
        stream = staticmethod(plain)

    class AsyncSource:
        stream = staticmethod(asynchronous)

    return {
        "task": ray.remote(plain),
        "async task": ray.task(asynchronous),
        "actor": ray.remote(Source).remote().stream,
        "threaded actor": ray.remote(Source).options(max_concurrency=2).remote().stream,
        "async actor": ray.remote(AsyncSource).remote().stream,
    }


@pytest.mark.parametrize("kind", ["task", "async task", "actor", "threaded actor", "async actor"])
def test_fixed_numbers_of_returns_mean_the_same_everywhere(ray, kind):
    call = generating_calls(ray)[kind]
    assert ray.get(call.options(num_returns=3).remote(3)) == [0, 1, 2]
    assert ray.get(call.options(num_returns=1).remote(1)) == 0
    assert call.options(num_returns=0).remote(3) is None
    first, *missing = call.options(num_returns=3).remote(3, error_after=1)
    assert ray.get(first) == 0
    for ref in missing:
        with pytest.raises(KeyError):
            ray.get(ref)
    first, missing = call.options(num_returns=2).remote(1)
    assert ray.get(first) == 0
    with pytest.raises(ValueError, match="yielded 1 values, but num_returns=2"):
        ray.get(missing)
    for ref in call.options(num_returns=2).remote(3):
        with pytest.raises(ValueError, match="more values than num_returns=2"):
            ray.get(ref)


# --- what is given back ---


def store_is_empty(ray):
    gc.collect()
    return ray.available_resources()["object_store_memory"] == ray.cluster_resources()["object_store_memory"]


def test_results_of_a_call_that_fails_half_way_are_given_back(fresh_ray, tmp_path):
    from tests.conftest import init_arguments

    ray = fresh_ray
    ray.init(**init_arguments(num_cpus=1))
    large = 300_000

    @ray.remote(num_returns=2)
    def too_many():
        for _ in range(3):
            yield bytes(large)

    @ray.remote(num_returns=2)
    def not_a_value():
        return bytes(large), (x for x in ())

    @ray.remote(num_returns=2, max_retries=1, retry_exceptions=True)
    def flaky():
        yield bytes(large)
        if not (tmp_path / "failed").exists():
            (tmp_path / "failed").touch()
            raise ConnectionError("once")
        yield bytes(large)

    for ref in [*too_many.remote(), *not_a_value.remote()]:
        with pytest.raises((ValueError, TypeError)):
            ray.get(ref)
    assert [len(value) for value in ray.get(flaky.remote())] == [large, large]
    del ref
    eventually(lambda: store_is_empty(ray))


def test_what_a_worker_stored_and_could_not_tell_of_is_given_back(fresh_ray):
    from tests.conftest import init_arguments

    ray = fresh_ray
    ray.init(**init_arguments(num_cpus=1))

    @ray.remote(max_retries=0)
    def dies_before_it_answers():
        from trayray.wire.serialization import serialize
        from trayray.worker.current import core_worker, running

        yield bytes(300_000)
        objects = core_worker().objects
        objects.seal([objects.write(serialize(bytes(300_000)))], running.get().owner)
        os.kill(os.getpid(), signal.SIGKILL)

    stream = dies_before_it_answers.remote()
    value, error = stream
    assert ray.get(value) == bytes(300_000)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(error)
    del value, stream
    eventually(lambda: store_is_empty(ray))


def test_next_async_gives_up_after_a_while(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def produce():
        eventually(gate.exists)
        yield 1

    async def consume():
        stream = produce.remote()
        assert (await stream._next_async(timeout_s=0.01)).is_nil()
        gate.touch()
        assert await (await stream._next_async(timeout_s=30)) == 1
        with pytest.raises(StopAsyncIteration):
            await stream._next_async()
        gate.unlink()

    asyncio.run(consume())
    trio.run(consume)
