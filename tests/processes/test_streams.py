"""Streams between callers and methods in real processes: to and fro, back-pressure, what is carried."""

import gc
import threading

import numpy as np
import pytest
import trio

import trayray
from tests.processes.talkers import MIB, Plain, Talker, echo_task, plain_task, stubborn_task
from tests.processes.waiting import eventually


@pytest.fixture(scope="module")
def talker(ray):
    return Talker.remote()


@pytest.fixture(scope="module")
def plain(ray):
    return Plain.remote()


@pytest.fixture(scope="module")
def threaded(ray):
    return Plain.options(max_concurrency=4).remote()


@pytest.fixture(scope="module")
def actors(talker, plain, threaded):
    return {"talker": talker, "plain": plain, "threaded": threaded}


@pytest.fixture(params=["talker", "plain", "threaded"])
def echoing(actors, request):
    return actors[request.param]


# ---------------------------------------------------------------- to and fro


async def test_items_come_back_in_order(echoing):
    async with trayray.open_stream(echoing.echo) as stream:
        for number in range(50):
            await stream.send(number)
            assert await stream.receive() == number
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_all, stream, range(200))
            assert [item async for item in stream] == list(range(200))
        with pytest.raises(RuntimeError, match="has not ended yet"):
            _ = stream.result
    assert stream.result == 250


async def _send_all(stream, items):
    for item in items:
        await stream.send(item)
    await stream.send_eof()


async def test_either_end_may_close_its_half_first(talker, plain):
    async with trayray.open_stream(talker.half_close, 3) as stream:
        assert [item async for item in stream] == [0, 1, 2]
        with pytest.raises(trio.EndOfChannel):
            await stream.receive()
        await stream.send(7)
        await stream.send_eof()
        await stream.send_eof()
        with pytest.raises(trio.ClosedResourceError, match="send_eof"):
            await stream.send(8)
    assert stream.result == [7]
    async with trayray.open_stream(plain.first) as stream:
        assert [item async for item in stream] == []
        await stream.send(5)
        await stream.send_eof()
    assert stream.result == 5


async def test_end_said_before_the_method_has_begun(ray):
    actor = Talker.remote()
    async with trayray.open_stream(actor.echo) as stream:
        await stream.send_eof()
        assert [item async for item in stream] == []
    assert stream.result == 0


async def test_what_the_method_still_sends_after_the_end_is_dropped(talker):
    async with trayray.open_stream(talker.pour, 300) as stream:
        assert await stream.receive() == 0
        await stream.send_eof()
    assert stream.result == "poured"


async def test_method_that_returns_ends_both_directions(talker):
    async with trayray.open_stream(talker.pour, 2) as stream:
        assert [item async for item in stream] == [0, 1]
        with pytest.raises(trio.BrokenResourceError, match="has returned"):
            await stream.send(1)
    assert stream.result == "poured"


async def test_many_streams_at_once(talker):
    found = {}

    async def converse(number):
        async with trayray.open_stream(talker.echo) as stream:
            for item in range(20):
                await stream.send((number, item))
                found.setdefault(number, []).append(await stream.receive())

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(converse, number)
    assert found == {number: [(number, item) for item in range(20)] for number in range(50)}


async def test_a_plain_actor_serves_others_afterwards(plain):
    """Calls that come while a method waits for its stream are not lost, and not executed before their turn."""
    async with trayray.open_stream(plain.echo) as stream:
        await stream.send(1)
        assert await stream.receive() == 1
        later = plain.thread.remote()
        assert trayray.wait([later], timeout=0.1)[0] == []
        await stream.send(2)
        assert await stream.receive() == 2
        await stream.send_eof()
    assert await later == "MainThread"


async def test_asyncio_code_may_time_out_and_gather(talker):
    async with trayray.open_stream(talker.asyncio_ways) as stream:
        assert await stream.receive() == "ready"
        await stream.send(1)
        await stream.send(2)
        found = [await stream.receive() for _ in range(2)]
        numbers, array = sorted(found, key=len)
        assert numbers == [1, 2]
        assert array.sum() == 7 * MIB
        await stream.send(3)
        await stream.send_eof()
    assert stream.result == 3


async def test_several_tasks_share_an_end(talker):
    """Each item is received once, and what was sent by several is complete."""
    found = []

    async def take(stream):
        found.extend([item async for item in stream])

    async with trayray.open_stream(talker.echo) as stream:
        async with trio.open_nursery() as takers:
            for _ in range(3):
                takers.start_soon(take, stream)
            async with trio.open_nursery() as senders:
                for number in range(4):
                    senders.start_soon(_send_some, stream, range(number * 100, number * 100 + 50))
            await stream.send_eof()
    assert sorted(found) == sorted(number * 100 + item for number in range(4) for item in range(50))


async def _send_some(stream, items):
    for item in items:
        await stream.send(item)


# ---------------------------------------------------------------- remote functions


@pytest.mark.parametrize("function", [echo_task, plain_task])
async def test_remote_functions(ray, function):
    async with trayray.open_stream(function) as stream:
        for number in range(50):
            await stream.send(number)
            assert await stream.receive() == number
        await stream.send(np.ones(MIB))
        assert (await stream.receive()).sum() == MIB
        await stream.send_eof()
    assert stream.result == 51


