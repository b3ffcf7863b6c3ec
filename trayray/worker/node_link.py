"""Joining a node: the hello, the welcome, and the arena's descriptor that travels with it."""

import os
import socket

import msgspec
import trio

from trayray.link.network import UnixNetwork
from trayray.link.port import Link
from trayray.link.unix import UnixLink
from trayray.wire.messages import NodeMessage, Welcome

#: How long a node may take to answer, in seconds.
WELCOME_SECONDS = 30.0

_welcome = msgspec.msgpack.Decoder(list[Welcome])


async def connect_to_node(
    network: UnixNetwork, address: str, role: str
) -> tuple[Welcome, int, Link[NodeMessage]]:
    """The node's welcome, the arena's descriptor, and the link.

    Raises:
        ConnectionError: no node there, or it does not accept this process.
    """
    path = network.sockets / address
    try:
        sock = network.connect_socket(address, role)
    except OSError as error:
        raise ConnectionError(f"no node listens at {path}: {error}; is the cluster still running?") from error
    sock.setblocking(False)
    try:
        with trio.fail_after(WELCOME_SECONDS):
            welcome, descriptor = await _receive_welcome(sock)
    except trio.TooSlowError:
        sock.close()
        raise ConnectionError(f"the node at {path} did not answer within {WELCOME_SECONDS} s") from None
    except BaseException:
        sock.close()
        raise
    return welcome, descriptor, UnixLink(sock, NodeMessage)


async def _receive_welcome(sock: socket.socket) -> tuple[Welcome, int]:
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
