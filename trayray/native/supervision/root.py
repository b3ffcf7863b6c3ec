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

from trayray.core.supervision_messages import Ending, Outcome
from trayray.exceptions import RayError, SupervisionError
from trayray.native.supervision.events import Events
from trayray.native.supervision.report import TreeReport
from trayray.native.supervision.service import SupervisionService, Tree
from trayray.worker.wake import Wake

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
        tree = Tree(core, self.events, self._report.mark, self.shut_down, self._interrupt)
        self.service = SupervisionService(tree, spec)
        #: All children have started, or it has ended.
        self.settled = trio.Event()
        #: It has ended, with all children.
        self.over = trio.Event()
        self.outcome: Outcome | None = None
        #: Why it has ended without having been told to.
        self.error: RayError | None = None
        #: There may be children.
        self.begun = False
        #: It was told to end, perhaps before it has begun.
        self._told = False
        #: Ctrl-C has met a child of this loop: it is to be raised when all children are gone.
        self.interrupted: KeyboardInterrupt | None = None
        # Its children are stopped in order by those who leave the block, cancelled or not; from then on there is a
        # deadline (`shut_down`). Until then it lives as long as the block, which is its parent.
        self._shield = trio.CancelScope(shield=True)

    async def run(self, when_over: Callable[[], object] = lambda: None) -> None:
        """Until it has ended, which `shut_down` brings about, not cancellation; ``when_over`` is called then."""
        try:
            with self._shield:
                if self._told:  # those who leave the block may be quicker than this task
                    self.outcome = Outcome(Ending.SHUT_DOWN)
                else:
                    self.begun = True
                    await self._serve()
            if self._shield.cancelled_caught:
                self.error = SupervisionError(
                    f"The supervisor {self.service.spec.id!r} was told to end, and its children are not gone after "
                    f"{_BROKEN_AFTER:g} s more than they may take.",
                    self.service.spec.id,
                )
        finally:
            self.error = self.error or self.core.lost
            self.events.close()
            self._report.withdraw()
            self.settled.set()
            self.over.set()
        when_over()

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report.run, self.service)
            nursery.start_soon(self._end_with_the_node)
            self.outcome = await self.service.serve(self.settled.set)
            self.error = self.service.error_of(self.outcome)
            await self.service.close()
            nursery.cancel_scope.cancel()

    async def _end_with_the_node(self) -> None:
        gone = Wake()
        with self.core.ends.when_over(gone.set):
            await gone.wait()
        self.shut_down()

    def _interrupt(self, interrupt: KeyboardInterrupt) -> None:
        self.interrupted = interrupt
        self.shut_down()

    def shut_down(self) -> None:
        """Stop the children in reverse order; `over` follows, at the latest when all their deadlines have passed."""
        if self.over.is_set():
            return
        self._told = True
        if self._shield.deadline == math.inf:
            self._shield.deadline = trio.current_time() + self.service.seconds_to_stop() + _BROKEN_AFTER
        self.service.shut_down()
