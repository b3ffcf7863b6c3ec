"""The processes connected to a node: drivers and workers, each with its link and what it is.

Not here: what they ask for (``raylet``, ``store``).
"""

from __future__ import annotations

from typing import Any

import attrs

from trayray.link.port import Link, LinkClosed
from trayray.wire.node_messages import NodeMessage
from trayray.wire.process_messages import PeerGone
from trayray.wire.specs import JobConfig


@attrs.define(eq=False)
class Client:
    """One connected process."""

    worker_id: bytes
    address: str
    role: str
    pid: int
    job: bytes
    link: Link[NodeMessage]
    #: A driver's settings for its workers, encoded; empty until it has sent them.
    config: bytes = b""
    job_config: JobConfig | None = None
    #: Its job has ended: what it still asks for does not count.
    leaving: bool = False

    def send(self, messages: list[Any]) -> None:
        """Send to the process; one that is just leaving needs nothing any more."""
        try:
            self.link.send(messages)
        except LinkClosed:
            self.link.close()


class Clients:
    """All connected processes."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, Client] = {}
        self._by_address: dict[str, Client] = {}
        self._last_job = 0

    def add(self, client: Client) -> None:
        self.by_id[client.worker_id] = client
        self._by_address[client.address] = client

    def remove(self, client: Client) -> None:
        """Forget a process and tell the others that it is gone."""
        self.by_id.pop(client.worker_id, None)
        self._by_address.pop(client.address, None)
        for other in self.by_id.values():
            other.send([PeerGone(client.address)])

    def next_job(self) -> bytes:
        """The id of a new driver's job."""
        self._last_job += 1
        return self._last_job.to_bytes(4, "little")

    def driver_of(self, job: bytes) -> Client | None:
        """The driver whose job this is, while it is connected."""
        return next((c for c in self.by_id.values() if c.role == "driver" and c.job == job), None)

    def with_address(self, address: str) -> Client | None:
        return self._by_address.get(address)
