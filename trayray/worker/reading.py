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
from weakref import ref

import attrs

from trayray.core.marks import MARKS
from trayray.exceptions import GetTimeoutError, ObjectLostError, RayError
from trayray.wire.store_messages import Locate, Located, Pin
from trayray.wire.values import Place
from trayray.worker.known_references import remove_dead

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.references import ObjectRef


@attrs.frozen
class FilePart:
    """Where bytes are on disk, of this machine."""

    path: str
    position: int


class ReadPin:
    """Held by every view of a segment: its bytes stay where they are until the last one goes."""

    __slots__ = ("__weakref__", "at", "place", "ref")

    place: Place
    #: Kept alive.
    ref: ObjectRef[Any] | None
    #: Where the bytes are: at an offset in the arena, on disk, or why they cannot be had. None: it has to be asked.
    at: int | FilePart | RayError | None


class _Watch(ref[ReadPin]):
    """Sees the end of a pin. Not its finalizer: while that runs, another thread could still take the pin up again."""

    __slots__ = ("place", "told")

    place: Place
    #: The store knows of the pin.
    told: bool


class Reading:
    """What one process reads of its node's store."""

    def __init__(self, core: CoreWorker) -> None:
        self.core = core
        #: By generation: all pins, each as long as anything is read by it. One at most for a segment: two would hide
        #: each other from the store's question.
        self._pins: dict[int, _Watch] = {}
        self._when_ended = self._ended
        # Held while the store is told of a pin that others may know.
        self._lock = threading.Lock()
        self._next_request = 0
        #: Questions without an answer: the pin, and what to call when it is.
        self._asked: dict[int, tuple[ReadPin, Callable[[], object]]] = {}

    def pin(self, place: Place, holder: ObjectRef[Any] | None, *, owned: bool) -> ReadPin:
        """Begin to read a segment, or go on. It has to be asked where the bytes are (`locate`) if it is not known.

        Args:
            place: what the value says.
            holder: kept alive by the pin.
            owned: whether this process owns the segment.

        Raises:
            LocalRayletDiedError: the node is gone.
        """
        offset, generation, _ = place
        pins = self._pins
        watch = pins.get(generation)
        pin = None if watch is None else watch()
        if pin is None:
            pin = ReadPin()  # without a constructor: this is done for each value that is read
            pin.place, pin.ref, pin.at = place, holder, None
            watch = _Watch(pin, self._when_ended)
            watch.place = place
            watch.told = False
            if not owned:
                self._tell(watch)
            while (there := pins.setdefault(generation, watch)) is not watch:
                other = there()
                if other is None:
                    remove_dead(pins, generation)
                    continue
                self._untell(watch)  # another thread was faster
                pin, watch = other, there
        if pin.at is None and not self.core.arena.marks[generation % MARKS]:
            pin.at = offset
        return pin

    def _ended(self, watch: _Watch) -> None:
        remove_dead(self._pins, watch.place[1])
        if watch.told:
            self._untell(watch)

    def _tell(self, watch: _Watch) -> None:
        if not watch.told:
            self.core.to_node([Pin(watch.place.offset, watch.place.generation, True)])
            watch.told = True

    def _untell(self, watch: _Watch) -> None:
        if watch.told:
            core, place = self.core, watch.place
            core.dropped.add(core.to_node_if_there, [Pin(place.offset, place.generation, False)])

    def tell(self, generations: Iterable[int]) -> None:
        """The store asks which of these segments are being read."""
        with self._lock:
            for generation in generations:
                watch = self._pins.get(generation)
                pin = None if watch is None else watch()
                if watch is not None and pin is not None:
                    self._tell(watch)

    # --- asking where bytes are ---

    def locate(self, pin: ReadPin, deadline: float | None) -> None:
        """Wait in the calling thread until it is known where the bytes of ``pin`` are.

        Raises:
            GetTimeoutError: it is not known at ``deadline`` (of ``time.monotonic``).
        """
        settled = threading.Event()
        with self.locating(pin, settled.set) as waiting:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if waiting and not self.core.wait_for_node(settled, left):
                raise GetTimeoutError("Get timed out: an object that was spilled to disk is not back in memory yet.")

    @contextmanager
    def locating(self, pin: ReadPin, call: Callable[[], object]) -> Generator[bool]:
        """Within the block, ``call`` is called by the loop once it is known where the bytes of ``pin`` are.

        Yields whether it has yet to be called.
        """
        if pin.at is not None:
            yield False
            return
        request = self.ask(pin, call)
        try:
            yield True
        finally:
            self._asked.pop(request, None)

    def ask(self, pin: ReadPin, call: Callable[[], object]) -> int:
        """As `locating`; the question's number."""
        with self._lock:
            self._next_request += 1
            request = self._next_request
            self._asked[request] = pin, call
            try:
                if self.core.closed is not None:  # only now: from here on `fail` finds the question
                    raise self.core.closed
                self._tell(self._pins[pin.place.generation])
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
            holder = pin.ref
            pin.at = ObjectLostError(
                "" if holder is None else holder.hex(), "" if holder is None else holder._owner, ""
            )
            pin.at.add_note(f"It was spilled, and its copy on disk cannot be read: {message.error}")
        elif message.offset < 0:
            pin.at = FilePart(message.path, message.position)
        else:
            pin.at = message.offset
        call()

    def forked(self) -> None:
        """This is a copy of the process; a thread that was not copied may hold the lock."""
        self._lock = threading.Lock()

    def fail(self, error: RayError) -> None:
        """Nobody will answer any more."""
        for request in list(self._asked):
            pin, call = self._asked.pop(request)
            pin.at = error
            call()
