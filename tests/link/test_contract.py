"""What every carrier of links promises (`trayray.link.port`), asked of each of them."""

import os
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing

from trayray.core.loan_messages import Borrowed
from trayray.link.grpc import accept_link, connect_grpc_link
from trayray.link.grpc_edge import open_channel, serve_grpc
from trayray.link.memory import memory_link_pair
from trayray.link.port import Link, LinkClosed
from trayray.link.unix import UnixLink
from trayray.wire.frames import FrameError
from trayray.wire.peer_messages import PeerMessage, Want
from trayray.wire.proto.trayray.v1 import RayletBase

PATIENCE = 30.0


class Carrier(NamedTuple):
    """Makes links in pairs and puts bytes on the wire behind a link's back."""

    pair: Callable[[], Awaitable[tuple[Link[Any], Link[Any]]]]
    inject: Callable[[Link[Any], bytes], None]


@asynccontextmanager
async def unix_carrier() -> AsyncGenerator[Carrier]:
    async def pair() -> tuple[Link[Any], Link[Any]]:
        left, right = socket.socketpair()
        return UnixLink(left, PeerMessage), UnixLink(right, PeerMessage)

    yield Carrier(pair, lambda link, data: os.write(link.fileno(), data))


@asynccontextmanager
async def memory_carrier() -> AsyncGenerator[Carrier]:
    forged: list[bytes] = []

    def route(frame: bytes, deliver: Callable[[bytes], None]) -> None:
        deliver(forged.pop() if forged else frame)

    async def pair() -> tuple[Link[Any], Link[Any]]:
        return memory_link_pair(PeerMessage, PeerMessage, route)

    def inject(link: Link[Any], data: bytes) -> None:
        forged.append(data)
        link.send([])

    yield Carrier(pair, inject)


class Accepting(RayletBase):
    def __init__(self) -> None:
        self.accepted, self.taken = trio.open_memory_channel[Link[Any]](0)

    def open_link(self, messages: Any) -> Any:
        return accept_link(PeerMessage, self.serve)

    async def serve(self, link: Link[Any]) -> None:
        await self.accepted.send(link)
        await trio.sleep_forever()  # the test closes it


@asynccontextmanager
async def grpc_carrier() -> AsyncGenerator[Carrier]:
    service = Accepting()

    async def pair() -> tuple[Link[Any], Link[Any]]:
        connected = await connect_grpc_link(channel, "/trayray.v1.Raylet/OpenLink", PeerMessage)
        return connected, await service.taken.receive()

    def inject(link: Any, data: bytes) -> None:
        link._outgoing.append(data)
        link.send([])

    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_grpc, [service], "token")
        async with open_channel("127.0.0.1", port, "token") as channel:
            yield Carrier(pair, inject)
        nursery.cancel_scope.cancel()


@pytest.fixture(params=[unix_carrier, memory_carrier, grpc_carrier], ids=["unix", "memory", "grpc"])
async def carrier(request: pytest.FixtureRequest) -> AsyncGenerator[Carrier]:
    """The carrier under test; its links run until the end of the test and are closed then."""
    links: list[Link[Any]] = []
    async with request.param() as made:
        async with trio.open_nursery() as nursery:

            async def pair() -> tuple[Link[Any], Link[Any]]:
                ends = await made.pair()
                for end in ends:
                    links.append(end)
                    nursery.start_soon(end.run)
                return ends

            yield Carrier(pair, made.inject)
            for link in links:
                link.close()
            nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
        assert not nursery.cancel_scope.cancelled_caught, "the run() of a closed link goes on"


async def receive_all(link: Link[Any], count: int) -> list[Any]:
    messages: list[Any] = []
    with trio.fail_after(PATIENCE):
        while len(messages) < count:
            more = await link.receive()
            assert more, f"the link ended after {len(messages)} of {count} messages"
            messages += more
    return messages


async def receive(link: Link[Any]) -> list[Any]:
    with trio.fail_after(PATIENCE):
        return await link.receive()


async def test_order_is_kept_both_ways(carrier):
    near, far = await carrier.pair()
    for number in range(0, 300, 3):
        near.send([Borrowed(number), Borrowed(number + 1), Borrowed(number + 2)])
        far.send([Borrowed(-number)])
    assert await receive_all(far, 300) == [Borrowed(number) for number in range(300)]
    assert await receive_all(near, 100) == [Borrowed(-number) for number in range(0, 300, 3)]


async def test_a_message_is_a_copy(carrier):
    near, far = await carrier.pair()
    sent = Want([b"one"])
    near.send([sent])
    sent.objects.append(b"two")
    assert await receive(far) == [Want([b"one"])]


