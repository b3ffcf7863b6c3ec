"""Links within one Trio loop, the carrier of simulated clusters: bytes are copied, encoded and decoded as on a wire.

A `Route` stands for the network between the ends. Not here: what a simulated network does with a frame.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import trio

from trayray.link.inbox import FrameInbox
from trayray.link.port import LinkClosed
from trayray.wire.frames import encode_frame

A = TypeVar("A")
B = TypeVar("B")
M = TypeVar("M")

#: Called in the loop with each frame and with a function that makes it arrive, now or later. An empty frame is the
#: sender's goodbye. A frame that never arrives holds back all that follow on its link, as a lost packet does.
Route = Callable[[bytes, Callable[[bytes], None]], None]


def memory_link_pair(
    message_type_a: type[A] | Any, message_type_b: type[B] | Any, route: Route | None = None, back: Route | None = None
) -> "tuple[MemoryLink[A], MemoryLink[B]]":
    """Two ends of a link; call it inside the Trio loop that uses them.

    Args:
        message_type_a: the messages that the first end receives.
        message_type_b: the messages that the second end receives.
        route: the way from the first end to the second; None delivers at once.
        back: the way from the second end to the first; the same as ``route`` unless given.
    """
    first: MemoryLink[A] = MemoryLink(message_type_a, route or _at_once)
    second: MemoryLink[B] = MemoryLink(message_type_b, back or route or _at_once)
    first.join(second)
    second.join(first)
    return first, second


def _at_once(frame: bytes, deliver: Callable[[bytes], None]) -> None:
    deliver(frame)


class MemoryLink(Generic[M]):
    """One end of a `memory_link_pair`; a `trayray.link.port.Link`."""

    def __init__(self, message_type: Any, route: Route) -> None:
        self._inbox: FrameInbox[M] = FrameInbox(message_type, "the other end")
        self._route = route
        self._peer: MemoryLink[Any] | None = None
        self._thread, self._trio_token = threading.get_ident(), trio.lowlevel.current_trio_token()
        #: Guards `_closed` against `_outgoing`: nothing is queued after the goodbye.
        self._lock = threading.Lock()
        self._closed = False
        self._outgoing: deque[bytes] = deque()
        self._sent = 0
        #: Frames that overtook others on the way, by number, and the number of the one whose turn it is.
        self._early: dict[int, bytes] = {}
        self._expected = 0
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return f"<MemoryLink sent={self._sent} received={self._expected} closed={self._closed}>"

    def join(self, peer: "MemoryLink[Any]") -> None:
        """Make ``peer`` the other end; part of making a pair."""
        self._peer = peer

    @property
    def closed(self) -> bool:
        return self._closed

    def send(self, messages: Sequence[Any]) -> None:
        data = encode_frame(messages)
        with self._lock:
            if self._closed:
                raise LinkClosed("the link is closed")
            self._outgoing.append(data)
        self._in_loop(self._forward)

    async def receive(self) -> list[M]:
        return await self._inbox.receive()

    async def run(self) -> None:
        await self._ended.wait()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._outgoing.append(b"")
        self._in_loop(self._leave)

    def cut(self) -> None:
        """The network fails: both ends see the end now, and nothing that is under way arrives."""
        for end in (self, self._peer):
            if end is not None:
                end._lose()

    def _in_loop(self, function: Callable[[], None]) -> None:
        if threading.get_ident() == self._thread:
            function()
            return
        with suppress(trio.RunFinishedError):  # the loop is gone, and the other end with it
            self._trio_token.run_sync_soon(function, idempotent=True)

    def _forward(self) -> None:
        while self._outgoing:
            self._route(self._outgoing.popleft(), self._delivery())

    def _delivery(self) -> Callable[[bytes], None]:
        number, peer = self._sent, self._peer
        self._sent += 1
        assert peer is not None, "a link is made with its other end"
        return lambda frame: peer._arrive(number, frame)

    def _arrive(self, number: int, frame: bytes) -> None:
        if self._ended.is_set() or number < self._expected:
            return
        self._early[number] = frame
        while not self._ended.is_set() and self._expected in self._early:
            ready = self._early.pop(self._expected)
            self._expected += 1
            if ready:
                self._inbox.put(ready)
            else:
                self._lose()

    def _lose(self) -> None:
        with self._lock:
            self._closed = True
            self._outgoing.clear()
        self._early.clear()
        self._inbox.end()
        self._ended.set()

    def _leave(self) -> None:
        self._forward()
        self._inbox.discard()
        self._ended.set()
