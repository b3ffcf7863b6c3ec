"""The messages of the data plane: task links, peer links, node links and the fork server's pipe.

All are msgspec structs encoded as tagged arrays; the tag is unique within each link's union. Ids are raw bytes.
Not here: control-plane services (``proto/``).
"""

from typing import Any, NamedTuple

from msgspec import Struct

from trayray.core.loan_messages import OwnershipMessage
from trayray.core.waiting import Fact, Subject
from trayray.model.scheduling import LabelRule, Scheduling

# --- values and references ---

#: Kinds of `Value`. END is no object's: it ends a generator's stream of values.
INLINE, STORED, ERROR, END = 0, 1, 2, 3


class Place(NamedTuple):
    """Where a stored value lies in its node's arena. ``generation`` tells a segment from later ones at its offset."""

    offset: int
    generation: int
    size: int


class RefInfo(NamedTuple):
    """A reference as it travels: object id (28 bytes) and the address of the owner's process.

    Inside a value the receiver is registered as its borrower: by the process ``voucher``; by the owner when empty.
    """

    id: bytes
    owner: str
    voucher: str = ""


class Value(Struct, array_like=True):
    """One immutable object value: a payload carried along, a place in the arena, or an exception's payload."""

    kind: int
    data: bytes = b""
    place: Place | None = None
    refs: list[RefInfo] | None = None


# --- task link: an owner pushes work to an executor ---


class Hello(Struct, array_like=True, tag=0):
    """First message on every link: who connects, with the cluster's token."""

    token: str
    role: str
    worker_id: bytes
    pid: int = 0
    job: bytes = b""


class Define(Struct, array_like=True, tag=1):
    """Declares call number ``call`` of this link; every later `Push` names it instead of repeating it.

    ``body`` is the pickled function of a task; empty for an actor's method, which is found by ``name``.
    ``num_returns`` is a number, or `STREAMING` or `DYNAMIC` for generators.
    """

    call: int
    name: str
    title: str
    body: bytes
    num_returns: int
    kind: int
    resources: dict[str, float]
    group: str = ""
    job: bytes = b""
    env: str = ""
    #: A task that has run is never repeated, so its owner must hear of it before the next one begins.
    at_most_once: bool = False
    #: Which exceptions make a call be repeated: the pickled tuple of their types, empty for none.
    retry_on: bytes = b""
    #: A worker that has run the function so often serves no more; 0 for no limit.
    max_calls: int = 0
    #: A generator pauses when so many of its values wait for their consumer; 0 for no limit.
    ahead: int = 0
    #: The placement group that it runs in, empty for none; and whether what it starts goes there too.
    placement_group: bytes = b""
    captures: bool = False
    #: How many items may wait at each end of a stream that such a call has.
    window: int = 0


#: Kinds of `Define`.
TASK, METHOD, ASYNC_TASK = 0, 1, 2
#: Values of ``num_returns`` for generators: every value is sent as it is yielded; with DYNAMIC the caller gets one
#: reference, to all of them.
STREAMING, DYNAMIC = -1, -2


class Push(Struct, array_like=True, tag=2):
    """One call. ``payload`` holds the arguments; ``values`` what its top-level references stand for, in order."""

    task: bytes
    call: int
    payload: bytes
    values: list[tuple[RefInfo, Value]] | None = None
    #: Differs from the function's when the call was renamed by options; empty otherwise.
    name: str = ""
    #: How often the call may be repeated where it is, after an exception that `Define.retry_on` names; -1 for ever.
    repeats: int = 0
    #: A generator that is run again: how many of its values have arrived, and how many of these were taken.
    skip: int = 0
    taken: int = 0
    #: Set for a call that ends after all that it has started: the seconds that are left to it, perhaps infinite.
    seconds: float | None = None
    #: The caller waits until the call says that it is ready (`Started`).
    starts: bool = False
    #: The call gets a stream to its caller as first argument; so many items may wait at each end of it. 0 for none.
    window: int = 0


