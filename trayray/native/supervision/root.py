"""The root of a supervision tree in a Trio loop: it is shielded until it is told to end, and then has a deadline.

    run                  shielded
    |- SupervisionService.serve    the supervisor, its children, their ends
    `- TreeReport.run

Not here: what a supervisor does (``service``), who opens one (``supervisor``, ``blocking``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from trayray.core.supervision_messages import Outcome
from trayray.exceptions import RaySystemError, SupervisionError
from trayray.native.supervision.events import Events
from trayray.native.supervision.report import TreeReport
from trayray.native.supervision.service import SupervisionService, Tree

if TYPE_CHECKING:
    from trayray.native.supervision.child_spec import SupervisorSpec
    from trayray.worker.core_worker import CoreWorker

#: Children have deadlines of their own, and are killed then. After so long (seconds, besides) something is broken.
_BROKEN_AFTER: Final = 60.0


class SupervisionRoot:
    """One tree of supervisors. Create it, then `run` it as a child task; `shut_down` it."""

    def __init__(self, core: CoreWorker, spec: SupervisorSpec) -> None:
        self.core = core
        self.events = Events()
        self._report = TreeReport(core, spec.id)
        self.service = SupervisionService(Tree(core, self.events, self._report.mark, self.shut_down), spec)
        #: All children have started, or it has ended.
        self.settled = trio.Event()
        #: It has ended, with all children.
        self.over = trio.Event()
        self.outcome: Outcome | None = None
        #: Why it has ended without having been told to.
        self.error: SupervisionError | None = None
        # Its children are stopped in order by those who leave the block, cancelled or not; from then on there is a
        # deadline (`shut_down`). Until then it lives as long as the block, which is its parent.
        self._shield = trio.CancelScope(shield=True)

    async def run(self, when_over: Callable[[], object] = lambda: None) -> None:
        """Until it has ended, which `shut_down` brings about, not cancellation; ``when_over`` is called then."""
        with self._shield:
            await self._serve()
        when_over()
        if self._shield.cancelled_caught:
            raise RaySystemError(
                f"the supervisor {self.service.spec.id!r} was told to end, and its children are not gone after "
                f"{_BROKEN_AFTER:g} s more than they may take"
            )

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report.run, self.service)
            try:
                self.outcome = await self.service.serve(self.settled.set)
                self.error = self.service.error_of(self.outcome)
                await self.service.close()
            finally:
                self.events.close()
                self._report.withdraw()
                self.settled.set()
                self.over.set()
                nursery.cancel_scope.cancel()

    def shut_down(self) -> None:
        """Stop the children in reverse order; `over` follows, at the latest when all their deadlines have passed."""
        if self.over.is_set():
            return
        if self._shield.deadline == math.inf:
            self._shield.deadline = trio.current_time() + self.service.seconds_to_stop() + _BROKEN_AFTER
        self.service.shut_down()
