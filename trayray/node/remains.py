"""What a process leaves behind when it ends: the workers that end because of it, and because of those, and so on.

For whoever has to wait until nothing of it is left. Not here: ending them (``endings``, ``departures``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trayray.link.network import socket_name

if TYPE_CHECKING:
    from trayray.node.departures import Group
    from trayray.node.raylet import Raylet


@attrs.frozen
class _Left:
    """Who ends because one process has ended."""

    group: Group
    addresses: tuple[str, ...]


class Remains:
    """The remains of this node's processes, by address."""

    def __init__(self, raylet: Raylet) -> None:
        self._raylet = raylet
        #: Of processes that have ended, while something of them is left.
        self._left: dict[str, _Left] = {}
        #: Set when a process ends, and replaced.
        self._changed = trio.Event()

    def process_gone(self, address: str, group: Group | None) -> None:
        """A process has lost its link; ``group`` ends because of it."""
        for each in [each for each in self._left if not self._is_left(each)]:
            del self._left[each]
        if group is not None:
            members = tuple(socket_name(worker) for worker in group.departure.members)
            self._left[address] = _Left(group, members)
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
        if self._raylet.clients.with_address(address) is not None or self._raylet.processes.at(address) is not None:
            return True
        left = self._left.get(address)
        return left is not None and any(map(self._is_left, left.addresses))
