"""Frames that have arrived whole and wait for a Trio task: the receiving half of carriers that deliver frames.

Not here: carriers of a plain byte stream, which decode as they read (``unix``).
"""

from collections import deque
from typing import Any, Generic, TypeVar

import trio

from trayray.wire.frames import FrameDecoder, FrameError

M = TypeVar("M")


class FrameInbox(Generic[M]):
    """Frames in order of arrival, until `end` or `discard`. One Trio loop fills and empties it; one task receives."""

    def __init__(self, message_type: Any, peer: str) -> None:
        self._decoder: FrameDecoder[M] = FrameDecoder(message_type)
        self._peer = peer
        self._frames: deque[bytes] = deque()
        self._ended = False
        self._changed = trio.Event()
        #: Bytes that wait to be received.
        self.size = 0

    def put(self, data: bytes) -> None:
        """Add what should be exactly one frame; dropped after `end` and `discard`."""
        if self._ended:
            return
        self._frames.append(data)
        self.size += len(data)
        self._changed.set()

    def end(self) -> None:
        """Nothing more arrives; what has arrived can still be received."""
        self._ended = True
        self._changed.set()

    def discard(self) -> None:
        """Nobody will receive any more."""
        self._frames.clear()
        self.size = 0
        self.end()

    async def receive(self) -> list[M]:
        """All messages that have arrived, at least one; an empty list after the end.

        Raises:
            FrameError: the peer sent something else than a frame of this link; what came before has been returned.
        """
        await trio.lowlevel.checkpoint()
        while True:
            messages = self._take()
            if messages or self._ended:
                return messages
            self._changed = trio.Event()
            await self._changed.wait()

    def _take(self) -> list[M]:
        messages: list[M] = []
        while self._frames:
            data = self._frames[0]
            try:
                if len(data) < 4 or int.from_bytes(data[:4], "little") != len(data) - 4:
                    raise FrameError(f"{self._peer} sent {len(data)} bytes that are not one whole frame")
                messages += self._decoder.feed(data)
            except FrameError:
                if messages:  # the broken frame's turn comes with the next call
                    break
                raise
            self._frames.popleft()
            self.size -= len(data)
        return messages