class Done(Struct, array_like=True, tag=3):
    """The results of one call. ``kept`` lists references from its arguments that the executor still holds."""

    task: bytes
    results: list[Value]
    kept: list[bytes] | None = None
    flags: int = 0


#: Flags of `Done`: the exception is one that the call may be repeated for; the worker takes no more calls; the
#: exception came out of a generator that was running, so that it follows what it has yielded.
MAY_RETRY, LAST, MID_STREAM = 1, 2, 4


class Yielded(Struct, array_like=True, tag=4):
    """Value number ``index``, counted from 0, of the generator that the call returned."""

    task: bytes
    index: int
    value: Value


class Started(Struct, array_like=True, tag=8):
    """The call says that it is ready, by its ``task_status``; once."""

    task: bytes
    value: Value


class Closing(Struct, array_like=True, tag=9):
    """The call's own code has ended; it waits for what it has started, which is being cancelled if it was."""

    task: bytes


class StreamItem(Struct, array_like=True, tag=10):
    """The next item of the stream that belongs to a call; the sender has taken so many of the other end's in all."""

    task: bytes
    value: Value
    taken: int


class StreamCredit(Struct, array_like=True, tag=11):
    """The sender has taken so many items of the stream in all. A worker's first says that the call has begun."""

    task: bytes
    taken: int


class StreamEof(Struct, array_like=True, tag=12):
    """The sender has sent so many items on the stream, and sends no more."""

    task: bytes
    total: int


class Returned(Struct, array_like=True, tag=6):
    """Tasks that never started here and are the owner's again."""

    tasks: list[bytes]


class Blocked(Struct, array_like=True, tag=7):
    """The executor's main thread waits inside the running task (True), or goes on (False)."""

    blocked: bool


StreamMessage = StreamItem | StreamCredit | StreamEof
TaskMessage = Define | Push | Done | Yielded | Started | Closing | StreamMessage | Returned | Blocked

# --- peer link: borrowers and owners; who borrows is said in ``core.loan_messages`` (tags 1 to 3, 14 and 15) ---


class Want(Struct, array_like=True, tag=4):
    """Send these objects' values as soon as they exist."""

    objects: list[bytes]


class Ready(Struct, array_like=True, tag=5):
    """The value of an object; None says that the owner does not know the object (freed or never there)."""

    id: bytes
    value: Value | None


class CancelRemote(Struct, array_like=True, tag=6):
    """Cancel the task that produces this object; the receiver owns it."""

    id: bytes
    force: bool = False
    recursive: bool = True


class Cancel(Struct, array_like=True, tag=7):
    """The caller no longer wants this task; it must not start, and if it runs it should stop.

    Peer links carry this and `Reclaim`: the worker's loop reads them while its main thread is busy.
    """

    task: bytes
    #: How: a `core.cancellation.Step`.
    step: str
    #: Calls that it has made go too; those of tasks by force with ``force``.
    recursive: bool = True
    force: bool = False


class Reclaim(Struct, array_like=True, tag=8):
    """The sender wants held-back replies at once and, unless they are actor calls, its unstarted tasks back."""


class Consumed(Struct, array_like=True, tag=9):
    """So many values of a generator were taken by its consumer."""

    task: bytes
    taken: int


class Explain(Struct, array_like=True, tag=11):
    """What does the receiver know of these subjects; answered by `Explained`. See ``core.waiting``.

    ``thorough``: a person asks, who may wait for a longer search.
    """

    request: int
    subjects: list[Subject]
    thorough: bool = False


class Explained(Struct, array_like=True, tag=12):
    """The answer to `Explain`: a fact a subject."""

    request: int
    facts: list[Fact]


class Recheck(Struct, array_like=True, tag=13):
    """The receiver's wait of this number seems to be the one of a deadlock that has to give up: look at it now."""

    wait: int


PeerMessage = (
    Cancel | Reclaim | OwnershipMessage | Want | Ready | CancelRemote | Consumed | Explain | Explained | Recheck
)

