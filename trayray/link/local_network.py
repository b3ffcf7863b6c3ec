"""A node's network within one process: socket pairs, handed to whoever listens at an address. No files, no tokens.

All members live in one Trio loop, and are told apart by their ids. What travels is what travels between processes, on
the same links.
Not here: the network of real processes (``network``).
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import trio

from trayray.link.handshake import receive_welcome
from trayray.link.network import NODE, Accept
from trayray.link.port import Link
from trayray.link.unix import UnixLink
from trayray.wire.greetings import Hello, Welcome
from trayray.wire.node_messages import NodeMessage


class LocalNetwork:
    """All addresses of one node; `of` is the network as one member sees it."""

    def __init__(self) -> None:
        self._listeners: dict[str, _Listener] = {}
        #: Set when the node has read the last of what a member has sent it; by member.
        self._joined: dict[bytes, trio.Event] = {}
        #: Handles at once what a member has sent to the node, in the loop's thread: the node's, set by it.
        self.serve_at_once: Callable[[bytes], None] | None = None

    def of(self, worker_id: bytes) -> MemberNetwork:
        """The network of the member with this id."""
        return MemberNetwork(self, worker_id)

    def connect(self, address: str, hello: Hello) -> socket.socket:
        """One end of a new pair, whose other end the listener at ``address`` gets; from any thread.

        Raises:
            ConnectionRefusedError: nobody listens there.
        """
        listener = self._listeners.get(address)
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens at {address!r}: its worker has ended")
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        try:
            listener.put(hello, theirs)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        return ours

    async def listen(self, address: str, accept: Accept, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve connections to ``address`` until cancelled, each in a child task."""
        listener = self._listeners[address] = _Listener(address)
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    hello, sock = await listener.get()
                    nursery.start_soon(self._serve, address, hello, sock, accept)
        finally:
            del self._listeners[address]
            listener.close()

    async def _serve(self, address: str, hello: Hello, sock: socket.socket, accept: Accept) -> None:
        if address != NODE:
            await accept(hello, sock)
            return
        over = self._joined[hello.worker_id] = trio.Event()
        try:
            await accept(hello, sock)
        finally:
            del self._joined[hello.worker_id]
            over.set()

    async def left(self, worker_id: bytes) -> None:
        """Wait until the node has seen the end of this member's link, and all that came before."""
        over = self._joined.get(worker_id)
        if over is not None:
            await over.wait()


class _Listener:
    """Who has connected to one address and was not accepted yet."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._waiting: deque[tuple[Hello, socket.socket]] = deque()
        self._arrived = trio.Event()
        #: Guards that nothing is put after the end.
        self._lock = threading.Lock()
        self._closed = False

    def put(self, hello: Hello, sock: socket.socket) -> None:
        with self._lock:
            if self._closed:
                raise ConnectionRefusedError(f"nobody listens at {self._address!r} any more")
            self._waiting.append((hello, sock))
        if threading.get_ident() == self._thread:
            self._arrived.set()
        else:
            self._token.run_sync_soon(self._wake)

    def _wake(self) -> None:
        self._arrived.set()

    async def get(self) -> tuple[Hello, socket.socket]:
        while not self._waiting:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._waiting.popleft()

    def close(self) -> None:
        with self._lock:
            self._closed = True
        for _, sock in self._waiting:
            sock.close()
        self._waiting.clear()


@attrs.frozen
class MemberNetwork:
    """The `NodeNetwork` of one member."""

    network: LocalNetwork
    worker_id: bytes

    def _connect(self, address: str, role: str) -> socket.socket:
        return self.network.connect(address, Hello("", role, self.worker_id, os.getpid()))

    async def join(self, address: str, role: str) -> tuple[Welcome, int, Link[NodeMessage]]:
        """See `NodeNetwork.join`."""
        sock = self._connect(address, role)
        sock.setblocking(False)
        try:
            welcome, descriptor = await receive_welcome(sock)
        except BaseException:
            sock.close()
            raise
        return welcome, descriptor, UnixLink(sock, NodeMessage)

    def connect(self, address: str, role: str, message_type: Any) -> Link[Any]:
        """See `Network.connect`."""
        return UnixLink(self._connect(address, role), message_type)

    async def listen(
        self, address: str, accept: Accept, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """See `NodeNetwork.listen`."""
        await self.network.listen(address, accept, task_status=task_status)

    def receive_in_thread(self, link: Link[NodeMessage], seconds: float) -> list[NodeMessage] | None:
        """What the node has to say at once, in the loop's thread, in which the node lives too; empty at the end.

        Raises:
            RuntimeError: nothing will come as long as the loop waits, and ``seconds`` do not help.
        """
        del seconds
        serve = self.network.serve_at_once
        if serve is not None:
            serve(self.worker_id)
        messages = link.receive_nowait()
        if messages is None:
            raise RuntimeError(
                "this call waits for others of the cluster (an object store that is full, an object that was spilled), "
                "which live in the Trio loop in whose thread it is made. Make it in another thread: "
                "`await trio.to_thread.run_sync(function, *args)`."
            )
        return messages
