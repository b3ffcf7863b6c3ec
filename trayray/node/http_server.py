"""The node's HTTP door: connections to a port, each with one request and its answer.

A slow or hostile client costs one of a limited number of connections for a limited time. Not here: what is answered
(``metrics``), HTTP itself (``http_connection``, which is imported when somebody connects first).
"""

from __future__ import annotations

import errno
import importlib
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio

#: Connections at a time; further ones are closed at once.
MAX_CONNECTIONS = 64
#: A connection is cut after this, wherever it is (seconds).
CONNECTION_SECONDS = 10.0


@attrs.frozen
class HttpRequest:
    """A request without its body, which nobody reads."""

    method: str
    #: Without the query.
    path: str
    #: By lower-case name.
    headers: Mapping[str, str]


@attrs.frozen
class HttpResponse:
    """An answer."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[HttpRequest], Awaitable[HttpResponse]]


async def serve_http(
    answer: Answer, *, host: str, port: int, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; ``task_status`` is told the bound port once connections are accepted.

    Args:
        answer: is given each request and returns its answer. What it raises is logged and answered by status 500.
        host: the address to listen on.
        port: 0 for any free port.

    Raises:
        OSError: ``host`` and ``port`` cannot be listened on.
    """
    listeners = await _listen(host, port)
    places = trio.Semaphore(MAX_CONNECTIONS)

    async def serve(stream: trio.SocketStream) -> None:
        try:
            places.acquire_nowait()
        except trio.WouldBlock:
            await trio.aclose_forcefully(stream)
            return
        try:
            await _converse(stream, answer)
        finally:
            places.release()

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        task_status.started(listeners[0].socket.getsockname()[1])


async def _converse(stream: trio.SocketStream, answer: Answer) -> None:
    # In a thread, because it takes longer than the node's other work should wait.
    await trio.to_thread.run_sync(importlib.import_module, "trayray.node.http_connection")
    from trayray.node.http_connection import converse

    try:
        with trio.move_on_after(CONNECTION_SECONDS):
            await converse(stream, answer)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the client has left: nobody is there to be told
    finally:
        await trio.aclose_forcefully(stream)


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        reason = "the port is in use" if cause.errno == errno.EADDRINUSE else cause.strerror or str(error)
        raise OSError(
            cause.errno, f"cannot serve metrics at {host}:{port}: {reason}; choose another --metrics-export-port"
        ) from error
