"""``as_completed`` for Trio programs: references in the order in which their values come.

Not here: the same for threads (``util.completion``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Any, TypeVar

from trayray.native.calls import connected
from trayray.worker.references import ObjectRef
from trayray.worker.wake import Wake

T = TypeVar("T")


async def as_completed(refs: Iterable[ObjectRef[T]]) -> AsyncGenerator[ObjectRef[T]]:
    """The references, each as soon as it has its value or its error: awaiting it then does not wait.

    Args:
        refs: references of results; an iterator that makes calls is run to its end first.

    Raises:
        TypeError: not references.
    """
    core = connected()
    listed = list(refs)
    for ref in listed:
        if type(ref) is not _REF:
            raise TypeError(f"as_completed() takes references of results, such as f.remote() gives, not {ref!r}")
    arrived = _Arrived()
    table = core.references
    try:
        missing: list[ObjectRef[T]] = []
        with table.lock:
            for ref in listed:
                (missing if table.add_waiter(ref, arrived) else arrived.refs).append(ref)
        core.objects.want(missing)
        for _ in range(len(listed)):
            while not arrived.refs:
                await arrived.wait()
            yield arrived.refs.popleft()
    finally:
        for ref in listed:
            table.remove_waiter(ref, arrived)


#: `ObjectRef` with a parameter, for checkers.
_REF: type[ObjectRef[Any]] = ObjectRef


class _Arrived:
    """A `Waiter`: references whose values have come."""

    def __init__(self) -> None:
        self.refs: deque[ObjectRef[Any]] = deque()
        self._more = Wake()

    def notify(self, ref: ObjectRef[Any]) -> None:
        self.refs.append(ref)
        self._more.set()

    async def wait(self) -> None:
        self._more = Wake()
        if not self.refs:
            await self._more.wait()
