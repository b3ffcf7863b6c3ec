"""Links over bidirectional gRPC streams, the carrier between nodes: `connect_grpc_link` and `accept_link`.

Each batch travels as one frame of ``wire.frames`` in one gRPC message. The stream's two pumps are asyncio code; the
link that they serve is Trio code's. Not here: connections, tokens and their errors (``grpc_edge``).
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Generic, Protocol, TypeVar

import grpclib.server
import h2.exceptions
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from trayray.link.aio_loop import AioLoop
from trayray.link.grpc_edge import MAX_ERROR_TEXT, ControlChannel, StreamOwner
from trayray.link.inbox import FrameInbox
from trayray.link.port import LinkClosed
from trayray.wire.frames import encode_frame
from trayray.wire.proto.trayray.v1 import Frame

logger = logging.getLogger(__name__)

M = TypeVar("M")

#: A closed link has this long, in seconds, to hand over what was sent before and to say goodbye.
CLOSE_SECONDS = 1.0
#: A reader that is this far behind stops its peer through HTTP/2's flow control, in bytes.
_INBOX_BYTES = 4 * 1024 * 1024


class _Stream(Protocol):
    async def send_message(self, message: Frame) -> None: ...
    async def recv_message(self) -> Frame | None: ...


class GrpcLink(Generic[M]):
    """A `trayray.link.port.Link` on one gRPC stream; make one with `connect_grpc_link` or get one from `accept_link`.

    Batches travel while the channel (or the server) is open whether or not `run` is awaited. What was sent before
    `close` is still delivered when the peer takes it within `CLOSE_SECONDS`.
    """

    def __init__(self, message_type: Any, peer: str, loop: AioLoop) -> None:
        self._inbox: FrameInbox[M] = FrameInbox(message_type, peer)
        self._peer = peer
        self._loop = loop
        self._trio_token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        #: Guards `_closed` against `_outgoing`: nothing is queued after the link closed.
        self._lock = threading.Lock()
        self._closed = False
        #: Why the stream has ended, once it has.
        self._ending: str | None = None
        self._outgoing: deque[bytes] = deque()
        # For the pumps: there is something to send, there is room to receive, or the link was closed.
        self._queued, self._room = asyncio.Event(), asyncio.Event()
        self._ended = trio.Event()
        self.pumps: tuple[asyncio.Task[None], ...] = ()
        self._give_up: Callable[[], object] = self.stop_pumps
        self._grace: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<GrpcLink {self._peer} queued={len(self._outgoing)} closed={self.closed}>"

    @property
    def closed(self) -> bool:
        return self._closed or self._ending is not None

    def send(self, messages: Sequence[Any]) -> None:
        data = encode_frame(messages)
        with self._lock:
            if self._closed or self._ending is not None:
                raise LinkClosed(
                    f"the link with {self._peer} has ended: {'closed here' if self._closed else self._ending}"
                )
            self._outgoing.append(data)
        self._in_loop(self._queued.set)

    async def receive(self) -> list[M]:
        messages = await self._inbox.receive()
        self._room.set()
        return messages

    async def run(self) -> None:
        await self._ended.wait()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._in_loop(self._wind_down)

    def _in_loop(self, function: Callable[[], object]) -> None:
        if threading.get_ident() == self._thread:
            function()
            return
        with suppress(trio.RunFinishedError):  # the loop is gone, and the stream with it
            self._trio_token.run_sync_soon(function, idempotent=True)

    def _wind_down(self) -> None:
        self._inbox.discard()
        self._queued.set()
        self._room.set()
        if self._ending is None:
            self._grace = self._loop.call_later(CLOSE_SECONDS, self._out_of_time)

    def _out_of_time(self) -> None:
        self._give_up()  # only now: a link may be closed before it is carried

    # asyncio code from here on

    async def carry(
        self, stream: _Stream, give_up: Callable[[], object], goodbye: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Pump batches until the peer ends its side of the stream or this link is closed and everything was sent.

        Args:
            stream: an open stream, whose end remains the caller's affair.
            give_up: called `CLOSE_SECONDS` after `close` when that was not enough; cancels this coroutine or the pumps.
            goodbye: ends this side of the stream; the peer is then expected to end its own.

        Raises:
            StreamTerminatedError: the stream was reset or its connection lost.
            h2.exceptions.ProtocolError: the peer closed the stream while this side was sending.
        """
        self._give_up = give_up
        self.pumps = reading, writing = (
            self._loop.create_task(self._read(stream)),
            self._loop.create_task(self._write(stream)),
        )
        try:
            await asyncio.wait(self.pumps, return_when=asyncio.FIRST_COMPLETED)
            if goodbye is not None and not reading.done() and not writing.cancelled() and writing.exception() is None:
                await goodbye()
                goodbye = None
                await asyncio.wait((reading,))
        finally:
            self.stop_pumps()
            outcomes = await asyncio.gather(reading, writing, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        if goodbye is not None:
            await goodbye()

    def stop_pumps(self) -> None:
        """Cancel what `carry` does in the background, so that it returns."""
        for pump in self.pumps:
            pump.cancel()

    async def _read(self, stream: _Stream) -> None:
        while (frame := await stream.recv_message()) is not None:
            self._inbox.put(frame.data)
            while self._inbox.size > _INBOX_BYTES:
                self._room.clear()
                await self._room.wait()

    async def _write(self, stream: _Stream) -> None:
        while True:
            self._queued.clear()
            closed = self._closed  # read first: whoever closes the link may have sent something just before
            while self._outgoing:
                await stream.send_message(Frame(data=self._outgoing.popleft()))
            if closed:
                return
            await self._queued.wait()

    def end(self, cause: str) -> None:
        """The stream is over; what has arrived can still be received. Only the first cause counts."""
        with self._lock:
            if self._ending is not None:
                return
            self._ending = cause
            self._outgoing.clear()
        if self._grace is not None:
            self._grace.cancel()
        self._inbox.end()
        self._ended.set()


# ---------------------------------------------------------------------------------------------------------- connecting


async def connect_grpc_link(
    channel: ControlChannel, path: str, message_type: Any, *, timeout: float = 10.0
) -> GrpcLink[Any]:
    """A link over a new stream of ``channel``, which must stay open as long as the link.

    Args:
        channel: to the peer's server.
        path: the OpenLink method's, such as ``/trayray.v1.Raylet/OpenLink``.
        message_type: the union of messages that the peer sends.
        timeout: for the peer's acceptance, in seconds.

    Raises:
        AuthenticationError, ConnectionError, TimeoutError, RpcError: as for `ControlChannel.call`.
    """
    stream = channel.stream(path, Frame)

    async def open_stream() -> AsyncExitStack:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(stream)
            await stream.send_request()
            await stream.recv_initial_metadata()
            return stack.pop_all()
        raise AssertionError("an exit stack with one stream swallows no error")

    with channel.mapped_errors(f"link {path}"), trio.fail_after(timeout):
        opened = await channel.loop.run_aio_coroutine(open_stream())
    link: GrpcLink[Any] = GrpcLink(message_type, channel.address, channel.loop)

    async def carry() -> None:
        try:
            # The wrapper interrupts this task when the connection is lost, as grpclib does with a server's handler:
            # pumps that wait for their queues would not notice.
            async with opened:
                with stream._wrapper:
                    await link.carry(stream, task.cancel, stream.end)
            link.end("closed by the peer")
        except GRPCError as error:
            link.end(error.message or error.status.name)
        except (OSError, StreamTerminatedError, h2.exceptions.ProtocolError) as error:
            link.end(f"{type(error).__name__}: {error}")
        except Exception as error:
            logger.exception("the link with %s failed", channel.address)
            link.end(f"{type(error).__name__}: {error}")
        finally:
            link.end("the channel was closed")

    task = channel.loop.create_task(carry())
    return link


# ----------------------------------------------------------------------------------------------------------- accepting


def accept_link(message_type: Any, serve: Callable[[GrpcLink[Any]], Awaitable[None]]) -> AsyncIterator[Frame]:
    """What ``open_link`` of a service returns to have each link served by Trio code.

    ``serve`` runs as a child of the server, not of the stream: it sees the peer's end as `receive` returning an empty
    list, as on every carrier, and may then clean up in peace. When it returns the link closes; what it raises is
    logged and becomes the link's end on the peer's side.

    Args:
        message_type: the union of messages that the peer sends.
        serve: called with each new link.
    """
    return _AcceptedLink(message_type, serve)


class _AcceptedLink(StreamOwner):
    def __init__(self, message_type: Any, serve: Callable[[GrpcLink[Any]], Awaitable[None]]) -> None:
        self._message_type, self._serve = message_type, serve
        self._failure = ""

    async def own(self, stream: "grpclib.server.Stream[Any, Any]", loop: AioLoop, nursery: trio.Nursery) -> None:
        await stream.send_initial_metadata()
        address = stream.peer.addr()
        link: GrpcLink[Any] = GrpcLink(self._message_type, f"{address[0]}:{address[1]}" if address else "a peer", loop)
        nursery.start_soon(self._serve_one, link)

        def give_up() -> None:
            self._failure = f"the link was closed and its last messages not taken within {CLOSE_SECONDS} s"
            link.stop_pumps()

        try:
            await link.carry(stream, give_up)
            link.end("closed by the peer")
        finally:
            link.end("the connection was lost")
        if self._failure:
            raise GRPCError(Status.INTERNAL, self._failure)

    async def _serve_one(self, link: GrpcLink[Any]) -> None:
        try:
            await self._serve(link)
        except Exception as error:
            logger.exception("serving %r failed", link)
            self._failure = f"{type(error).__name__}: {error}"[:MAX_ERROR_TEXT]
        finally:
            link.close()
