"""What a supervision tree looks like, for `trayray tree`: sent to the node when it has changed, now and then.

Not here: putting the trees of all processes together (``node.supervision_trees``), showing them (``cli.tree``).
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final

import trio

from trayray.native.supervision.actors import SupervisedActor
from trayray.wire.actor_messages import SupervisedNode, SupervisionTold

if TYPE_CHECKING:
    from trayray.native.supervision.service import SupervisionService
    from trayray.worker.core_worker import CoreWorker

#: A tree that changes all the time is reported so often (seconds).
_INTERVAL: Final = 0.1

_numbers = itertools.count(1)


class TreeReport:
    """Reports one tree of this process."""

    def __init__(self, core: CoreWorker, name: str) -> None:
        self._core = core
        self._name = name
        self._number = next(_numbers)
        self._changed = trio.Event()
        self._since = time.time()

    def mark(self) -> None:
        """The tree has changed."""
        self._changed.set()

    async def run(self, service: SupervisionService) -> None:
        """Report changes until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            root = SupervisedNode(
                self._name, "supervisor", "running", service.machine.policy.strategy, since=self._since
            )
            root.children = nodes_of(service)
            self._tell(SupervisionTold(self._number, root))
            await trio.sleep(_INTERVAL)

    def withdraw(self) -> None:
        """The tree is no more."""
        self._tell(SupervisionTold(self._number, None))

    def _tell(self, message: SupervisionTold) -> None:
        self._core.call_soon(self._core.to_node_if_there, [message])


def nodes_of(service: SupervisionService) -> list[SupervisedNode]:
    """The children of a supervisor as they are now."""
    from trayray.native.supervision.service import SupervisionService

    offset = time.time() - trio.current_time()
    found: list[SupervisedNode] = []
    for child in service.machine.children:
        spec, runs = service.spec_of(child.id), service.child(child.id)
        node = SupervisedNode(
            child.id,
            "worker" if spec is None else spec.kind,
            child.state.value,
            restarts=child.restarts,
            since=child.since + offset if child.since else 0.0,
            reason="" if child.last_exit is None else child.last_exit.reason,
        )
        if isinstance(runs, SupervisionService):
            node.strategy = runs.spec.strategy
            node.children = nodes_of(runs)
        elif isinstance(runs, SupervisedActor):
            node.actor = runs.actor_id
        found.append(node)
    return found
