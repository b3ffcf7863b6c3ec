"""gRPC for Trio code: `serve_grpc` offers services, `open_channel` calls them; every call carries the cluster's token.

This module and the carrier beside it (``grpc``) are where the runtime meets asyncio: grpclib runs inside
trio-asyncio's loop, and what is handed in and out is Trio's. A service's methods are Trio code too, each call a Trio
task. Not here: links over a gRPC stream (``grpc``) and what the services do.
"""

import asyncio
import errno
import functools
import hmac
import inspect
import logging
import socket
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar, cast, overload

import grpclib.client
import grpclib.server
import grpclib.utils
import h2.exceptions
import trio
from betterproto2.grpclib import ServiceBase, ServiceStub
from grpclib.config import Configuration
from grpclib.const import Cardinality, Handler, Status
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from trayray.exceptions import AuthenticationError, RpcError
from trayray.link.aio_loop import AioLoop, open_aio_loop

# trio_asyncio replaces asyncio.current_task; grpclib keeps the one that it found when it was imported, perhaps before.
grpclib.utils._current_task = asyncio.current_task

logger = logging.getLogger(__name__)

#: Calls that this process's servers have answered by an error since it started, by method and status.
failed_calls: Counter[tuple[str, str]] = Counter()

T = TypeVar("T")
S = TypeVar("S", bound=ServiceStub)
Request = TypeVar("Request")
Reply = TypeVar("Reply")

#: A cancelled server lets the calls that it is answering finish for this long, in seconds, ...
ANSWER_SECONDS = 0.25
#: ... and then gives connections this long to take what is left in their buffers.
CLOSE_SECONDS = 0.5
#: Error texts travel in an HTTP/2 header, whose size peers limit.
MAX_ERROR_TEXT = 4000
#: Flow control is each stream's own: one link whose reader is slow must not stop the others of its connection.
_CONFIGURATION = Configuration(http2_connection_window_size=2**31 - 1, http2_stream_window_size=4 * 1024 * 1024)


# -------------------------------------------------------------------------------------------------------------- server


class StreamOwner(AsyncIterator[Any]):
    """What a streaming method returns to work with the stream itself instead of yielding messages."""

    async def own(self, stream: "grpclib.server.Stream[Any, Any]", loop: AioLoop, nursery: trio.Nursery) -> None:
        """Asyncio code that serves ``stream``; ``nursery`` is the server's, for Trio tasks that outlive the stream."""
        raise NotImplementedError

    async def __anext__(self) -> Any:
        raise NotImplementedError("this stream is served by `own`")


class _Incoming(AsyncIterator[Any]):
    """The messages of a client's stream, for Trio code."""

    def __init__(self, stream: "grpclib.server.Stream[Any, Any]", loop: AioLoop) -> None:
        self._stream, self._loop = stream, loop

    async def __anext__(self) -> Any:
        message = await self._loop.run_aio_coroutine(self._stream.recv_message())
        if message is None:
            raise StopAsyncIteration
        return message


class _TrioFace(ServiceBase):
    """Stands in for a service in its generated glue, which is asyncio code: each call becomes a Trio task."""

    def __init__(self, service: ServiceBase, loop: AioLoop, nursery: trio.Nursery) -> None:
        self._service, self._loop, self._nursery = service, loop, nursery

    def __mapping__(self) -> dict[str, Handler]:
        glue: dict[str, Any] = cast(Any, self._service).__mapping__()
        return {path: h._replace(func=functools.partial(h.func.__func__, self)) for path, h in glue.items()}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._service, name)
        if not inspect.iscoroutinefunction(method):
            return method
        return functools.partial(self._loop.trio_as_future, method)

    async def _call_rpc_handler_server_stream(
        self, handler: Callable[[Any], AsyncIterator[Any]], stream: "grpclib.server.Stream[Any, Any]", request: Any
    ) -> None:
        replies = handler(_Incoming(stream, self._loop) if request is stream else request)
        if isinstance(replies, StreamOwner):
            await replies.own(stream, self._loop, self._nursery)
        else:
            await self._loop.trio_as_future(self._send_all, replies, stream)

    async def _send_all(self, replies: AsyncIterator[Any], stream: "grpclib.server.Stream[Any, Any]") -> None:
        async with AsyncExitStack() as stack:
            if inspect.isasyncgen(replies):
                stack.push_async_callback(replies.aclose)
            async for reply in replies:
                await self._loop.run_aio_coroutine(stream.send_message(reply))


class _Methods(dict[str, Any]):
    """The methods of a server by path. An unknown one has a handler too, so that who asks for it needs the token and
    gets a well-formed answer.
    """

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key) or Handler(functools.partial(_not_served, key), Cardinality.UNARY_UNARY, None, None)


async def _not_served(path: str, _stream: "grpclib.server.Stream[Any, Any]") -> None:
    raise GRPCError(Status.UNIMPLEMENTED, f"{path} is not served here; do both sides run the same version?")


