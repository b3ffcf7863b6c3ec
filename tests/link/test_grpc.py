"""What only links over gRPC do; their contract is in test_contract."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trayray.core.loan_messages import Borrowed
from trayray.exceptions import AuthenticationError, RpcError
from trayray.link.grpc import CLOSE_SECONDS, GrpcLink, accept_link, connect_grpc_link
from trayray.link.grpc_edge import ControlChannel, open_channel, serve_grpc
from trayray.link.port import LinkClosed
from trayray.wire.peer_messages import PeerMessage, Want
from trayray.wire.proto.trayray.v1 import CoreWorkerBase, RayletBase

PATH = "/trayray.v1.Raylet/OpenLink"
PATIENCE = 30.0


class Raylet(RayletBase):
    """Serves a link by what its first message says."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.left = trio.Event()
        self.go_on = trio.Event()

    def open_link(self, messages: Any) -> Any:
        return accept_link(PeerMessage, self.serve)

    async def serve(self, link: GrpcLink[Any]) -> None:
        first, *rest = await link.receive()
        try:
            match first.request:
                case 1:
                    raise ValueError("no such number")
                case 2:
                    link.send([Borrowed(2)])
                case 3:
                    await self.go_on.wait()
                case 4:
                    for _ in range(10):
                        link.send([Want([b"x" * 4_000_000])])
                case _:
                    link.send(rest)
                    while messages := await link.receive():
                        link.send(messages)
        finally:
            self.ends.append(f"{first.request} closed={link.closed}")
            self.left.set()


@asynccontextmanager
async def raylet_and_channel() -> AsyncGenerator[tuple[Raylet, ControlChannel, trio.CancelScope]]:
    raylet = Raylet()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_grpc, [raylet], "token")
            async with open_channel("127.0.0.1", port, "token") as channel:
                yield raylet, channel, nursery.cancel_scope
            nursery.cancel_scope.cancel()


async def test_a_wrong_token_is_refused_when_the_link_is_opened():
    async with raylet_and_channel() as (_, channel, _):
        port = int(channel.address.rpartition(":")[2])
        async with open_channel("127.0.0.1", port, "other") as stranger:
            with pytest.raises(AuthenticationError, match="wrong cluster token"):
                await connect_grpc_link(stranger, PATH, PeerMessage)


async def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with open_channel("127.0.0.1", port, "token") as channel:
        with pytest.raises(ConnectionError, match=f"127.0.0.1:{port}"):
            await connect_grpc_link(channel, PATH, PeerMessage)


async def test_a_method_that_nobody_serves():
    async with raylet_and_channel() as (_, channel, _):
        with pytest.raises(RpcError, match="is not served here"):
            await connect_grpc_link(channel, "/trayray.v1.CoreWorker/OpenLink", PeerMessage)


async def test_a_service_without_the_method():
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_grpc, [CoreWorkerBase()], "token")
        async with open_channel("127.0.0.1", port, "token") as channel:
            with pytest.raises(RpcError, match="UNIMPLEMENTED"):
                await connect_grpc_link(channel, "/trayray.v1.CoreWorker/OpenLink", PeerMessage)
        nursery.cancel_scope.cancel()


async def test_an_error_of_the_serving_side_is_logged_and_ends_the_link_with_its_text(caplog):
    async with raylet_and_channel() as (_, channel, _):
        link = await connect_grpc_link(channel, PATH, PeerMessage)
        link.send([Borrowed(1)])
        await link.run()
        assert await link.receive() == []
        with pytest.raises(LinkClosed, match="ValueError: no such number"):
            link.send([Borrowed(1)])
        again = await connect_grpc_link(channel, PATH, PeerMessage)
        again.send([Borrowed(2)])
        assert await again.receive() == [Borrowed(2)]
    assert "no such number" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_serving_side_that_returns_closes_the_link_behind_its_last_words():
    async with raylet_and_channel() as (_, channel, _):
        link = await connect_grpc_link(channel, PATH, PeerMessage)
        link.send([Borrowed(2)])
        assert await link.receive() == [Borrowed(2)]
        assert await link.receive() == []
        with pytest.raises(LinkClosed, match="closed by the peer"):
            link.send([Borrowed(2)])


async def test_the_serving_side_sees_the_end_and_may_take_its_time():
    async with raylet_and_channel() as (raylet, channel, _):
        link = await connect_grpc_link(channel, PATH, PeerMessage)
        link.send([Borrowed(3)])
        link.close()
        await link.run()
        assert raylet.ends == []
        raylet.go_on.set()
        await raylet.left.wait()
        assert raylet.ends == ["3 closed=True"]


async def test_closing_the_channel_ends_its_links():
    async with raylet_and_channel() as (raylet, channel, _):
        port = int(channel.address.rpartition(":")[2])
        async with open_channel("127.0.0.1", port, "token") as other:
            link = await connect_grpc_link(other, PATH, PeerMessage)
            link.send([Borrowed(0)])
            link.send([Borrowed(5)])
            assert await link.receive() == [Borrowed(5)]
        assert await link.receive() == []
        assert link.closed
        link.close()
        await raylet.left.wait()
        assert raylet.ends == ["0 closed=True"]


async def test_cancelling_the_server_ends_its_links():
    async with raylet_and_channel() as (raylet, channel, server):
        link = await connect_grpc_link(channel, PATH, PeerMessage)
        link.send([Borrowed(0)])
        link.send([Borrowed(5)])
        assert await link.receive() == [Borrowed(5)]
        server.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(PATIENCE):
            await raylet.left.wait()
            assert await link.receive() == []
    assert raylet.ends == ["0 closed=False"]


async def test_a_reader_that_is_behind_holds_up_its_own_link_only():
    async with raylet_and_channel() as (raylet, channel, _):
        stuck = await connect_grpc_link(channel, PATH, PeerMessage)
        stuck.send([Borrowed(3)])
        for _ in range(4):
            stuck.send([Want([b"x" * 10_000_000])])
        link = await connect_grpc_link(channel, PATH, PeerMessage)
        link.send([Borrowed(0)])
        for number in range(20):
            link.send([Borrowed(number)])
            assert await link.receive() == [Borrowed(number)]
        assert "queued=0" not in repr(stuck)
        raylet.go_on.set()


async def test_last_words_that_nobody_takes_do_not_hold_up_a_close():
    async with raylet_and_channel() as (raylet, channel, _):
        link = await connect_grpc_link(channel, PATH, PeerMessage)
        link.send([Borrowed(3)])
        for _ in range(4):
            link.send([Want([b"x" * 10_000_000])])
        started = trio.current_time()
        link.close()
        await link.run()
        assert trio.current_time() - started < CLOSE_SECONDS + 5
        raylet.go_on.set()
        await raylet.left.wait()


async def test_a_serving_side_waits_only_a_moment_for_a_peer_that_does_not_read():
    async with raylet_and_channel() as (_, channel, _):
        link = await connect_grpc_link(channel, PATH, PeerMessage)
        link.send([Borrowed(4)])
        started = trio.current_time()
        await link.run()
        assert CLOSE_SECONDS - 0.1 < trio.current_time() - started < CLOSE_SECONDS + 5
        with pytest.raises(LinkClosed, match="not taken within"):
            link.send([Borrowed(4)])
        assert Want([b"x" * 4_000_000]) in await link.receive()
        assert await link.receive() == []
