"""Reading stored values in place: pins that keep their bytes in memory, and asking where bytes are that were spilled.

Whoever begins to read registers a pin here and then looks at the segment's mark. A mark that is not set is the word of
the store that the bytes are where they always were, and that it asks before it takes them away (`Fence`): so reading
costs owners no message, and others one, and nobody a round trip. See ``core.segments``.
Not here: the mapping of the arena (``arena_mapping``), unpickling (``objects``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from trayray.exceptions import GetTimeoutError, ObjectLostError, RayError
from trayray.wire.messages import Locate, Located, Pin, Place

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.references import ObjectRef


class ReadPin:
    """Held by every view of a segment: its bytes stay where they are until the last one goes."""

    __slots__ = ("__weakref__", "_reading", "error", "offset", "path", "place", "position", "ref", "settled", "told")

    def __init__(self, reading: Reading, place: Place, ref: ObjectRef[Any] | None) -> None:
        self._reading = reading
        self.place = place
        self.ref = ref
        #: The store knows of it.
        self.told = False
        #: The following holds.
        self.settled = False
        #: Where the bytes are in the arena; or, if that is negative, a file and where they begin in it.
        self.offset = place.offset
        self.path = ""
        self.position = 0
        #: Why they cannot be had.
        self.error: RayError | None = None

    def __del__(self) -> None:
        if self.told:
            core = self._reading.core
            core.dropped.add(core.to_node_if_there, [Pin(self.place.offset, self.place.generation, False)])


class Reading:
    """What one process reads of its node's store."""

    def __init__(self, core: CoreWorker) -> None:
        self.core = core
        #: By generation: all pins, each as long as anything is read by it.
        self.pins: WeakValueDictionary[int, ReadPin] = WeakValueDictionary()
        # Held while pins are made and told of: two for the same segment would hide each other.
        self._lock = threading.Lock()
        self._next_request = 0
        #: Questions without an answer: the pin, and what to call when it is settled.
        self._asked: dict[int, tuple[ReadPin, Callable[[], object]]] = {}

    def pin(self, place: Place, ref: ObjectRef[Any] | None, *, owned: bool) -> ReadPin:
        """Begin to read a segment, or go on. It is `settled` unless it has to be asked where the bytes are (`locate`).

        Args:
            place: what the value says.
            ref: kept alive by the pin.
            owned: whether this process owns the segment.

        Raises:
            LocalRayletDiedError: the node is gone.
        """
        with self._lock:
            pin = self.pins.get(place.generation)
            if pin is None:
                pin = ReadPin(self, place, ref)
                if not owned:
                    self._tell(pin)
                self.pins[place.generation] = pin
        if not pin.settled and not self.core.arena.is_marked(place.generation):
            pin.settled = True
        return pin

    def _tell(self, pin: ReadPin) -> None:
        if not pin.told:
            self.core.to_node([Pin(pin.place.offset, pin.place.generation, True)])
            pin.told = True

    def tell(self, generations: Iterable[int]) -> None:
        """The store asks which of these segments are being read."""
        with self._lock:
            for generation in generations:
                pin = self.pins.get(generation)
                if pin is not None:
                    self._tell(pin)

    # --- asking where bytes are ---

    def locate(self, pin: ReadPin, deadline: float | None) -> None:
        """Wait in the calling thread, which is not the loop's, until `pin` is settled.

        Raises:
            GetTimeoutError: it is not at ``deadline`` (of ``time.monotonic``).
        """
        settled = threading.Event()
        with self.locating(pin, settled.set) as waiting:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if waiting and not settled.wait(left):
                raise GetTimeoutError("Get timed out: an object that was spilled to disk is not back in memory yet.")

    @contextmanager
    def locating(self, pin: ReadPin, call: Callable[[], object]) -> Generator[bool]:
        """Within the block, ``call`` is called once the pin is settled, by the loop; yields whether it has yet to."""
        if pin.settled:
            yield False
            return
        request = self.ask(pin, call)
        try:
            yield True
        finally:
            self._asked.pop(request, None)

    def ask(self, pin: ReadPin, call: Callable[[], object]) -> int:
        """Have ``call`` called once the pin is settled, by the loop; the question's number."""
        with self._lock:
            self._next_request += 1
            request = self._next_request
            self._asked[request] = pin, call
            try:
                if self.core.closed is not None:  # only now: from here on `fail` finds the question
                    raise self.core.closed
                self._tell(pin)
                self.core.to_node([Locate(request, pin.place.offset, pin.place.generation)])
            except RayError:
                self._asked.pop(request, None)
                raise
        return request

    def located(self, message: Located) -> None:
        """The node answered."""
        asked = self._asked.pop(message.request, None)
        if asked is None:  # whoever asked has given up
            return
        pin, call = asked
        if message.error:
            ref = pin.ref
            pin.error = ObjectLostError("" if ref is None else ref.hex(), "" if ref is None else ref._owner, "")
            pin.error.add_note(f"It was spilled, and its copy on disk cannot be read: {message.error}")
        pin.offset, pin.path, pin.position = message.offset, message.path, message.position
        pin.settled = True
        call()

    def forked(self) -> None:
        """This is a copy of the process; a thread that was not copied may hold the lock."""
        self._lock = threading.Lock()

    def fail(self, error: RayError) -> None:
        """Nobody will answer any more."""
        for request in list(self._asked):
            pin, call = self._asked.pop(request)
            pin.error = error
            pin.settled = True
            call()