class _Connection(H2Protocol):
    """One client's connection, which enters and leaves the server's set of open ones."""

    transport: asyncio.Transport

    def __init__(self, plain: H2Protocol, server: "_Server") -> None:
        super().__init__(plain.handler, plain.config, plain.h2_config)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.connections.discard(self)
        self._server.changed.set()
        super().connection_lost(exc)


class _Server(grpclib.server.Server):
    """grpclib's server, which knows its connections (so that it can close them) and the calls that it is answering."""

    def __init__(self, services: Sequence[ServiceBase], token: str) -> None:
        super().__init__(cast(Any, services), config=_CONFIGURATION)
        self._mapping = _Methods(self._mapping)
        self._authorization = f"Bearer {token}".encode()
        self.connections: set[_Connection] = set()
        self._answering = 0
        #: Set when a connection or a call has ended; made anew by whoever waits.
        self.changed = trio.Event()
        self._leaving = False
        listen(self, RecvRequest, self._admit)

    def _protocol_factory(self) -> H2Protocol:
        return _Connection(super()._protocol_factory(), self)

    async def _admit(self, event: RecvRequest) -> None:
        presented = event.metadata.get("authorization", "")
        if not isinstance(presented, str) or not hmac.compare_digest(presented.encode(), self._authorization):
            failed_calls["", Status.UNAUTHENTICATED.name] += 1  # a stranger's method may be anything
            raise GRPCError(
                Status.UNAUTHENTICATED,
                "wrong cluster token" if presented else "this cluster needs its token on every call",
            )
        if self._leaving:
            raise GRPCError(Status.UNAVAILABLE, "the server is shutting down")
        event.method_func = cast(Any, functools.partial(self._answer, event.method_func, event.method_name))

    async def _answer(self, glue: Any, path: str, stream: "grpclib.server.Stream[Any, Any]") -> None:
        unary = not self._mapping.get(path).cardinality.server_streaming
        self._answering += unary
        try:
            with _errors_for_the_client(path):
                await glue(stream)
        except GRPCError as error:
            failed_calls[path, error.status.name] += 1
            raise
        finally:
            self._answering -= unary
            self.changed.set()

    async def leave(self) -> None:
        """Trio code: stop listening, let calls in progress be answered, close every connection; shield this."""
        self._leaving = True
        if self._server is None:
            return
        self._server.close()
        with trio.move_on_after(ANSWER_SECONDS):
            while self._answering:
                await self._wait_changed()
        self.close()
        for connection in list(self.connections):
            connection.processor.close("the server is shutting down")
        with trio.move_on_after(CLOSE_SECONDS):
            while self.connections:
                await self._wait_changed()
        for connection in self.connections:
            connection.transport.abort()

    async def _wait_changed(self) -> None:
        self.changed = trio.Event()
        await self.changed.wait()


@contextmanager
def _errors_for_the_client(path: str):
    """Turns whatever a handler raises into a gRPC error with a text; what is unexpected is logged."""
    try:
        yield
    except GRPCError:
        raise
    except AuthenticationError as error:
        raise GRPCError(Status.UNAUTHENTICATED, str(error)) from error
    except RpcError as error:
        raise GRPCError(_status(error.rpc_code), error.message[:MAX_ERROR_TEXT]) from error
    except h2.exceptions.StreamClosedError:
        raise GRPCError(Status.CANCELLED, "the caller has left") from None
    except Exception as error:
        logger.exception("%s failed", path)
        raise GRPCError(Status.INTERNAL, f"{type(error).__name__}: {error}"[:MAX_ERROR_TEXT]) from error


def _status(code: object) -> Status:
    try:
        status = Status(code)
    except ValueError:
        return Status.UNKNOWN
    return Status.UNKNOWN if status is Status.OK else status