async def test_more_than_any_buffer_both_ways_at_once(carrier):
    near, far = await carrier.pair()
    batch = [Want([bytes([number]) * 1_000_000]) for number in range(10)]
    for end in (near, far):
        end.send(batch)
        end.send([Borrowed(1)])
    received: dict[Link[Any], list[Any]] = {}

    async def collect(end: Link[Any]) -> None:
        received[end] = await receive_all(end, 11)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, near)
        nursery.start_soon(collect, far)
    assert received == {near: [*batch, Borrowed(1)], far: [*batch, Borrowed(1)]}


async def test_an_empty_batch_is_not_the_end(carrier):
    near, far = await carrier.pair()
    near.send([])
    near.send([Borrowed(1)])
    assert await receive(far) == [Borrowed(1)]


async def test_sending_from_other_threads(carrier):
    near, far = await carrier.pair()

    def send_some(thread: int) -> None:
        for number in range(200):
            near.send([Want([b"%d" % thread, b"%d" % number])])

    async with trio.open_nursery() as nursery:
        for thread in range(3):
            nursery.start_soon(trio.to_thread.run_sync, send_some, thread)
        send_some(3)
        received = await receive_all(far, 800)
    for thread in range(4):
        numbers = [int(message.objects[1]) for message in received if int(message.objects[0]) == thread]
        assert numbers == list(range(200))


async def test_what_one_thread_sent_is_not_overtaken_by_what_another_sends_afterwards(carrier):
    near, far = await carrier.pair()
    for number in range(0, 100, 2):
        sending = threading.Thread(target=near.send, args=([Borrowed(number)],))
        sending.start()
        sending.join()
        near.send([Borrowed(number + 1)])
    assert await receive_all(far, 100) == [Borrowed(number) for number in range(100)]


async def test_cancelling_receive_loses_nothing(carrier):
    near, far = await carrier.pair()
    received: list[Any] = []
    for number in range(20):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def take() -> None:
                    received.extend(await far.receive())

                nursery.start_soon(take)
                await trio.testing.wait_all_tasks_blocked()
                near.send([Borrowed(number)])
                scope.cancel()
    received += await receive_all(far, 20 - len(received)) if len(received) < 20 else []
    assert received == [Borrowed(number) for number in range(20)]


async def test_what_was_sent_before_close_is_delivered(carrier):
    near, far = await carrier.pair()
    near.send([Borrowed(1)])
    near.send([Borrowed(2)])
    near.close()
    assert await receive_all(far, 2) == [Borrowed(1), Borrowed(2)]
    assert await receive(far) == []


async def test_close_ends_both_directions_for_both_sides(carrier):
    near, far = await carrier.pair()
    assert not near.closed
    assert not far.closed
    near.close()
    assert near.closed
    with pytest.raises(LinkClosed):
        near.send([Borrowed(1)])
    assert await receive(near) == []
    assert await receive(far) == []
    assert await receive(far) == []
    with pytest.raises(LinkClosed):
        far.send([Borrowed(1)])
    assert far.closed


async def test_close_may_be_repeated_and_done_by_both(carrier):
    near, far = await carrier.pair()
    near.close()
    far.close()
    near.close()
    far.close()
    assert await receive(near) == []
    assert await receive(far) == []


@pytest.mark.parametrize("in_thread", [False, True], ids=["in-loop", "in-thread"])
@pytest.mark.parametrize("whose", ["own", "peer"])
async def test_close_while_receive_waits(carrier, whose, in_thread):
    near, far = await carrier.pair()
    received: list[Any] = []

    async def wait() -> None:
        received.append(await receive(near))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        closing = near if whose == "own" else far
        if in_thread:
            await trio.to_thread.run_sync(closing.close)
        else:
            closing.close()
    assert received == [[]]


async def test_close_with_unread_messages(carrier):
    near, far = await carrier.pair()
    far.send([Borrowed(1)])
    near.send([Borrowed(2)])
    near.close()
    assert await receive(far) == [Borrowed(2)]
    assert await receive(far) == []


@pytest.mark.parametrize("garbage", [b"\x05\x00\x00\x00hello", b"\xff\xff\xff\xffhello"], ids=["body", "length"])
async def test_garbage_is_a_frame_error_of_the_receiver(carrier, garbage):
    near, far = await carrier.pair()
    near.send([Borrowed(1)])
    assert await receive(far) == [Borrowed(1)]
    carrier.inject(near, garbage)
    with pytest.raises(FrameError):
        await receive(far)


async def test_a_hundred_links_at_once(carrier):
    answers: dict[int, list[Any]] = {}

    async def echo(end: Link[Any]) -> None:
        while messages := await end.receive():
            end.send(messages)

    async def converse(number: int) -> None:
        near, far = await carrier.pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, far)
            for turn in range(3):
                near.send([Borrowed(1000 * number + turn)])
                answers.setdefault(number, []).extend(await receive_all(near, 1))
            near.close()

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(converse, number)
    # Links are paired in order of arrival, whoever asked first: what counts is that each got its own words back.
    assert answers == {n: [Borrowed(1000 * n + turn) for turn in range(3)] for n in range(100)}