# --- node link: a driver or worker and its node ---


class Welcome(Struct, array_like=True, tag=1):
    """The node accepted the `Hello`. The arena's descriptor travels with it when ``arena`` is true."""

    node_id: bytes
    capacity: int
    session: str
    sockets: str
    address: str
    job: bytes
    arena: bool = False
    #: Where the node answers ``GET /metrics``.
    metrics_port: int = 0


class DefineClass(Struct, array_like=True, tag=2):
    """Declares scheduling class ``key`` of this link: what one lease of it holds."""

    key: int
    resources: dict[str, float]
    job: bytes
    name: str
    #: Where it may run; None for anywhere.
    scheduling: Scheduling | None = None


class Demand(Struct, array_like=True, tag=3):
    """The owner wants ``total`` leases of class ``key`` counted from the start of the link (it may go down)."""

    key: int
    total: int


class Grant(Struct, array_like=True, tag=4):
    """A lease on a worker."""

    key: int
    lease: int
    worker: bytes
    address: str


class ReturnLease(Struct, array_like=True, tag=5):
    """The owner needs the lease no longer; ``reusable`` is false when the worker must not serve again."""

    lease: int
    reusable: bool = True


class LeaseLost(Struct, array_like=True, tag=6):
    """The worker behind a lease died; ``cause`` is a sentence for the user."""

    lease: int
    cause: str


class Contended(Struct, array_like=True, tag=7):
    """Others wait for resources: give idle leases back now (True), or linger again (False)."""

    contended: bool


class Lend(Struct, array_like=True, tag=8):
    """The running task waits in get/wait: its CPUs are free for others."""


class Resume(Struct, array_like=True, tag=9):
    """The running task wants its CPUs back; answered by `Resumed`."""


class Resumed(Struct, array_like=True, tag=10):
    """The CPUs are the worker's again."""


class Create(Struct, array_like=True, tag=11):
    """A writer wants a segment of ``size`` bytes."""

    request: int
    size: int


class Created(Struct, array_like=True, tag=12):
    """The answer to `Create`: a place, or the reason why there is none."""

    request: int
    place: Place | None
    error: str = ""
    #: What is missing is room on disk, where other objects could be spilled.
    out_of_disk: bool = False


class Locate(Struct, array_like=True, tag=76):
    """A reader, which has pinned the segment before, asks where its bytes are: they may have been spilled."""

    request: int
    offset: int
    generation: int


class Located(Struct, array_like=True, tag=77):
    """The answer to `Locate`: ``offset`` in the arena; or, if that is negative, a file with the bytes at ``position``.

    With an ``error`` they cannot be had.
    """

    request: int
    offset: int
    path: str = ""
    position: int = 0
    error: str = ""


class Seal(Struct, array_like=True, tag=13):
    """The segment is written and belongs to process ``owner`` from now on."""

    offset: int
    generation: int
    owner: str


class Free(Struct, array_like=True, tag=14):
    """The object in this segment is unreachable."""

    offset: int
    generation: int


class Pin(Struct, array_like=True, tag=15):
    """The sender maps the segment and reads it (True), or has dropped every view of it (False)."""

    offset: int
    generation: int
    pinned: bool


class LeftSegments(Struct, array_like=True, tag=70):
    """The process ``writer`` is gone; (offset, generation) of the segments that it wrote and the receiver owns.

    What the receiver does not know of when it has read all that ``writer`` sent, it never will: it frees them.
    """

    writer: str
    segments: list[tuple[int, int]]


class Fence(Struct, array_like=True, tag=16):
    """Answer this once everything sent before has been sent; see ``core.segments``.

    Before that, owners pin what they read of ``leaving``, generations of segments that are to leave memory.
    """

    fence: int
    leaving: list[int] = []


class StartActor(Struct, array_like=True, tag=17):
    """Become this actor: run its constructor. ``spec`` is an encoded `ActorSpec`."""

    spec: bytes
    restarted: bool = False