async def serve_grpc(
    services: Sequence[ServiceBase],
    token: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; ``task_status`` is told the bound port once connections are accepted.

    A service's methods run as Trio tasks. One that raises `trayray.exceptions.RpcError` chooses the status code its
    caller sees; any other exception is logged and reaches the caller as INTERNAL with its text. When cancelled, calls
    in progress have `ANSWER_SECONDS` to be answered and connections `CLOSE_SECONDS` to be flushed.

    Args:
        services: implementations of generated service bases.
        token: the cluster's; a call without it is refused before its method runs.
        host: the address to listen on.
        port: 0 for any free port.

    Raises:
        OSError: ``host`` and ``port`` cannot be listened on.
        ValueError: ``token`` is empty.
    """
    if not token:
        raise ValueError("a server needs the cluster's token; an empty one would let everybody in")
    async with open_aio_loop() as loop:
        listener = await _listen(host, port)
        async with trio.open_nursery() as nursery:
            server = _Server([_TrioFace(service, loop, nursery) for service in services], token)
            try:
                await loop.run_aio_coroutine(server.start(sock=listener))
                task_status.started(listener.getsockname()[1])
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await server.leave()
                listener.close()


async def _listen(host: str, port: int) -> socket.socket:
    try:
        ((family, kind, protocol, _, address), *_) = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
        # grpclib turns Nagle's algorithm off only on sockets marked as TCP; accepted ones inherit the mark.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener
    except OSError as error:
        reason = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise OSError(
            error.errno,
            f"cannot listen on {host}:{port}: {reason}; choose another port, or stop the process that has it",
        ) from error


# -------------------------------------------------------------------------------------------------------------- client


class ControlChannel:
    """Calls services at one address; connects on the first call and again after the connection was lost.

    Any number of Trio tasks may call at the same time. Open one with `open_channel`.
    """

    def __init__(self, host: str, port: int, token: str, loop: AioLoop) -> None:
        self.address = f"{host}:{port}"
        self.loop = loop
        self._metadata = {"authorization": f"Bearer {token}"}
        self._channel = grpclib.client.Channel(host, port, config=_CONFIGURATION)
        self._stubs: dict[type[ServiceStub], ServiceStub] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<ControlChannel {self.address} closed={self._closed}>"

    @overload
    async def call(
        self,
        stub_class: type[S],
        method: Callable[[S, Request], Coroutine[Any, Any, Reply]],
        request: Request,
        *,
        timeout: float = 10.0,
    ) -> Reply: ...

    @overload
    async def call(self, stub_class: type[ServiceStub], method: str, request: Any, *, timeout: float = 10.0) -> Any: ...

    async def call(self, stub_class: type[Any], method: Any, request: Any, *, timeout: float = 10.0) -> Any:
        """One unary call; cancelling it cancels the remote call too.

        Args:
            stub_class: the generated stub of the service.
            method: the stub's method (``GcsStub.list_nodes``, whose reply type is then known) or its name.
            request: the method's request message.
            timeout: in seconds, connecting included.

        Raises:
            AuthenticationError: the server refused the token.
            ConnectionError: nobody serves there, or the connection was lost before the reply came.
            TimeoutError: no reply in time.
            RpcError: the server answered with an error.
        """
        stub = self._stubs.get(stub_class)
        if stub is None:
            stub = self._stubs[stub_class] = cast(ServiceStub, stub_class(self._channel, metadata=self._metadata))
        bound = getattr(stub, method) if isinstance(method, str) else functools.partial(method, stub)
        with self.mapped_errors(f"{stub_class.__name__}.{method if isinstance(method, str) else method.__name__}"):
            with trio.fail_after(timeout):
                return await self.loop.run_aio_coroutine(bound(request))

    def stream(self, path: str, message_type: type[T]) -> "grpclib.client.Stream[T, T]":
        """A two-way stream of the method at ``path``, not opened yet, for asyncio code on this channel's loop."""
        return self._channel.request(
            path, Cardinality.STREAM_STREAM, message_type, message_type, metadata=self._metadata
        )

    @contextmanager
    def mapped_errors(self, what: str):
        """Turns what grpclib raises in the body into the errors of `call`; ``what`` names the call in texts."""
        if self._closed:
            raise ConnectionError(f"{what}: the channel to {self.address} has been closed")
        try:
            yield
        except trio.TooSlowError:
            raise TimeoutError(f"{what}: no reply from {self.address} in time; is it overloaded or stopped?") from None
        except GRPCError as error:
            raise self._rpc_error(what, error) from error
        except (OSError, StreamTerminatedError, h2.exceptions.ProtocolError, asyncio.CancelledError) as error:
            raise ConnectionError(
                f"{what}: no connection to {self.address} ({str(error) or type(error).__name__}); "
                "check that the cluster runs there and that a firewall lets this machine reach it"
            ) from error

    def _rpc_error(self, what: str, error: GRPCError) -> Exception:
        text = error.message or error.status.name
        match error.status:
            case Status.UNAUTHENTICATED:
                return AuthenticationError(f"{what}: {self.address} refused this process: {text}")
            case Status.UNAVAILABLE:
                return ConnectionError(f"{what}: {self.address} is not available: {text}")
            case Status.DEADLINE_EXCEEDED:
                return TimeoutError(f"{what}: {self.address}: {text}")
            case status:
                return RpcError(f"{what}: {text}", rpc_code=status.value)

    def close(self) -> None:
        """Drop the connection; calls in progress fail with ConnectionError."""
        self._closed = True
        with suppress(AttributeError):  # grpclib's close of a channel whose connection is closing already
            self._channel.close()


@asynccontextmanager
async def open_channel(host: str, port: int, token: str) -> AsyncGenerator[ControlChannel]:
    """A channel to the services at ``host``:``port``; nothing is sent before the first call."""
    async with open_aio_loop() as loop:
        channel = ControlChannel(host, port, token, loop)
        try:
            yield channel
        finally:
            channel.close()
