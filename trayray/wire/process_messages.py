"""Messages of the node link about processes: their jobs, their ends, what they print.

Tags are unique within the whole node link (``node_messages``).
"""

from msgspec import Struct


class Exiting(Struct, array_like=True, tag=22):
    """The worker ends by itself; ``reason`` is a sentence for the user."""

    reason: str


class Exit(Struct, array_like=True, tag=23):
    """End in good order: clean up, run exit handlers, leave. ``reason`` is a sentence for the user.

    Whoever has not left after so many seconds is killed. ``patient``: calls in progress may take half of that time to
    end by themselves, because somebody may want their results.
    """

    reason: str
    seconds: float
    patient: bool = False


class LogLines(Struct, array_like=True, tag=24):
    """Whole lines that a worker of the receiver's job printed, oldest first."""

    pid: int
    name: str
    stderr: bool
    lines: list[str]


class FinishJob(Struct, array_like=True, tag=26):
    """The driver leaves; answered by `JobFinished` once everything of the job is gone and its output was sent."""


class JobFinished(Struct, array_like=True, tag=27):
    """Everything of the job has ended."""


class AssignJob(Struct, array_like=True, tag=28):
    """The worker serves this job from now on; ``config`` is an encoded `JobConfig`."""

    job: bytes
    config: bytes


class PeerGone(Struct, array_like=True, tag=29):
    """The process at this address is dead."""

    address: str


class Retire(Struct, array_like=True, tag=30):
    """The node could do without this idle worker: it leaves if nothing depends on it, else answers `Retained`."""


class Retained(Struct, array_like=True, tag=31):
    """The worker owns objects, actors or calls that others may need, and stays."""


class AskCleanup(Struct, array_like=True, tag=56):
    """The worker is about to end: has it anything to clean up? Answered by `CleanupDue`."""


class CleanupDue(Struct, array_like=True, tag=57):
    """The answer to `AskCleanup`; unasked, that the worker is on its way out and cleaning up, or has done so."""

    due: bool


class JobEnding(Struct, array_like=True, tag=58):
    """What runs for the job may take so many seconds to clean up, before `JobFinished` comes."""

    seconds: float


class KillSender(Struct, array_like=True, tag=47):
    """End the sender, a worker: a call that it cannot end otherwise was cancelled."""

    reason: str


class Notice(Struct, array_like=True, tag=43):
    """The node tells a driver something that its user should know: lines for its standard error."""

    lines: list[str]
