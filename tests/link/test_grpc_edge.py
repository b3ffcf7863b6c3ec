import errno
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from trayray.exceptions import AuthenticationError, RpcError
from trayray.link.grpc_edge import ANSWER_SECONDS, CLOSE_SECONDS, open_channel, serve_grpc
from trayray.wire.proto.trayray.v1 import (
    Chunk,
    ClusterInfo,
    Frame,
    GcsBase,
    GcsStub,
    GetClusterInfoRequest,
    GetNamedActorReply,
    GetNamedActorRequest,
    KillActorReply,
    KillActorRequest,
    ListNodesReply,
    ListNodesRequest,
    Node,
    ObjectTransferBase,
    ObjectTransferStub,
    PullRequest,
    RayletBase,
    RayletStub,
    ShutdownReply,
    ShutdownRequest,
)

TOKEN = "token"
HOST = "127.0.0.1"


class Gcs(GcsBase):
    def __init__(self) -> None:
        self.calls = 0
        self.entered, self.cancelled, self.go_on = trio.Event(), trio.Event(), trio.Event()

    async def get_cluster_info(self, message: GetClusterInfoRequest) -> ClusterInfo:
        self.calls += 1
        return ClusterInfo(version="1", node_id=b"n")

    async def get_named_actor(self, message: GetNamedActorRequest) -> GetNamedActorReply:
        await trio.lowlevel.checkpoint()  # a handler is Trio code
        return GetNamedActorReply(handle=message.name.encode())

    async def list_nodes(self, message: ListNodesRequest) -> ListNodesReply:
        self.entered.set()
        try:
            await self.go_on.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return ListNodesReply(nodes=[Node(name="late")])

    async def kill_actor(self, message: KillActorRequest) -> KillActorReply:
        match message.actor_id:
            case b"unknown":
                raise RpcError("no such actor", rpc_code=5)
            case b"refused":
                raise AuthenticationError("not yours")
            case b"codeless":
                raise RpcError("no code")
            case b"long":
                raise ValueError("é" * 100_000)
            case b"group":
                async with trio.open_nursery():
                    raise KeyError("in a nursery")
            case b"timeout":
                raise TimeoutError("the worker did not answer")
            case _:
                raise ZeroDivisionError("division by\nzero")


async def nothing_listens() -> int:
    with socket.create_server((HOST, 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def gcs() -> Gcs:
    return Gcs()


@pytest.fixture
async def port(gcs: Gcs, nursery: trio.Nursery) -> int:
    return await nursery.start(serve_grpc, [gcs], TOKEN)


async def test_a_call(port):
    async with open_channel(HOST, port, TOKEN) as channel:
        by_name = await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())
        by_method = await channel.call(GcsStub, GcsStub.get_named_actor, GetNamedActorRequest(name="a"))
    assert by_name == ClusterInfo(version="1", node_id=b"n")
    assert by_method == GetNamedActorReply(handle=b"a")


async def test_concurrent_calls_of_several_tasks_each_get_their_reply(port):
    replies: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        for _ in range(3):
            reply = await channel.call(GcsStub, GcsStub.get_named_actor, GetNamedActorRequest(name=str(number)))
            replies[number] = reply.handle

    async with open_channel(HOST, port, TOKEN) as channel, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, number)
    assert replies == {number: b"%d" % number for number in range(50)}


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
async def test_a_wrong_token_is_refused_before_the_handler_runs(gcs, port, token):
    async with open_channel(HOST, port, token) as channel:
        with pytest.raises(AuthenticationError, match=f"GcsStub.get_cluster_info: {HOST}:{port} refused") as caught:
            await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())
    assert gcs.calls == 0
    assert TOKEN not in str(caught.value).replace("wrong cluster token", "").replace("its token", "")


async def test_a_missing_token_is_refused(gcs, port):
    async with open_channel(HOST, port, TOKEN) as channel:
        channel._metadata.clear()
        with pytest.raises(AuthenticationError, match="needs its token on every call"):
            await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())
    assert gcs.calls == 0


async def test_a_server_without_a_token_would_let_everybody_in():
    with pytest.raises(ValueError, match="token"):
        await serve_grpc([], "")


@pytest.mark.parametrize(
    ("actor", "text", "code"),
    [
        (b"unknown", "GcsStub.kill_actor: no such actor", 5),
        (b"codeless", "GcsStub.kill_actor: no code", 2),
        (b"", "GcsStub.kill_actor: ZeroDivisionError: division by\nzero", 13),
        (b"timeout", "GcsStub.kill_actor: TimeoutError: the worker did not answer", 13),
        (b"long", "GcsStub.kill_actor: ValueError: " + "é" * (4000 - len("ValueError: ")), 13),
    ],
    ids=["status", "no-code", "unexpected", "timeout", "long"],
)
async def test_an_error_of_a_handler_reaches_the_caller_with_its_text(port, actor, text, code, caplog):
    async with open_channel(HOST, port, TOKEN) as channel:
        with pytest.raises(RpcError) as caught:
            await channel.call(GcsStub, "kill_actor", KillActorRequest(actor_id=actor))
        assert (str(caught.value), caught.value.rpc_code) == (text, code)
        assert await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())  # the server lives
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == (code == 13)
    assert all(record.getMessage() == "/trayray.v1.Gcs/KillActor failed" for record in logged)


