"""The first frame on every socket link: the connecting side says who it is and proves that it knows the token.

Nothing else is decoded, and nothing at all is unpickled, before the token has been compared.
"""

import hmac
import os
import socket
import struct

import msgspec
import trio

from trayray.wire.frames import encode_frame
from trayray.wire.greetings import Hello, Welcome

#: A hello is a token and two ids; anything longer is not one.
_MAX_HELLO_BYTES = 4096
#: How long a peer may take to introduce itself, in seconds.
HELLO_SECONDS = 10.0

#: How long a node may take to answer a hello, in seconds.
WELCOME_SECONDS = 30.0

_decoder = msgspec.msgpack.Decoder(list[Hello])
_welcome = msgspec.msgpack.Decoder(list[Welcome])


class Unauthenticated(Exception):
    """The peer does not know the cluster's token or does not speak the protocol."""


def send_hello(sock: socket.socket, hello: Hello) -> None:
    """Introduce this process on a freshly connected socket."""
    sock.sendall(encode_frame([hello]))


async def receive_hello(sock: socket.socket, token: str) -> Hello:
    """The peer's introduction, read to its last byte and not one further; ``sock`` is non-blocking.

    Raises:
        Unauthenticated: wrong token, not a hello, closed, or not within `HELLO_SECONDS`.
    """
    with trio.move_on_after(HELLO_SECONDS) as scope:
        (length,) = struct.unpack("<I", await _exactly(sock, 4))
        if length > _MAX_HELLO_BYTES:
            raise Unauthenticated(f"the first frame has {length} bytes, a hello has at most {_MAX_HELLO_BYTES}")
        return _checked(await _exactly(sock, length), token)
    assert scope.cancelled_caught
    raise Unauthenticated(f"no hello within {HELLO_SECONDS} s")


def receive_hello_in_thread(sock: socket.socket, token: str, seconds: float) -> Hello:
    """`receive_hello` for a thread without Trio, which waits at most so long for each part of it.

    Raises:
        Unauthenticated: wrong token, not a hello, closed, or not in time.
    """
    sock.settimeout(seconds)
    try:
        header = sock.recv(4, socket.MSG_WAITALL)
        length = int.from_bytes(header, "little")
        if len(header) < 4 or length > _MAX_HELLO_BYTES:
            raise Unauthenticated("the peer has not introduced itself by a hello")
        body = sock.recv(length, socket.MSG_WAITALL)
    except OSError as error:
        raise Unauthenticated(f"the peer left, or said nothing for {seconds:g} s: {error}") from error
    return _checked(body, token)


def _checked(body: bytes, token: str) -> Hello:
    try:
        (hello,) = _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Unauthenticated(f"the first frame is no hello: {error}") from error
    if not hmac.compare_digest(hello.token.encode(), token.encode()):
        raise Unauthenticated(f"wrong token from a {hello.role!r} (pid {hello.pid})")
    return hello


async def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        await trio.lowlevel.wait_readable(sock)
        try:
            more = sock.recv(count - len(data))
        except BlockingIOError:
            continue
        except OSError as error:
            raise Unauthenticated(f"the peer left: {error}") from error
        if not more:
            raise Unauthenticated("the peer left before it introduced itself")
        data += more
    return data


def send_welcome(sock: socket.socket, welcome: Welcome, arena: int) -> None:
    """Accept a process: the welcome, with the arena's descriptor. A fresh socket's buffer is empty: no waiting."""
    socket.send_fds(sock, [encode_frame([welcome])], [arena])


async def receive_welcome(sock: socket.socket) -> tuple[Welcome, int]:
    """The node's answer to the hello, and the arena's descriptor that travels with it.

    Raises:
        ConnectionError: the node does not accept this process, or not within `WELCOME_SECONDS`.
    """
    with trio.move_on_after(WELCOME_SECONDS):
        return await _read_welcome(sock)
    raise ConnectionError(f"the node did not answer within {WELCOME_SECONDS} s")


async def _read_welcome(sock: socket.socket) -> tuple[Welcome, int]:
    data = b""
    descriptor = -1
    length = None
    while length is None or len(data) < length + 4:
        await trio.lowlevel.wait_readable(sock)
        # Never more than the welcome itself: what follows belongs to the link.
        wanted = 4 - len(data) if length is None else length + 4 - len(data)
        try:
            more, descriptors, _, _ = socket.recv_fds(sock, wanted, 1)
        except BlockingIOError:
            continue
        if not more:
            raise ConnectionError("the node closed the connection: wrong token, or it is shutting down")
        if descriptors:
            descriptor = descriptors[0]
            os.set_inheritable(descriptor, False)
        data += more
        if length is None and len(data) == 4:
            length = int.from_bytes(data, "little")
    (welcome,) = _welcome.decode(data[4:])
    return welcome, descriptor
