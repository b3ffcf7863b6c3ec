"""The ends of streams in real processes: errors, blocks that are left early, deaths."""

import os
import pickle
import signal

import pytest
import trio

import trayray
from tests.processes.talkers import Plain, Talker
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


# ---------------------------------------------------------------- errors


async def test_error_of_the_method_comes_after_what_it_has_sent_and_once(talker):
    with pytest.raises(trio.BrokenResourceError, match="has failed, which was raised before"):
        async with trayray.open_stream(talker.fail_after, 3) as stream:
            assert [await stream.receive() for _ in range(3)] == [0, 1, 2]
            with pytest.raises(LookupError, match="after 3") as caught:
                await stream.receive()
            await stream.receive()
    error = caught.value
    assert type(error) is LookupError
    assert "fail_after" in error.__notes__[0]
    assert isinstance(error.__cause__, trayray.exceptions.RayTaskError)
    with pytest.raises(RuntimeError, match="has failed"):
        _ = stream.result


async def test_error_leaves_the_block(talker):
    with pytest.raises(LookupError, match="after 1"):
        async with trayray.open_stream(talker.fail_after, 1) as stream:
            async for item in stream:
                assert item == 0


async def test_error_nobody_has_met_is_raised_at_the_end(talker):
    with pytest.raises(LookupError, match="after 0"):
        async with trayray.open_stream(talker.fail_after, 0) as stream:
            await stream.send_eof()


async def test_swallowed_error_is_not_raised_again(talker):
    async with trayray.open_stream(talker.fail_after, 0) as stream:
        with pytest.raises(LookupError):
            await stream.receive()
    with pytest.raises(RuntimeError, match="has failed"):
        _ = stream.result


async def test_methods_without_a_stream_are_refused(talker, plain):
    for method, why in [
        (talker.none, "it has no parameter for one"),
        (talker.number, "its first parameter is something else"),
        (talker.generator, "it is a generator"),
        (talker.wrong_kind, "a BlockingStream, which would block"),
        (plain.wrong_kind, "it is a plain `def`"),
    ]:
        with pytest.raises(TypeError, match=why):
            async with trayray.open_stream(method):
                pass
    with pytest.raises(TypeError, match="missing a required argument: 'count'"):
        async with trayray.open_stream(talker.pour):
            pass
    with pytest.raises(TypeError, match="a remote function or an actor's method"):
        async with trayray.open_stream(print):
            pass


async def test_plain_method_of_an_async_actor(talker):
    with pytest.raises(TypeError, match="make it `async def`"):
        async with trayray.open_stream(talker.plain_method) as stream:
            await stream.receive()


async def test_streams_do_not_travel(talker):
    async with trayray.open_stream(talker.echo) as stream:
        with pytest.raises(TypeError, match="it belongs to one call"):
            pickle.dumps(stream)


# ---------------------------------------------------------------- early ends


@pytest.mark.parametrize(
    ("kind", "method", "text"),
    [
        ("talker", "stay", "asyncio clean-up"),
        ("talker", "stay_in_trio", "trio clean-up"),
        ("talker", "wait_for_item", "cancelled"),
        ("plain", "stay", "clean-up"),
        ("threaded", "stay", "clean-up"),
    ],
)
async def test_leaving_early_ends_the_method_first(actors, tmp_path, kind, method, text):
    note = tmp_path / "note"
    async with trayray.open_stream(getattr(actors[kind], method), str(note)) as stream:
        assert await stream.receive() == "there"
    assert note.read_text() == text
    with pytest.raises(RuntimeError, match="left early"):
        _ = stream.result


async def test_method_that_waits_for_room_ends_too(plain, tmp_path):
    note = tmp_path / "note"
    async with trayray.open_stream(plain.pour, str(note)) as stream:
        assert await stream.receive() == 0
    assert note.read_text() == "TaskCancelledError"


async def test_exception_of_the_block_ends_the_method_and_is_raised_as_it_is(talker, tmp_path):
    note = tmp_path / "note"
    with pytest.raises(KeyError, match="mine"):
        async with trayray.open_stream(talker.stay, str(note)) as stream:
            await stream.receive()
            raise KeyError("mine")
    assert note.exists()


async def test_deadline_around_the_block(talker, tmp_path):
    note = tmp_path / "note"
    with trio.move_on_after(0.3) as scope:
        async with trayray.open_stream(talker.stay_in_trio, str(note)) as stream:
            await stream.receive()
            await stream.receive()
    assert scope.cancelled_caught
    assert note.exists()


async def test_killed_actor(ray):
    actor = Talker.remote()
    pid = await actor.pid.remote()
    with pytest.raises(trayray.exceptions.ActorDiedError, match="SIGKILL"):
        async with trayray.open_stream(actor.echo) as stream:
            await stream.send(1)
            assert await stream.receive() == 1
            os.kill(pid, signal.SIGKILL)
            await stream.receive()


async def test_stream_is_never_retried(ray):
    actor = Talker.options(max_restarts=1, max_task_retries=3).remote()
    pid = await actor.pid.remote()
    with pytest.raises(trayray.exceptions.ActorUnavailableError):
        async with trayray.open_stream(actor.echo) as stream:
            await stream.send(1)
            await stream.receive()
            os.kill(pid, signal.SIGKILL)
            await stream.receive()
    assert await actor.pid.remote() != pid
    async with trayray.open_stream(actor.echo) as stream:
        await stream.send(2)
        assert await stream.receive() == 2


@pytest.mark.parametrize("kind", ["talker", "plain", "threaded"])
async def test_method_ends_when_its_caller_is_killed(actors, tmp_path, kind):
    note = tmp_path / "note"
    caller = Talker.remote()
    pid = await caller.pid.remote()
    with pytest.raises(trayray.exceptions.ActorDiedError):
        async with trayray.open_stream(caller.call_other, actors[kind], str(note)) as stream:
            assert await stream.receive() == 1
            assert not note.exists()
            os.kill(pid, signal.SIGKILL)
            await stream.receive()
    await trio.to_thread.run_sync(eventually, note.exists)


async def test_method_calls_another_and_both_end(ray, talker, tmp_path):
    note = tmp_path / "note"
    caller = Talker.remote()
    async with trayray.open_stream(caller.call_other, talker, str(note)) as stream:
        assert await stream.receive() == 1
    assert note.read_text() == "asyncio clean-up"


async def test_concurrency_counts_a_stream_as_one_call(ray):
    actor = Talker.options(max_concurrency=2).remote()
    async with trayray.open_stream(actor.echo) as first, trayray.open_stream(actor.echo) as second:
        for stream in first, second:
            await stream.send(1)
            await stream.receive()
        third = actor.pid.remote()
        assert trayray.wait([third], timeout=0.1)[0] == []
    assert await third