async def test_a_handler_may_raise_groups_and_refuse(port):
    async with open_channel(HOST, port, TOKEN) as channel:
        with pytest.raises(RpcError, match="ExceptionGroup"):
            await channel.call(GcsStub, "kill_actor", KillActorRequest(actor_id=b"group"))
        with pytest.raises(AuthenticationError, match="not yours"):
            await channel.call(GcsStub, "kill_actor", KillActorRequest(actor_id=b"refused"))


async def test_what_is_not_served(port):
    async with open_channel(HOST, port, TOKEN) as channel:
        with pytest.raises(RpcError, match="UNIMPLEMENTED") as caught:
            await channel.call(GcsStub, "list_named_actors", ListNodesRequest())
        assert caught.value.rpc_code == 12
        with pytest.raises(RpcError, match=r"/trayray\.v1\.Raylet/Shutdown is not served here") as caught:
            await channel.call(RayletStub, "shutdown", ShutdownRequest())
        assert caught.value.rpc_code == 12


async def test_nobody_listening():
    port = await nothing_listens()
    async with open_channel(HOST, port, TOKEN) as channel:
        for _ in range(2):
            with pytest.raises(ConnectionError, match=f"no connection to {HOST}:{port} .*check that the cluster runs"):
                await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())


async def test_a_host_that_is_none():
    async with open_channel("no-such-host.invalid", 1, TOKEN) as channel:
        with pytest.raises(ConnectionError, match=r"no-such-host\.invalid:1"):
            await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())


async def test_no_connection_before_the_first_call():
    with socket.create_server((HOST, 0)) as listener:
        listener.setblocking(False)
        async with open_channel(HOST, listener.getsockname()[1], TOKEN):
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_a_server_that_says_nothing(autojump_clock):
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        async with open_channel(HOST, port, TOKEN) as channel:
            started = trio.current_time()
            with pytest.raises(TimeoutError, match=f"no reply from {HOST}:{port} in time"):
                await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest(), timeout=7)
            assert trio.current_time() - started == pytest.approx(7)


async def test_a_server_that_speaks_something_else(nursery):
    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    nursery.start_soon(trio.serve_listeners, greet, [listener])
    async with open_channel(HOST, listener.socket.getsockname()[1], TOKEN) as channel:
        with pytest.raises(ConnectionError, match="check that the cluster runs there"):
            await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())


async def test_cancelling_a_call_cancels_the_handler(gcs, port):
    async with open_channel(HOST, port, TOKEN) as channel:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.call, GcsStub, "list_nodes", ListNodesRequest())
                await gcs.entered.wait()
                nursery.cancel_scope.cancel()
            await gcs.cancelled.wait()
        assert await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())


async def test_a_timeout_cancels_the_handler(gcs, port):
    async with open_channel(HOST, port, TOKEN) as channel:
        with pytest.raises(TimeoutError):
            await channel.call(GcsStub, "list_nodes", ListNodesRequest(), timeout=0.05)
        with trio.fail_after(10):
            await gcs.cancelled.wait()


async def test_reconnecting_after_the_server_came_back(gcs):
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_grpc, [gcs], TOKEN)
        async with open_channel(HOST, port, TOKEN) as channel:
            await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as later:
                    await trio.testing.wait_all_tasks_blocked()
                    with pytest.raises(ConnectionError):
                        await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())
                    await later.start(lambda task_status: serve_grpc([gcs], TOKEN, port=port, task_status=task_status))
                    assert await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())
                    later.cancel_scope.cancel()
    assert gcs.calls == 2


async def test_a_server_that_leaves_ends_calls_and_connections_soon(gcs):
    async with trio.open_nursery() as nursery:
        server = await nursery.start(_serving, [gcs])
        async with open_channel(HOST, server.port, TOKEN) as channel, trio.open_nursery() as calling:

            async def call() -> None:
                with pytest.raises(ConnectionError):
                    await channel.call(GcsStub, "list_nodes", ListNodesRequest())

            calling.start_soon(call)
            await gcs.entered.wait()
            started = trio.current_time()
            server.scope.cancel()
            await server.gone.wait()
            assert trio.current_time() - started < ANSWER_SECONDS + CLOSE_SECONDS + 1
            assert gcs.cancelled.is_set()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, server.port))


