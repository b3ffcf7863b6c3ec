"""The supervision trees of all processes of a node, as they have reported them last.

Not here: what they look like as answers (``services``), how processes report (``native.supervision.report``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trayray.node.clients import Client
    from trayray.wire.actor_messages import SupervisedNode, SupervisionTold


class SupervisionTrees:
    """Trees by the processes that they live in."""

    def __init__(self) -> None:
        self._trees: dict[bytes, dict[int, SupervisedNode]] = {}

    def told(self, client: Client, message: SupervisionTold) -> None:
        """A process says what one of its trees looks like."""
        trees = self._trees.setdefault(client.worker_id, {})
        if message.root is not None:
            trees[message.number] = message.root
            return
        trees.pop(message.number, None)
        if not trees:
            del self._trees[client.worker_id]

    def process_gone(self, client: Client) -> None:
        """A process has ended, and its trees with it."""
        self._trees.pop(client.worker_id, None)

    def of(self, worker_id: bytes) -> list[SupervisedNode]:
        """The trees of a process, oldest first."""
        return list(self._trees.get(worker_id, {}).values())
