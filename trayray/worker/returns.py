"""Several results of one call: each is written when it is there, and becomes the caller's when all are.

So a call that fails half-way leaves nothing with its caller that nobody would ever free.
Not here: one result (``calls``), values that are sent while a generator runs (``yielding``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trayray.wire.serialization import serialize
from trayray.wire.values import INLINE, STORED, Place, RefInfo, Value
from trayray.worker.objects import INLINE_BYTES

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.references import ObjectRef


def lend_to(core: CoreWorker, refs: list[ObjectRef[Any]], owner: str) -> list[RefInfo]:
    """How references inside a value travel to the process at ``owner``, which is known as their borrower from now on.

    Blocks the calling thread until the owners of those that are foreign here have heard of it.
    """
    requests = core.references.pass_on(refs, owner)
    if requests:
        core.run_async(core.peers.answered, requests)
    return core.references.infos(refs)


class TooManyResults(ValueError):
    """There are more values than references for them."""


class Results:
    """The results of one call, as they come; `hand_over` or `discard` them."""

    def __init__(self, core: CoreWorker, owner: str, count: int, name: str) -> None:
        """``count`` references of the process at ``owner`` wait for what ``name`` gives."""
        self._core = core
        self._owner = owner
        self._count = count
        self._name = name
        self._values: list[Value] = []
        #: The references inside each value.
        self._refs: list[list[ObjectRef[Any]]] = []
        #: Segments that are still this process's.
        self._places: list[Place] = []

    @property
    def missing(self) -> int:
        """How many references have no value."""
        return self._count - len(self._values)

    def add(self, item: Any) -> None:
        """Take the next value.

        Raises:
            TooManyResults: no reference waits for it.
            Exception: it cannot be pickled, or there is no room for it.
        """
        if not self.missing:
            raise TooManyResults(f"{self._name}() yielded more values than num_returns={self._count}.")
        serialized = serialize(item)
        if serialized.size <= INLINE_BYTES:
            value = Value(INLINE, serialized.to_bytes())
        else:
            place = self._core.objects.write(serialized)
            self._places.append(place)
            value = Value(STORED, b"", place)
        self._values.append(value)
        self._refs.append(serialized.refs)

    def check(self) -> None:
        """Raise unless every reference has its value.

        Raises:
            ValueError: some have none.
        """
        if self.missing:
            text = f"{self._name}() yielded {len(self._values)} values, but num_returns={self._count}."
            raise ValueError(text)

    def hand_over(self) -> list[Value]:
        """The values, which are the caller's from now on."""
        for value, refs in zip(self._values, self._refs, strict=True):
            if refs:
                value.refs = lend_to(self._core, refs, self._owner)
        self._core.objects.seal(self._places, self._owner)
        return self._values

    def discard(self) -> None:
        """Nobody gets what has come so far."""
        for place in self._places:
            self._core.objects.free(place)
        self._values, self._refs, self._places = [], [], []