async def test_remote_function_ends_with_the_block(ray, tmp_path):
    note = tmp_path / "note"
    async with trayray.open_stream(stubborn_task, str(note)) as stream:
        assert await stream.receive() == "there"
    assert note.read_text() == "ended"


async def test_remote_function_is_not_retried(ray, tmp_path):
    note = tmp_path / "note"
    with pytest.raises(ValueError, match="not tried again"):
        async with trayray.open_stream(stubborn_task, str(note)) as stream:
            assert await stream.receive() == "there"
            await stream.send(1)
            await stream.receive()
    assert note.read_text() == "ended"


# ---------------------------------------------------------------- back-pressure


@pytest.mark.parametrize("limit", [1, 4, 16])
async def test_caller_sends_no_more_than_the_method_has_room_for(talker, limit):
    method = talker.hold_still if limit == 16 else talker.hold_still.options(max_buffered=limit)
    sent = 0
    async with trayray.open_stream(method) as stream:
        with trio.move_on_after(0.5):
            while True:
                await stream.send(sent)
                sent += 1
        assert sent == limit
        await talker.open_gate.remote()
        await stream.send(sent)
        await stream.send_eof()
    assert stream.result == list(range(limit + 1))


async def test_method_sends_no_more_than_the_caller_has_room_for(talker):
    async with trayray.open_stream(talker.pour.options(max_buffered=5), 20) as stream:
        while await talker.how_many_sent.remote() != 5:
            pass
        assert await talker.how_many_sent.remote() == 5
        assert [item async for item in stream] == list(range(20))
        await stream.send_eof()


async def test_limit_of_a_decorated_method(ray):
    @trayray.remote
    class Still:
        @trayray.method(max_buffered=2)
        async def hold(self, stream):
            await trio.sleep_forever()

    actor = Still.remote()
    sent = 0
    async with trayray.open_stream(actor.hold) as stream:
        with trio.move_on_after(1):
            while True:
                await stream.send(0)
                sent += 1
    assert sent == 2


async def test_cancelled_send_and_receive_lose_nothing(talker):
    async with trayray.open_stream(talker.hold_still.options(max_buffered=1)) as stream:
        await stream.send(1)
        with trio.move_on_after(0.05) as scope:
            await stream.send(2)
        assert scope.cancelled_caught
        with trio.move_on_after(0.05) as scope:
            await stream.receive()
        assert scope.cancelled_caught
        await talker.open_gate.remote()
        await stream.send(3)
        await stream.send_eof()
    assert stream.result == [1, 3]


# ---------------------------------------------------------------- values


async def test_large_values_both_ways(echoing):
    array = np.arange(MIB // 4, dtype=np.float64)
    async with trayray.open_stream(echoing.echo) as stream:
        for factor in range(5):
            await stream.send(array * factor)
            assert (await stream.receive() == array * factor).all()


async def test_references_inside_items(ray, talker):
    """The receiver may keep them; their owner lets go when everybody has."""
    from trayray.worker.current import core_worker

    ref = ray.put(np.ones(MIB))
    async with trayray.open_stream(talker.keep) as stream:
        await stream.send([ref])
        (back,) = await stream.receive()
        assert back is ref
    del back
    lent = core_worker().references.lent
    object_id = ref.binary()
    del ref
    gc.collect()
    (kept,) = await talker.read_kept.remote()
    assert kept.sum() == MIB
    assert object_id in lent
    del kept
    await talker.drop_kept.remote()
    await trio.to_thread.run_sync(eventually, lambda: object_id not in lent)


async def test_references_of_a_third_process(ray, talker, plain):
    """The worker at the other end asks the owner in time."""

    @ray.remote(num_cpus=0)
    class Maker:
        def make(self):
            return [ray.put("theirs")]

    maker = Maker.remote()
    refs = await maker.make.remote()
    async with trayray.open_stream(talker.echo) as stream:
        await stream.send(refs)
        del refs
        gc.collect()
        (again,) = await stream.receive()
        assert await again == "theirs"


async def test_items_that_nobody_takes_are_freed(ray, talker):
    from trayray.worker.current import core_worker

    owned = core_worker().objects.owned
    gc.collect()
    before = set(owned)  # what earlier tests had may go at any moment
    async with trayray.open_stream(talker.echo, 3) as stream:
        await stream.send(np.zeros(MIB))
        await stream.receive()
        await trio.to_thread.run_sync(eventually, lambda: owned - before)
    del stream
    gc.collect()
    await trio.to_thread.run_sync(eventually, lambda: not owned - before)


async def test_references_in_items_that_nobody_takes_are_returned(ray, talker):
    from trayray.worker.current import core_worker

    lent = core_worker().references.lent
    ref = ray.put(1)
    async with trayray.open_stream(talker.hold_still) as stream:
        await stream.send([ref])
        assert ref.binary() in lent
    await trio.to_thread.run_sync(eventually, lambda: ref.binary() not in lent)


async def test_what_cannot_be_pickled_is_told_to_who_sends_it(talker):
    async with trayray.open_stream(talker.echo.options(max_buffered=1)) as stream:
        for _ in range(3):
            with pytest.raises(TypeError, match="pickle"):
                await stream.send(threading.Lock())
        await stream.send(1)
        assert await stream.receive() == 1
