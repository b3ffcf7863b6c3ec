"""Messages of the node link that tell and ask: executions, metrics, what waits, which references are held.

Tags are unique within the whole node link (``node_messages``).
"""

from typing import NamedTuple

from msgspec import Struct

from trayray.core.waiting import Fact
from trayray.model.scheduling import Scheduling


class TaskEvents(Struct, array_like=True, tag=25):
    """Finished executions for the timeline: (task id, name, start, end in seconds since the epoch, ok)."""

    events: list[tuple[bytes, str, float, float, bool]]


#: Kinds of `MetricUpdate`.
COUNTER, GAUGE, HISTOGRAM = 0, 1, 2


class MetricUpdate(NamedTuple):
    """What a process has recorded of one metric since its last report.

    ``points`` has one entry for each set of tags, as pairs: a counter's increase; a gauge's latest value; a
    histogram's sum, followed by how many values fell into each bucket (``boundaries`` are upper bounds, one bucket
    more has none).
    """

    name: str
    kind: int
    description: str
    boundaries: tuple[float, ...]
    points: list[tuple[tuple[tuple[str, str], ...], tuple[float, ...]]]


class MetricReport(Struct, array_like=True, tag=53):
    """What `trayray.util.metrics` recorded in the sender since its last report."""

    updates: list[MetricUpdate]


class AskNode(Struct, array_like=True, tag=40):
    """What does the node know: of these actors and of the one of this name; why do requests for these resources wait;
    which processes are there. Answered by `NodeTold`."""

    request: int = 0
    actors: list[bytes] = []
    name: str = ""
    needs: list[tuple[dict[str, float], Scheduling | None]] = []
    processes: bool = False


class NodeTold(Struct, array_like=True, tag=41):
    """The answer to `AskNode`: facts about actors, a sentence for each request, addresses of processes."""

    request: int
    actors: list[Fact] = []
    needs: list[str] = []
    processes: list[str] = []


class HeldReference(NamedTuple):
    """An object that the sender keeps; see ``core.memory_table.Reference``."""

    id: bytes
    #: Address of its owner.
    owner: str
    kind: str
    #: Bytes of its value; -1 while they are not known.
    size: int
    call_site: str
    task_status: str
    attempt: int


class AskReferences(Struct, array_like=True, tag=71):
    """Which objects does the receiver keep; answered by `ReferencesTold`, with at most ``most`` of them listed."""

    request: int
    most: int


class ReferencesTold(Struct, array_like=True, tag=72):
    """The answer to `AskReferences`: an encoded `HeldReferences`, which the node passes on as it is."""

    request: int
    held: bytes
