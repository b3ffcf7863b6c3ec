"""One HTTP/1.1 connection, by h11: a request is read, answered, and the connection closed.

Not here: limits on connections and time (``http_server``).
"""

from __future__ import annotations

import logging

import h11
import trio

from trayray.node.http_server import Answer, HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

#: The longest request line and headers (bytes).
MAX_HEAD_BYTES = 16 * 1024
_READ_BYTES = 4096
#: How long, and for how many bytes, a client is listened to that has its answer: closing earlier could take it away.
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 256 * 1024


async def converse(stream: trio.abc.HalfCloseableStream, answer: Answer) -> None:
    """Read one request, answer it, and say goodbye.

    Raises:
        trio.BrokenResourceError: the client has left.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    try:
        request = await _read_request(stream, connection)
    except h11.RemoteProtocolError as error:
        status = error.error_status_hint
        await _send(stream, connection, HttpResponse(status, f"{error}\n".encode()), head_only=False)
        return
    if request is None:
        return
    try:
        response = await answer(request)
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        response = HttpResponse(500, b"This failed; the node's log says why.\n")
    await _send(stream, connection, response, head_only=request.method == "HEAD")


async def _read_request(stream: trio.abc.ReceiveStream, connection: h11.Connection) -> HttpRequest | None:
    """The request's head; None when the client has left before it was complete."""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(_READ_BYTES)))
        elif isinstance(event, h11.Request):
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            path = event.target.decode("latin-1").partition("?")[0]
            return HttpRequest(event.method.decode("ascii"), path, headers)
        else:
            return None


async def _send(
    stream: trio.abc.HalfCloseableStream, connection: h11.Connection, response: HttpResponse, *, head_only: bool
) -> None:
    headers = [
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        ("Connection", "close"),
        ("X-Content-Type-Options", "nosniff"),
        *response.headers,
    ]
    data = connection.send(h11.Response(status_code=response.status, headers=headers)) or b""
    if not head_only:
        data += connection.send(h11.Data(data=response.body)) or b""
    await stream.send_all(data)
    await stream.send_eof()
    left = _LINGER_BYTES
    with trio.move_on_after(_LINGER_SECONDS):
        while left > 0 and (data := await stream.receive_some(_READ_BYTES)):
            left -= len(data)
