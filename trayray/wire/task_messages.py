"""The messages of task links: an owner pushes work to an executor, which answers.

msgspec structs, encoded as tagged arrays as on all links; the tag is unique within a link's union. Ids are raw bytes.
"""

from msgspec import Struct

from trayray.wire.values import RefInfo, Value


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
