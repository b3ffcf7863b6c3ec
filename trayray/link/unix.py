"""Links over Unix stream sockets, the carrier within a node.

A send goes straight to the socket from the calling thread while the socket takes it; only what does not fit waits for
the link's writer task. Not here: authentication (``handshake``) and the meaning of messages.
"""

import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import trio

from trayray.link.port import LinkClosed
from trayray.wire.frames import FrameDecoder, encode_frame

M = TypeVar("M")

_RECEIVE_BYTES = 256 * 1024
_SOCKET_BUFFER = 1024 * 1024
#: Longest path a Unix socket address can hold on Linux; longer ones are reached through /proc/self/fd.
_PATH_LIMIT = 100


class UnixLink(Generic[M]):
    """A `Link` on a connected, non-blocking stream socket, which it owns."""

    def __init__(self, sock: socket.socket, message_type: Any) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self._socket = sock
        self._decoder: FrameDecoder[M] = FrameDecoder(message_type)
        #: Guards `_backlog`, the order of sends, and that nobody starts to wait on a socket that is being closed.
        self._lock = threading.Lock()
        #: Bytes the socket did not take yet, in order; while it is not empty every send appends to it.
        self._backlog: deque[memoryview] = deque()
        self._backlogged = trio.Event()
        #: The loop whose tasks may be waiting on the socket; only there may it be closed.
        self._token: trio.lowlevel.TrioToken | None = None
        self._closed = False
        self._peer_gone = False

    def __repr__(self) -> str:
        return f"<UnixLink fd={self._socket.fileno()} backlog={len(self._backlog)} closed={self._closed}>"

    @property
    def closed(self) -> bool:
        return self._closed or self._peer_gone

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, messages: Sequence[Any]) -> None:
        data = encode_frame(messages)
        with self._lock:
            if self._closed:
                raise LinkClosed("the link is closed")
            if self._backlog:
                self._backlog.append(memoryview(data))
                return
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._peer_gone = True
                raise LinkClosed(f"the peer is gone: {error}") from error
            if sent == len(data):
                return
            self._backlog.append(memoryview(data)[sent:])
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._token is None:  # run() has not started yet; it looks at the backlog first
            return
        try:
            self._token.run_sync_soon(self._backlogged.set)
        except trio.RunFinishedError:
            self.close()

    async def run(self) -> None:
        self._enter_loop()
        while not self._closed:
            with self._lock:
                head = self._backlog[0] if self._backlog else None
                if head is None:
                    self._backlogged = trio.Event()
            if head is None:
                await self._backlogged.wait()
                continue
            try:
                await trio.lowlevel.wait_writable(self._socket)
            except trio.ClosedResourceError:
                return
            self._send_backlog()

    def _send_backlog(self) -> None:
        with self._lock:
            while self._backlog and not self._closed:
                data = self._backlog[0]
                try:
                    sent = self._socket.send(data)
                except BlockingIOError:
                    return
                except OSError:
                    self._peer_gone = True
                    self._backlog.clear()  # the reader sees the end of the link and cleans up
                    return
                if sent == len(data):
                    self._backlog.popleft()
                else:
                    self._backlog[0] = data[sent:]

    def send_rest(self, seconds: float) -> None:
        """Block the calling thread until what waits has been sent, at most ``seconds``: for a process that ends."""
        poller = select.poll()
        deadline = time.monotonic() + seconds
        while self._backlog and not self.closed and (left := deadline - time.monotonic()) > 0:
            poller.register(self._socket, select.POLLOUT)
            poller.poll(left * 1000)
            self._send_backlog()

    def receive_nowait(self) -> list[M] | None:
        """Messages that have arrived, None when none are complete yet, an empty list at the end of the link."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return None
            except OSError:
                data = b""
            if not data:
                self._peer_gone = True
                return []
            if messages := self._decoder.feed(data):
                return messages

    def receive_in_thread(self, seconds: float) -> list[M] | None:
        """`receive_nowait` after something has arrived, or ``seconds``; what waits to be sent is sent meanwhile."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | (select.POLLOUT if self._backlog else 0))
        for _, event in poller.poll(seconds * 1000):
            if event & select.POLLOUT:
                self._send_backlog()
        return self.receive_nowait()

    async def receive(self) -> list[M]:
        self._enter_loop()
        while True:
            if self._closed:
                return []
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except trio.ClosedResourceError:
                return []
            messages = self.receive_nowait()
            if messages is not None:
                return messages

    def _enter_loop(self) -> None:
        with self._lock:
            if self._token is None:
                self._token = trio.lowlevel.current_trio_token()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._backlog.clear()
            token = self._token
        if token is None:
            self._socket.close()
        elif token is _current_token():
            self._release()
        else:
            with suppress(OSError):  # not connected any more
                self._socket.shutdown(socket.SHUT_RDWR)  # the peer sees the end now
            try:
                token.run_sync_soon(self._release)
            except trio.RunFinishedError:
                self._socket.close()

    def _release(self) -> None:
        # In the loop: a descriptor that is closed elsewhere would leave tasks that wait for it waiting for ever.
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self._backlogged.set()


def _current_token() -> trio.lowlevel.TrioToken | None:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:  # this thread runs no loop
        return None


@contextmanager
def _address_of(path: Path):
    """A socket address for ``path``, however long the path is."""
    text = str(path)
    if len(os.fsencode(text)) <= _PATH_LIMIT:
        yield text
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def connect_unix(path: Path) -> socket.socket:
    """A stream socket connected to the listener at ``path``; local connects do not wait.

    Raises:
        OSError: nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address_of(path) as address:
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_unix(path: Path, backlog: int = 512) -> socket.socket:
    """A listening, non-blocking stream socket at ``path`` that only this user may connect to."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address_of(path) as address:
            sock.bind(address)
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