class ActorStarted(Struct, array_like=True, tag=18):
    """The constructor returned (error empty) or raised (the payload of its exception)."""

    actor: bytes
    error: bytes = b""


class ActorState(Struct, array_like=True, tag=19):
    """What a watcher of an actor must know; ``address`` is set while it is alive."""

    actor: bytes
    state: str
    address: str
    cause: str
    error: bytes = b""
    incarnation: int = 0
    #: Of a supervised actor without a process that waits for its supervisor: how it has ended.
    parked: str = ""


class WatchActor(Struct, array_like=True, tag=20):
    """Send the state of this actor now and at each change."""

    actor: bytes


class ActorUnreachable(Struct, array_like=True, tag=21):
    """No handle to the actor is left anywhere; only its owner sends this."""

    actor: bytes


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


class TaskEvents(Struct, array_like=True, tag=25):
    """Finished executions for the timeline: (task id, name, start, end in seconds since the epoch, ok)."""

    events: list[tuple[bytes, str, float, float, bool]]


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


class KillLeased(Struct, array_like=True, tag=45):
    """End the worker of a lease that the sender holds. ``reason`` is a sentence for the user."""

    lease: int
    reason: str


class KillActor(Struct, array_like=True, tag=46):
    """End the process of an actor, if it is still this incarnation; that counts as a crash."""

    actor: bytes
    incarnation: int
    reason: str


class KillSender(Struct, array_like=True, tag=47):
    """End the sender, a worker: a call that it cannot end otherwise was cancelled."""

    reason: str


class EndActor(Struct, array_like=True, tag=59):
    """End an actor for good, within so many seconds (0: at once); its calls in progress are interrupted.

    Answered by `ActorEnded` when its process is gone, and all that it had running. ``keep``: a supervised actor is only
    stopped, and may be started again by `ResumeActor`.
    """

    request: int
    actor: bytes
    seconds: float
    reason: str
    keep: bool = False


class ActorEnded(Struct, array_like=True, tag=60):
    """The answer to `EndActor`."""

    request: int


class ResumeActor(Struct, array_like=True, tag=80):
    """Start a supervised actor again; only its supervisor sends this."""

    actor: bytes


class SupervisedNode(Struct, array_like=True):
    """A supervisor or one of its children, as `trayray tree` shows it."""

    id: str
    #: "supervisor", "actor", "task" (a remote function), "async" (a task of the supervisor's process).
    kind: str
    #: "running", "starting", "stopping", "restarting" or "stopped".
    state: str
    #: Of a supervisor; empty for all others.
    strategy: str = ""
    #: Of an actor; empty for all others.
    actor: bytes = b""
    restarts: int = 0
    #: When it entered its state (seconds since the epoch; 0 for never).
    since: float = 0.0
    #: How it ended the last time.
    reason: str = ""
    children: list["SupervisedNode"] = []


class SupervisionTold(Struct, array_like=True, tag=81):
    """A supervision tree of this process as it is now; None: it is no more."""

    number: int
    root: SupervisedNode | None


class AwaitRemains(Struct, array_like=True, tag=61):
    """Answer by `RemainsEnded` when the process at this address is gone, and all that it had running."""

    request: int
    address: str


class RemainsEnded(Struct, array_like=True, tag=62):
    """The answer to `AwaitRemains`."""

    request: int


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


class Refused(Struct, array_like=True, tag=48):
    """No lease of class ``key`` will ever be granted: its placement group is gone, or no node will ever be right."""

    key: int
    group_removed: bool
    #: A sentence for the user.
    reason: str


class WatchGroup(Struct, array_like=True, tag=49):
    """Send `GroupNews` once, when this placement group is created or removed."""

    group: bytes


class GroupNews(Struct, array_like=True, tag=50):
    """A placement group is CREATED or REMOVED; the state of an unknown one is empty.

    The answer to `CreateGroup` says that it is REGISTERED, or why not.
    """

    group: bytes
    state: str
    error: str = ""


