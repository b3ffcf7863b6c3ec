"""Single questions and orders to a node, from a process that has not joined it: the command line, test clusters.

Not here: the services that answer (``node.services``, ``gcs.service``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import attrs
import trio

from trayray.api.memory_records import report_of
from trayray.core.memory_table import MemoryReport
from trayray.link.grpc_edge import ControlChannel, open_channel
from trayray.node.session import Session
from trayray.wire.proto.trayray import v1

T = TypeVar("T")

#: A node that runs answers within milliseconds; one that does not answer for this long is stuck (seconds).
ANSWER_SECONDS = 3.0
#: A process counts a million references in about two seconds (seconds).
REFERENCES_SECONDS = 10.0


@attrs.frozen
class ClusterStatus:
    """A cluster as its head sees it."""

    info: v1.ClusterInfo
    nodes: list[v1.Node]
    head: v1.NodeStats


def cluster_status(session: Session) -> ClusterStatus:
    """How the cluster of ``session`` is doing.

    Raises:
        OSError: it cannot be reached, or does not answer in time.
        RayError: it refuses to answer.
    """

    async def ask(channel: ControlChannel) -> ClusterStatus:
        return ClusterStatus(
            await channel.call(v1.GcsStub, v1.GcsStub.get_cluster_info, v1.GetClusterInfoRequest()),
            (await channel.call(v1.GcsStub, v1.GcsStub.list_nodes, v1.ListNodesRequest())).nodes,
            await channel.call(v1.RayletStub, v1.RayletStub.get_node_stats, v1.GetNodeStatsRequest()),
        )

    return _converse(session, ask)


def cluster_tree(session: Session) -> v1.Tree:
    """The jobs of the cluster of ``session`` with their supervisors and actors.

    Raises:
        OSError: it cannot be reached, or does not answer in time.
        RayError: it refuses to answer.
    """

    async def ask(channel: ControlChannel) -> v1.Tree:
        return await channel.call(v1.GcsStub, v1.GcsStub.get_tree, v1.GetTreeRequest())

    return _converse(session, ask)


def request_shutdown(session: Session, reason: str) -> None:
    """Ask the node of ``session`` to end in good order; it is still about to when this returns.

    Raises:
        OSError: it cannot be reached, or does not answer in time.
        RayError: it refuses.
    """

    async def ask(channel: ControlChannel) -> None:
        await channel.call(v1.RayletStub, v1.RayletStub.shutdown, v1.ShutdownRequest(reason=reason))

    _converse(session, ask)


def memory_report(
    session: Session, *, answer_seconds: float = REFERENCES_SECONDS, most_references: int = 10_000
) -> MemoryReport:
    """What the processes of the cluster of ``session`` keep in memory.

    Args:
        answer_seconds: a process that takes longer is named as one that has not answered.
        most_references: so many references of one process are listed, the largest; all are counted.

    Raises:
        OSError: it cannot be reached, or does not answer in time.
        RayError: it refuses to answer.
    """
    request = v1.GetNodeMemoryRequest(answer_seconds=answer_seconds, most_references=most_references)

    async def ask(channel: ControlChannel) -> v1.NodeMemory:
        return await channel.call(v1.RayletStub, v1.RayletStub.get_node_memory, request)

    return report_of(_converse(session, ask, ANSWER_SECONDS + answer_seconds), answer_seconds)


def _converse(session: Session, talk: Callable[[ControlChannel], Awaitable[T]], seconds: float | None = None) -> T:
    """In a thread and loop of its own, since the caller's thread may have a loop already."""
    host, _, port = session.address().rpartition(":")
    token = session.token()
    seconds = ANSWER_SECONDS if seconds is None else seconds

    async def main() -> T:
        async with open_channel(host, int(port), token) as channel:
            with trio.move_on_after(seconds):
                return await talk(channel)
        raise TimeoutError(f"{host}:{port} did not answer within {seconds:g} s; is it overloaded or stopped?")

    with ThreadPoolExecutor(1, thread_name_prefix="trayray-control") as executor:
        return executor.submit(trio.run, main).result()
