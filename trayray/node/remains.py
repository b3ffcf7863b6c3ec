"""What a process leaves behind when it ends: the workers that end because of it, and because of those, and so on.

For whoever has to wait until nothing of it is left. Not here: ending them (``endings``, ``departures``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

from trayray.link.network import socket_name

if TYPE_CHECKING:
    from trayray.node.raylet import Raylet


class Remains:
    """The remains of this node's processes, by address."""

    def __init__(self, raylet: Raylet) -> None:
        self._raylet = raylet
        #: Of processes that have ended, while something of them is left: the processes that end because of it.
        self._left: dict[str, tuple[str, ...]] = {}
        #: Set when a process ends, and replaced.
        self._changed = trio.Event()

    def process_gone(self, address: str, workers: Iterable[bytes]) -> None:
        """A process has lost its link; these ``workers`` of its end, for whatever reason."""
        for each in [each for each in self._left if not self._is_left(each)]:
            del self._left[each]
        if left := tuple(map(socket_name, workers)):
            self._left[address] = left
        self.worker_ended()

    def worker_ended(self) -> None:
        """A process is gone: whoever waits looks again."""
        self._changed.set()
        self._changed = trio.Event()

    async def over(self, address: str) -> None:
        """Until the process at ``address`` is gone, and all that ends because of it.

        The ends of workers, each with its deadline, bound it.
        """
        while self._is_left(address):
            await self._changed.wait()

    def _is_left(self, address: str) -> bool:
        seen: set[str] = set()
        unseen = [address]
        while unseen:
            each = unseen.pop()
            if each in seen:  # two that worked for each other
                continue
            if self._raylet.clients.with_address(each) is not None or self._raylet.processes.at(each) is not None:
                return True
            seen.add(each)
            unseen += self._left.get(each, ())
        return False