class CreateGroup(Struct, array_like=True, tag=51):
    """Reserve these bundles, each some resources and what its node's labels must be."""

    group: bytes
    name: str
    namespace: str
    strategy: str
    bundles: list[tuple[dict[str, float], tuple[LabelRule, ...]]]
    job: bytes
    detached: bool
    #: The actor that asks; empty for none.
    actor: bytes


class RemoveGroup(Struct, array_like=True, tag=52):
    """Give back what a placement group reserves; answered by `GroupNews`."""

    group: bytes


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


class Notice(Struct, array_like=True, tag=43):
    """The node tells a driver something that its user should know: lines for its standard error."""

    lines: list[str]


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


NodeMessage = (
    Welcome
    | AskNode
    | NodeTold
    | AskReferences
    | ReferencesTold
    | Notice
    | DefineClass
    | Demand
    | Grant
    | ReturnLease
    | LeaseLost
    | Contended
    | Lend
    | Resume
    | Resumed
    | Create
    | Created
    | Locate
    | Located
    | Seal
    | Free
    | Pin
    | LeftSegments
    | Fence
    | StartActor
    | ActorStarted
    | ActorState
    | WatchActor
    | ActorUnreachable
    | Exiting
    | Exit
    | LogLines
    | TaskEvents
    | MetricReport
    | FinishJob
    | JobFinished
    | AssignJob
    | PeerGone
    | Retire
    | Retained
    | Refused
    | WatchGroup
    | GroupNews
    | CreateGroup
    | RemoveGroup
    | AskCleanup
    | CleanupDue
    | JobEnding
    | KillLeased
    | KillActor
    | KillSender
    | EndActor
    | ResumeActor
    | SupervisionTold
    | ActorEnded
    | AwaitRemains
    | RemainsEnded
)

# --- specifications that travel inside messages ---


class JobConfig(Struct):
    """What a worker needs to know of the job that it serves."""

    namespace: str
    sys_path: list[str]
    cwd: str
    runtime_env: dict[str, Any]
    omp_num_threads: str = ""
    #: `import ray` gives trayray in the job's workers too.
    as_ray: bool = False
    #: Actors created without a lifetime outlive the job.
    detaches_actors: bool = False
    #: A request that no node can meet fails instead of waiting.
    infeasible_is_error: bool = False
    #: Where code in other languages is; calls across languages are refused without.
    code_search_path: list[str] = []


class HeldReferences(Struct):
    """What a process keeps."""

    #: The largest.
    listed: list[HeldReference]
    #: What is not listed: kind, number, bytes as far as they are known.
    omitted: list[tuple[str, int, int]]
    #: Whether the process records where references are made.
    records_call_sites: bool


class ActorSpec(Struct):
    """Everything that is needed to run an actor's constructor, again and again."""

    actor: bytes
    task: bytes
    class_name: str
    body: bytes
    payload: bytes
    values: list[tuple[RefInfo, Value]]
    owner: str
    job: bytes
    name: str
    namespace: str
    max_concurrency: int
    is_async: bool
    groups: dict[str, int]
    resources: dict[str, float]
    max_restarts: int
    handle: bytes
    #: The placement group that it lives in, empty for none; and whether what it starts goes there too.
    placement_group: bytes = b""
    captures: bool = False


# --- the fork server's pipe ---


class Fork(Struct, array_like=True, tag=1):
    """Fork a worker; its output descriptors travel with the frame."""

    worker: bytes


class Forked(Struct, array_like=True, tag=2):
    """The worker runs as process ``pid``."""

    worker: bytes
    pid: int


class Exited(Struct, array_like=True, tag=3):
    """The worker's process ended with this wait status."""

    worker: bytes
    pid: int
    status: int
    #: The most memory that it has used (KiB).
    peak: int = 0


class Signal(Struct, array_like=True, tag=4):
    """Send a signal to a worker."""

    pid: int
    number: int


ForkMessage = Fork | Forked | Exited | Signal
