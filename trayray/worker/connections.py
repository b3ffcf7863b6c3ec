"""Those who call this worker: their task links, and the calls of theirs that a pool of threads has.

Not here: which call is executed when (``execution``).
"""

from __future__ import annotations

import socket
from concurrent.futures import Future
from typing import Any

from trayray.link.network import socket_name
from trayray.link.port import LinkClosed
from trayray.link.unix import UnixLink
from trayray.wire.greetings import Hello
from trayray.wire.task_messages import Done, Push, TaskMessage
from trayray.worker.calls import Target
from trayray.worker.cancelling import ThreadRegion


class PooledCall:
    """A call that a pool of threads has."""

    __slots__ = ("connection", "future", "group", "name", "push", "region", "thread")

    def __init__(self, group: str, name: str, connection: Connection, push: Push) -> None:
        self.group = group
        self.name = name
        self.connection = connection
        self.push = push
        self.region = ThreadRegion()
        #: Set once the pool has it.
        self.future: Future[None] | None = None
        #: The thread that executes it, 0 while none does.
        self.thread = 0


class Connection:
    """A caller's task link."""

    def __init__(self, hello: Hello, sock: socket.socket) -> None:
        self.address = socket_name(hello.worker_id)
        self.link: UnixLink[TaskMessage] = UnixLink(sock, TaskMessage)
        self.calls: dict[int, Target] = {}
        #: Replies not sent yet; guarded by the executor's lock.
        self.held: list[Done] = []

    def send(self, messages: list[Any]) -> None:
        """Send to the caller; a caller that is gone needs no answer any more."""
        try:
            self.link.send(messages)
        except LinkClosed:
            self.link.close()
