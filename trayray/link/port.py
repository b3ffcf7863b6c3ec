"""The interface of a link and its errors: what every carrier (Unix socket, memory, gRPC stream) offers.

A link carries batches of messages in order, both ways, until either side closes it. The end of a link is the death
notice of its peer: whoever serves a link cleans up after the peer when `Link.receive` returns nothing.
"""

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

M = TypeVar("M")


class LinkClosed(Exception):
    """The link's peer is gone or this side closed it; nothing can be sent any more."""


class Link(Protocol, Generic[M]):
    """One end of a link. Create links through a carrier's ``connect`` or listener; ``close`` ends both directions."""

    def send(self, messages: Sequence[Any]) -> None:
        """Queue a batch, in order, without waiting; from any thread.

        Raises:
            LinkClosed: the link has ended; the batch is dropped.
        """
        ...

    async def receive(self) -> list[M]:
        """The next messages, at least one; an empty list once the peer has closed the link."""
        ...

    def receive_nowait(self) -> list[M] | None:
        """Messages that have arrived already: None when there are none, an empty list at the end of the link."""
        ...

    async def run(self) -> None:
        """Carry queued batches until the link closes; a child task of whoever owns the link."""
        ...

    def close(self) -> None:
        """End the link now. Idempotent."""
        ...

    @property
    def closed(self) -> bool:
        """Whether `send` would raise."""
        ...
