"""How a process reaches the others of its node and is reached: listeners and connections by address.

An address is the name of a process's socket in the session's ``sockets`` directory. Services take a `Network` from
outside, so that a simulated cluster can hand them one that lives in memory.
"""

import errno
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from trayray.link.handshake import Unauthenticated, receive_hello, receive_welcome, send_hello
from trayray.link.port import Link
from trayray.link.unix import UnixLink, connect_unix, listen_unix
from trayray.wire.greetings import Hello, Welcome
from trayray.wire.node_messages import NodeMessage

#: The node's own socket in the sockets directory.
NODE = "node"
#: What sockets of breakpoints begin with there; a process id, "-" and a number follow.
BREAKPOINT = "debug-"

#: Errors of accepting that the machine's or the process's limits cause; they pass.
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_BREATH_SECONDS = 0.1

#: Takes over an authenticated connection; returns when it has been served.
Accept = Callable[[Hello, socket.socket], Awaitable[None]]


def socket_name(worker_id: bytes) -> str:
    """The address of a driver or worker."""
    return worker_id.hex()[:20]


class Network(Protocol):
    """Connections between the processes of a node."""

    def connect(self, address: str, role: str, message_type: Any) -> Link[Any]:
        """A link to the process at ``address``, introduced as ``role``.

        Raises:
            OSError: nobody is there.
        """
        ...


class NodeNetwork(Network, Protocol):
    """What a core worker needs: connections, joining its node, and being reached."""

    async def join(self, address: str, role: str) -> tuple[Welcome, int, Link[NodeMessage]]:
        """Join the node at ``address``: its welcome, the arena's descriptor, and the link.

        Raises:
            ConnectionError: no node there, or it does not accept this process.
        """
        ...

    def receive_in_thread(self, link: Link[NodeMessage], seconds: float) -> list[NodeMessage] | None:
        """Messages of the node, for a thread in which no loop runs meanwhile: None if there are none within this time,
        an empty list at the end of the link."""
        ...

    async def listen(
        self, address: str, accept: Accept, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve connections to ``address`` until cancelled."""
        ...


@attrs.frozen
class UnixNetwork:
    """The network of real processes: one Unix socket a process."""

    sockets: Path
    token: str
    worker_id: bytes

    async def join(self, address: str, role: str) -> tuple[Welcome, int, Link[NodeMessage]]:
        try:
            sock = self.connect_socket(address, role)
        except OSError as error:
            path = self.sockets / address
            raise ConnectionError(f"no node listens at {path}: {error}; is the cluster still running?") from error
        sock.setblocking(False)
        try:
            welcome, descriptor = await receive_welcome(sock)
        except BaseException:
            sock.close()
            raise
        return welcome, descriptor, UnixLink(sock, NodeMessage)

    def connect(self, address: str, role: str, message_type: Any) -> Link[Any]:
        return UnixLink(self.connect_socket(address, role), message_type)

    def receive_in_thread(self, link: Link[NodeMessage], seconds: float) -> list[NodeMessage] | None:
        assert isinstance(link, UnixLink), "nodes are reached by Unix sockets"
        return link.receive_in_thread(seconds)

    def connect_socket(self, address: str, role: str) -> socket.socket:
        """A connected socket on which the hello has been sent."""
        sock = connect_unix(self.sockets / address)
        try:
            send_hello(sock, Hello(self.token, role, self.worker_id, os.getpid()))
        except BaseException:
            sock.close()
            raise
        return sock

    async def listen(
        self,
        address: str,
        accept: Accept,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve connections to ``address`` until cancelled, each in a child task; strangers are turned away."""
        path = self.sockets / address
        listener = listen_unix(path)
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    await trio.lowlevel.wait_readable(listener)
                    try:
                        sock, _ = listener.accept()
                    except BlockingIOError:
                        continue
                    except OSError as error:
                        if error.errno not in _OUT_OF_RESOURCES:
                            raise
                        await trio.sleep(_BREATH_SECONDS)  # until connections have ended; who connects waits as long
                        continue
                    sock.setblocking(False)
                    nursery.start_soon(self._introduce, sock, accept)
        finally:
            listener.close()
            path.unlink(missing_ok=True)

    async def _introduce(self, sock: socket.socket, accept: Accept) -> None:
        try:
            hello = await receive_hello(sock, self.token)
        except Unauthenticated:
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        await accept(hello, sock)