class Serving:
    """A server that can be cancelled on its own."""

    def __init__(self) -> None:
        self.scope, self.gone, self.port = trio.CancelScope(), trio.Event(), 0


async def _serving(services: list[Any], *, task_status: trio.TaskStatus[Serving]) -> None:
    serving = Serving()
    with serving.scope:
        async with trio.open_nursery() as nursery:
            serving.port = await nursery.start(serve_grpc, services, TOKEN)
            task_status.started(serving)
    serving.gone.set()


async def test_a_call_that_stops_its_server_is_still_answered(nursery):
    class Raylet(RayletBase):
        async def shutdown(self, message: ShutdownRequest) -> ShutdownReply:
            serving.scope.cancel()
            return ShutdownReply(pid=17)

    serving = await nursery.start(_serving, [Raylet()])
    async with open_channel(HOST, serving.port, TOKEN) as channel:
        assert await channel.call(RayletStub, RayletStub.shutdown, ShutdownRequest()) == ShutdownReply(pid=17)
        await serving.gone.wait()


async def test_a_connection_that_never_reads_does_not_hold_up_the_end(nursery):
    class Transfer(ObjectTransferBase):
        async def pull(self, message: PullRequest) -> AsyncIterator[Chunk]:
            while True:
                yield Chunk(data=b"x" * 100_000)

    async def read_one() -> None:
        stub = ObjectTransferStub(channel._channel, metadata=channel._metadata)
        async for _ in stub.pull(PullRequest()):
            channel._channel._protocol.connection._transport.pause_reading()

    serving = await nursery.start(_serving, [Transfer()])
    async with open_channel(HOST, serving.port, TOKEN) as channel, trio.open_nursery() as calling:
        calling.start_soon(channel.loop.run_aio_coroutine, read_one())
        await trio.testing.wait_all_tasks_blocked(0.05)  # every buffer on the way is full
        began = trio.current_time()
        serving.scope.cancel()
        await serving.gone.wait()
        assert CLOSE_SECONDS - 0.1 < trio.current_time() - began < CLOSE_SECONDS + 1
        calling.cancel_scope.cancel()


async def test_the_port_is_in_use(port):
    with pytest.raises(OSError, match=f"cannot listen on {HOST}:{port}: the port is in use; choose another") as caught:
        await serve_grpc([], TOKEN, port=port)
    assert caught.value.errno == errno.EADDRINUSE


async def test_an_address_that_is_not_ours():
    with pytest.raises(OSError, match=r"cannot listen on 192.0.2.1:0: Cannot assign"):
        await serve_grpc([], TOKEN, host="192.0.2.1")


async def test_errors_in_the_body_leave_a_channel_as_they_are(port):
    with pytest.raises(KeyError, match="mine"):
        async with open_channel(HOST, port, TOKEN) as channel:
            await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())
            raise KeyError("mine")


async def test_a_closed_channel_says_so(port):
    async with open_channel(HOST, port, TOKEN) as channel:
        await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())
    with pytest.raises(ConnectionError, match="has been closed"):
        await channel.call(GcsStub, "get_cluster_info", GetClusterInfoRequest())


async def test_streamed_replies_are_trio_code_too(nursery):
    class Transfer(ObjectTransferBase):
        async def pull(self, message: PullRequest) -> AsyncIterator[Chunk]:
            for position in range(message.size):
                await trio.lowlevel.checkpoint()
                yield Chunk(position=position)
            if message.offset:
                raise OSError("the object was freed")

    async def pull(request: PullRequest) -> list[int]:
        stub = ObjectTransferStub(channel._channel, metadata=channel._metadata)
        return [chunk.position async for chunk in stub.pull(request)]

    port = await nursery.start(serve_grpc, [Transfer()], TOKEN)
    async with open_channel(HOST, port, TOKEN) as channel:
        assert await channel.loop.run_aio_coroutine(pull(PullRequest(size=5))) == [0, 1, 2, 3, 4]
        with pytest.raises(RpcError, match="OSError: the object was freed"), channel.mapped_errors("pull"):
            await channel.loop.run_aio_coroutine(pull(PullRequest(size=5, offset=1)))


async def test_streams_both_ways_are_trio_code_too(nursery):
    class Raylet(RayletBase):
        async def open_link(self, messages: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
            async for frame in messages:
                await trio.lowlevel.checkpoint()
                yield Frame(data=frame.data * 2)

    async def exchange() -> list[bytes]:
        stub = RayletStub(channel._channel, metadata=channel._metadata)
        return [frame.data async for frame in stub.open_link([Frame(data=b"a"), Frame(data=b"b")])]

    port = await nursery.start(serve_grpc, [Raylet()], TOKEN)
    async with open_channel(HOST, port, TOKEN) as channel:
        assert await channel.loop.run_aio_coroutine(exchange()) == [b"aa", b"bb"]
