"""What the node tells a driver or worker, and who it is for.

Runs in the loop's thread. Not here: what is told to the node (``CoreWorker.to_node``), orders to a worker (``main``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trayray.wire.actor_messages import ActorEnded, ActorState, RemainsEnded
from trayray.wire.lease_messages import Contended, Grant, GroupNews, LeaseLost, Refused
from trayray.wire.process_messages import JobEnding, JobFinished, LogLines, Notice, PeerGone
from trayray.wire.report_messages import AskReferences, NodeTold
from trayray.wire.store_messages import Created, Fence, LeftSegments, Located
from trayray.worker.driver_output import LinePrinter

if TYPE_CHECKING:
    from trayray.link.port import Link
    from trayray.wire.node_messages import NodeMessage
    from trayray.worker.core_worker import CoreWorker


class NodeNews:
    """The node link of one core worker, as far as it is read."""

    def __init__(self, core: CoreWorker, *, print_logs: bool) -> None:
        self._core = core
        self._prints_logs = print_logs
        self.printer = LinePrinter()
        #: What the node grants the job's workers to clean up (seconds).
        self.job_ends_within = 0.0

    async def serve(self, link: Link[NodeMessage]) -> None:
        """Until the link's end, which is the node's death."""
        while messages := await link.receive():
            self.take(messages)
        self._core.node_lost()

    def take(self, messages: Sequence[NodeMessage]) -> None:
        """Messages have come."""
        core = self._core
        with core.state_lock:
            for message in messages:
                self._handle(message)
            core.flush()

    def _handle(self, message: NodeMessage) -> None:
        core = self._core
        match message:
            case Grant():
                core.tasks.granted(message)
            case LeaseLost():
                core.tasks.lease_lost(message)
            case Refused():
                core.tasks.refused(message)
            case GroupNews():
                core.groups.news(message)
            case Contended(contended):
                core.tasks.contended(contended)
            case Created() | Located() | Fence() | LeftSegments():
                self._handle_store(message)
            case ActorState():
                core.actors.changed(message)
            case PeerGone(address):
                core.process_gone(address)
            case JobEnding(seconds):
                self.job_ends_within = seconds
            case JobFinished():
                core.ended.set()
                core.job_over.set()
            case LogLines():
                if self._prints_logs:
                    self.printer.show(message)
            case Notice(lines):
                self.printer.show(LogLines(0, "trayray", True, lines))
            case NodeTold():
                core.explaining.answered(message)
            case ActorEnded() | RemainsEnded():
                core.ends.answered(message)
            case AskReferences():
                from trayray.worker.reference_report import tell_references

                core.nursery.start_soon(tell_references, core, message)
            case _:
                if core.on_message is not None:
                    core.on_message(message)

    def _handle_store(self, message: Created | Located | Fence | LeftSegments) -> None:
        core = self._core
        match message:
            case Created():
                core.objects.created(message)
            case Located():
                core.objects.reading.located(message)
            case Fence():
                core.objects.answer_fence(message)
            case LeftSegments(writer, segments):
                core.tasks.take_last_results(writer)
                core.actors.take_last_results(writer)
                core.objects.free_unknown(segments)
