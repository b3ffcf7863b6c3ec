"""The core worker: one per driver and worker process, the owner of its tasks, actors' calls and objects.

This is the process's nursery page. State that belongs to the loop is changed in the loop's thread only; user threads
hand work over through `CoreWorker.call_soon` and `CoreWorker.submit`, and wait for values (``objects``).

    run_core_worker
    |- node link        leases, segments, actors' states, logs
    |- listener         one child a link: borrowers asking for values; task links go to the executor
    |- peer links       one child a link: owners of what this process borrows
    |- task links       one child a leased worker or called actor
    |- control channel  unary calls to the GCS; from the first one on
    |- creations        actors registered in the order of their creation
    `- timer            pipelined tasks that make no progress, leases that idle
"""

from __future__ import annotations

import contextvars
import socket
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import msgspec
import trio

from trayray.exceptions import LocalRayletDiedError, RayError, RaySystemError
from trayray.link.network import NODE, NodeNetwork, socket_name
from trayray.link.port import Link, LinkClosed
from trayray.link.unix import UnixLink
from trayray.model.ids import TaskIdFactory, driver_task_id
from trayray.model.settings import shutdown_seconds
from trayray.wire.greetings import Hello, Welcome
from trayray.wire.node_messages import NodeMessage
from trayray.wire.peer_messages import PeerMessage
from trayray.wire.process_messages import AssignJob, FinishJob
from trayray.wire.specs import JobConfig
from trayray.wire.values import Value
from trayray.worker.actor_calls import ActorCall, ActorCalls
from trayray.worker.actor_creation import Creations
from trayray.worker.arena_mapping import ArenaMapping
from trayray.worker.call_sites import recorder as call_site_recorder
from trayray.worker.cancel_ladder import Cancellations
from trayray.worker.current import Running, this_member
from trayray.worker.metrics import recorder
from trayray.worker.node_news import NodeNews
from trayray.worker.objects import Objects
from trayray.worker.omp_threads import OmpThreads
from trayray.worker.peers import Peers
from trayray.worker.pending_task import PendingTask
from trayray.worker.placement_groups import GroupReferences
from trayray.worker.references import Dropped, ObjectRef, ReferenceTable, error_value
from trayray.worker.remote_ends import RemoteEnds
from trayray.worker.tasks import TaskSubmitter
from trayray.worker.thread_calls import ThreadCall
from trayray.worker.timeline import Timeline
from trayray.worker.waits import Waits

if TYPE_CHECKING:
    from trayray.gcs.client import GcsClient
    from trayray.worker.execution import Executor
    from trayray.worker.explaining import Explaining

R = TypeVar("R")

#: How often the loop looks after pipelined tasks, and after leases that are merely held (seconds).
_BUSY_TICK, _IDLE_TICK = 0.005, 0.05
#: How long the loop's thread waits for the node before it looks again (seconds).
_PUMP_SECONDS = 1.0
#: How often finished executions are reported for the timeline (seconds).
_REPORT_SECONDS = 1.0


@attrs.frozen
class CoreConfig:
    """Where a core worker belongs."""

    role: str
    worker_id: bytes
    token: str


class CoreWorker:
    """One process's membership in a cluster. Create it, then `run_core_worker` it in a Trio loop."""

    nursery: trio.Nursery
    arena: ArenaMapping
    welcome: Welcome
    node: Link[NodeMessage]
    _clock: trio.abc.Clock
    #: The job is being finished: what belongs to it ends.
    finishing: bool = False

    def __init__(
        self,
        config: CoreConfig,
        *,
        network: NodeNetwork,
        random_base: int,
        print_logs: bool = True,
        gcs: GcsClient | None = None,
    ) -> None:
        """``gcs``: how the GCS is asked, if not over the control channel."""
        self.config = config
        self.address = socket_name(config.worker_id)
        self.network = network
        self.job = b""
        self.namespace = ""
        self.runtime_env: dict[str, Any] = {}
        self.detaches_actors = False
        #: Where the job's code in other languages is; empty: it has none.
        self.code_search_path: list[str] = []
        self.omp_threads = OmpThreads()
        self.timeline = Timeline()
        self.node_ip = "127.0.0.1"
        self.executor: Executor | None = None
        self.dropped = Dropped(self._wake_for_dropped)
        self.references = ReferenceTable(self.address, self.dropped, self._send_peer)
        self.call_sites = self.references.call_sites = call_site_recorder()
        self.objects = Objects(self)
        self.waits = Waits(self)
        self._gcs = gcs
        self._explaining: Explaining | None = None
        self.peers = Peers(self)
        self.tasks = TaskSubmitter(self)
        self.actors = ActorCalls(self)
        self.cancellations = Cancellations(self)
        self.ends = RemoteEnds(self)
        self.news = NodeNews(self, print_logs=print_logs)
        self.creations = Creations(self)
        self.groups = GroupReferences(self)
        #: The placement group that takes in what is started here, empty for none.
        self.captured: bytes = b""
        #: What the templates of calls depend on besides their options: the job, and that group.
        self.scope: bytes = b""
        self.on_message: Callable[[NodeMessage], None] | None = None
        #: Set once the node is gone, by itself: `closed` is this then.
        self.lost: LocalRayletDiedError | None = None
        #: Set once nothing works any more: what every call and everything that still waits fails with.
        self.closed: RayError | None = None
        self._base = random_base
        self._ids: TaskIdFactory | None = None
        self._inbox: deque[PendingTask | ThreadCall[Any] | tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._awake = True  # the loop looks at the inbox first thing
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread: int | None = None
        self._failure: BaseException | None = None
        #: What the loop calls for this core worker is called in it, where the loop serves others too.
        self._context: contextvars.Context | None = None
        self._stop = trio.Event()
        #: Nothing has a deadline: the timer sleeps until `flush` sets the event.
        self._timer_sleeps = False
        self._timer_due = trio.Event()
        #: Held by whoever works on tasks and actor calls: the loop's thread, or a user thread that finds the loop idle
        #: and a worker waiting, and spares the way through the loop (`submit`).
        self.state_lock = threading.RLock()
        #: What an actor may take to clean up when this process ends it (seconds).
        self.cleanup_seconds = shutdown_seconds()
        #: The job has been finished, or the loop has ended; the second for tasks of the loop.
        self.ended = threading.Event()
        self.job_over = trio.Event()

    # --- time and identity ---

    def now(self) -> float:
        """The loop's clock (seconds); from any thread."""
        return self._clock.current_time()

    @property
    def ids(self) -> TaskIdFactory:
        """Ids of this process's tasks, in its job at present."""
        if self._ids is None:
            self._ids = TaskIdFactory(self.job, self._base)
        return self._ids

    @property
    def gcs(self) -> GcsClient:
        """What is asked of the GCS. Most workers never ask, so it is loaded by the first question."""
        with self.state_lock:
            if self._gcs is None:
                from trayray.gcs.client import GcsClient

                host, _, port = self.welcome.address.rpartition(":")
                self._gcs = GcsClient(host, int(port), self.config.token)
                self.call_soon(self.nursery.start_soon, self._gcs.run)
            return self._gcs

    @property
    def explaining(self) -> Explaining:
        """What waits for what: loaded when it is first asked for, which in most processes is never."""
        if self._explaining is None:
            from trayray.worker.explaining import Explaining

            self._explaining = Explaining(self)
        return self._explaining

    def assign_job(self, job: bytes) -> None:
        """This process works for ``job`` from now on."""
        if job != self.job:
            self.job = self.scope = job
            self._ids = None

    def capture(self, group: bytes) -> None:
        """What is started from now on goes into this placement group; empty for none."""
        self.captured = group
        self.scope = self.job + group

    def task_id_of(self, task: Running | None) -> bytes:
        """The task whose puts these are: the running one, or the driver's."""
        return task.task_id if task is not None else driver_task_id(self.job)

    def report_timeline(self) -> None:
        """Send what has been executed, and recorded of metrics, since the last report; from any thread."""
        report = [*self.timeline.take(), *recorder.take()]
        if report:
            self.to_node_if_there(report)

    @property
    def is_needed(self) -> bool:
        """Whether others may depend on this process: on objects or actors that it owns, or on calls it has made."""
        return bool(
            self.references.lent
            or self.references.pins_out_of_band
            or self.tasks.pending
            or self.actors.pending
            or self.creations.owned
        )

    # --- from other threads to the loop ---

    def submit(self, task: PendingTask) -> None:
        """Take a new task or actor call; from any thread. It goes straight to a worker that has nothing to do, else to
        the loop, which batches."""
        if task.args is None and not self._inbox and self.state_lock.acquire(blocking=False):
            try:
                if self.closed is None and task.push_directly(self):
                    return
            finally:
                self.state_lock.release()
        self._inbox.append(task)
        if not self._awake:
            self._wake()

    def call_soon(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call ``function`` in the loop's thread, soon and in order; from any thread."""
        self._inbox.append((function, arguments))
        if not self._awake:
            self._wake()

    def run_async(self, function: Callable[..., Awaitable[R]], *arguments: Any) -> R:
        """Run an async function as a child of the core worker and wait for it; not from the loop's thread."""
        self.check_may_wait("this call")
        call = ThreadCall(function, arguments)
        self._inbox.append(call)
        if not self._awake:
            self._wake()
        return call.wait()

    @property
    def in_loop(self) -> bool:
        """Whether this is called in the loop's thread."""
        return threading.get_ident() == self._thread

    def check_may_wait(self, what: str) -> None:
        """Raise where the calling thread would wait for its own loop.

        Raises:
            RuntimeError: it would.
        """
        if self.in_loop:
            raise RuntimeError(
                f"{what} waits for the Trio loop in whose thread it is made, which is the one that runs this process's "
                "part of the cluster. Await the reference instead (`await ref`, `trayray.call`), or call it in another "
                "thread: `await trio.to_thread.run_sync(function, *args)`."
            )

    def wait_for_node(self, answered: threading.Event, timeout: float | None = None) -> bool:
        """Wait until the node has answered; in the loop's own thread by reading what it sends. False at the timeout."""
        if not self.in_loop:
            return answered.wait(timeout)
        deadline = None if timeout is None else self.now() + timeout
        self._drain()
        while not answered.is_set():
            left = _PUMP_SECONDS if deadline is None else min(deadline - self.now(), _PUMP_SECONDS)
            if left < 0:
                return False
            messages = self.network.receive_in_thread(self.node, left)
            if messages is None:
                continue
            if not messages:
                self.node_lost()
                continue
            self.news.take(messages)
        return True

    def _wake(self) -> None:
        self._awake = True
        token = self._token
        if token is not None:
            try:
                token.run_sync_soon(self._drain_here)
            except trio.RunFinishedError:
                self._refuse()

    def _wake_for_dropped(self) -> None:
        """Called by finalizers, in any thread at any moment: where nothing is reported any more, nothing is done."""
        if self.closed is None:
            self._wake()

    def _drain_here(self) -> None:
        """`_drain` for the loop's entry queue, whose context is nobody's: what follows belongs to this core worker."""
        context = self._context
        if context is None:
            self._drain()
        else:
            context.run(self._drain)

    def _drain(self) -> None:
        """Everything that other threads have handed over since; in the loop's thread."""
        if self.closed is not None:
            self._refuse()
            return
        try:
            self._awake = False
            self.dropped.drain()
            inbox = self._inbox
            with self.state_lock:
                while inbox:
                    item = inbox.popleft()
                    if isinstance(item, tuple):
                        item[0](*item[1])
                    elif isinstance(item, ThreadCall):
                        self.nursery.start_soon(item.run, lambda: self.closed or _shut_down())
                    elif type(item) is ActorCall:
                        item.client.submit(item)
                    else:
                        self.tasks.submit(item)
                self.flush()
        except BaseException as error:  # the entry queue may not raise: fail the core worker instead
            self._failure = error
            self.nursery.cancel_scope.cancel()

    def flush(self) -> None:
        """Send what has become possible."""
        self.tasks.flush()
        self.actors.flush()
        if self._timer_sleeps and threading.get_ident() == self._thread:
            self._timer_due.set()

    # --- messages ---

    def to_node(self, messages: list[Any]) -> None:
        """Send to the node.

        Raises:
            LocalRayletDiedError: it is gone.
        """
        try:
            self.node.send(messages)
        except LinkClosed:
            raise self.lost or LocalRayletDiedError("The node process of this machine has died.") from None

    def to_node_if_there(self, messages: list[Any]) -> None:
        """Send to the node; a node that is gone has nothing left that could be reported to it."""
        if self.lost is None and not self.node.closed:
            try:
                self.node.send(messages)
            except LinkClosed:
                return

    def _send_peer(self, address: str, messages: list[Any]) -> None:
        self.peers.send(address, messages)

    def process_gone(self, address: str) -> None:
        """A process of the cluster is dead. What it has sent counts: it is read before the death is acted upon."""
        if not self.references.is_gone(address):
            self.tasks.take_last_results(address)
            self.actors.take_last_results(address)
            self.peers.take_last(address)
        self.references.process_gone(address)
        self.peers.process_gone(address)
        if self.executor is not None:
            self.executor.cancelled.caller_gone(address)

    # --- cancellation ---

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None:
        """Cancel the task that makes ``ref``; in the loop's thread, under `state_lock`."""
        if ref._owner:
            from trayray.wire.peer_messages import CancelRemote

            self.peers.send(ref._owner, [CancelRemote(ref.binary(), force, recursive)])
            return
        task_id = ref.binary()[:24]
        call = self.actors.pending.get(task_id) or self.tasks.pending.get(task_id)
        if call is not None:
            self.cancel_call(call, force=force, recursive=recursive)
            self.flush()

    def cancel_children(self, parent: bytes, *, force: bool) -> None:
        """Cancel what task or actor call ``parent`` of this worker has called and has not finished; in the loop."""
        self._drain()
        with self.state_lock:
            calls = [*self.tasks.pending.values(), *self.actors.pending.values()]
            for call in [call for call in calls if call.parent == parent]:
                call.parent_cancelled = True
                self.cancel_call(call, force=force, recursive=True)
            self.flush()

    def cancel_call(self, call: PendingTask, *, force: bool, recursive: bool) -> None:
        """Cancel a call of this process; in the loop's thread, under `state_lock`. `flush` follows."""
        if isinstance(call, ActorCall):
            call.client.cancel(call, recursive=recursive)
        else:
            self.tasks.cancel(call, force=force, recursive=recursive)

    # --- lifetime ---

    def enter_job(self, config: JobConfig) -> None:
        """A driver states what its workers must know; in the loop's thread, once."""
        self.namespace = config.namespace
        self.runtime_env = config.runtime_env
        self.detaches_actors = config.detaches_actors
        self.code_search_path = config.code_search_path
        self.to_node([AssignJob(self.job, msgspec.msgpack.encode(config))])

    def finish_job(self, timeout: float) -> None:
        """A driver leaves: wait until everything of its job has ended and its output was shown; not in the loop.

        A node that does not answer is waited for at most so long; the job, as long as the node says that it may take.
        """
        self.finishing = True
        self.call_soon(self.report_timeline)
        self.call_soon(self.to_node_if_there, [FinishJob()])
        if not self.ended.wait(timeout) and self.news.job_ends_within:
            self.ended.wait(self.news.job_ends_within)
        self.news.printer.finish(timeout)

    async def finish_job_in_loop(self, timeout: float) -> None:
        """`finish_job` for a task of the loop."""
        self.finishing = True
        self.report_timeline()
        self.to_node_if_there([FinishJob()])
        with trio.move_on_after(timeout):
            await self.job_over.wait()
        with trio.move_on_after(self.news.job_ends_within):
            await self.job_over.wait()
        await trio.to_thread.run_sync(self.news.printer.finish, timeout)

    def stop(self) -> None:
        """End `run_core_worker`; in the loop's thread."""
        self._stop.set()

    @asynccontextmanager
    async def link_scope(self, link: Link[Any]) -> AsyncGenerator[None]:
        """The lifetime of a link: it sends while the block runs, and is closed after it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            try:
                yield
            finally:
                link.close()
                nursery.cancel_scope.cancel()

    async def _accept(self, hello: Hello, sock: socket.socket) -> None:
        if hello.role == "task" and self.executor is not None:
            self.executor.add_connection(hello, sock)
            return
        link: UnixLink[PeerMessage] = UnixLink(sock, PeerMessage)
        await self.peers.serve(link, socket_name(hello.worker_id))

    def node_lost(self) -> None:
        """The node is dead: whatever waits will wait in vain, so it fails now."""
        if self._stop.is_set():
            return
        self._close()
        self._stop.set()

    def _close(self) -> None:
        """Nothing will be delivered any more: what waits fails now, and what is asked for later fails then."""
        if self.closed is None:
            if self._stop.is_set():
                self.closed = _shut_down()
            else:
                self.closed = self.lost = LocalRayletDiedError(
                    "The node process of this machine has died; everything that ran on it is gone."
                    if self.node.closed
                    else "This process's part of the runtime has failed; everything that it asked for is lost."
                )
        self.job_over.set()
        self._refuse()

    def forked(self) -> None:
        """This is a copy of the process, without its loop: what waits for an answer here will get none."""
        self.state_lock = threading.RLock()  # a thread that was not copied may hold the other
        self.references.lock = threading.RLock()
        self.objects.reading.forked()
        self.closed = RaySystemError("this process was forked while it waited; only the original gets an answer")
        self._refuse()

    def _refuse(self) -> None:
        """Fail what has been handed over and what waits; in the loop's thread, or in any once the loop has ended."""
        error = self.closed or _shut_down()
        value = error_value(error)  # pickled once: thousands may wait
        self._awake = False
        with self.state_lock:
            while self._inbox:
                item = self._inbox.popleft()
                if isinstance(item, ThreadCall):
                    item.refuse(error)
                elif isinstance(item, PendingTask):
                    item.fail(self, value)
            self.objects.fail_requests(error)
            self._fail_everything(value)
            self.ends.all_gone()

    def _fail_everything(self, value: Value) -> None:
        pending = [*self.tasks.pending.values(), *self.actors.pending.values()]
        self.tasks.pending.clear()
        self.actors.pending.clear()
        for task in pending:
            task.fail(self, value)
        self.actors.nothing_comes()
        for ref in list(self.references.known.values()):
            self.references.complete(ref, value)

    async def _run_timer(self) -> None:
        report_at = 0.0
        while True:
            with self.state_lock:
                due = self.tasks.next_deadline(), self.actors.next_deadline(), self.cancellations.next_deadline()
                deadlines = [d for d in due if d is not None]
                self._timer_due = trio.Event()
                self._timer_sleeps = not deadlines
            if deadlines:
                await trio.sleep(min(max(min(deadlines) - self.now(), _BUSY_TICK), _IDLE_TICK))
            else:
                with trio.move_on_after(_REPORT_SECONDS):
                    await self._timer_due.wait()
            now = self.now()
            with self.state_lock:
                self.tasks.tick()
                self.actors.tick(now)
                self.cancellations.tick()
            if now >= report_at:
                report_at = now + _REPORT_SECONDS
                self.report_timeline()


async def run_core_worker(core: CoreWorker, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Be a member of the cluster until `CoreWorker.stop`, cancellation or the node's death.

    Raises:
        ConnectionError: the node cannot be reached or turns this process away.
    """
    core._thread = threading.get_ident()
    core._clock = trio.lowlevel.current_clock()
    if this_member() is not None:
        core._context = contextvars.copy_context()
    welcome, descriptor, link = await core.network.join(NODE, core.config.role)
    core.welcome, core.node = welcome, link
    core.assign_job(welcome.job)
    core.arena = ArenaMapping(descriptor, welcome.capacity)
    async with trio.open_nursery() as core.nursery, core.link_scope(link):
        nursery = core.nursery
        await nursery.start(core.network.listen, core.address, core._accept)
        nursery.start_soon(core.news.serve, link)
        nursery.start_soon(core._run_timer)
        nursery.start_soon(core.creations.run)
        core._token = trio.lowlevel.current_trio_token()
        core._drain()
        task_status.started()
        try:
            await core._stop.wait()
        finally:
            core._close()
            nursery.cancel_scope.cancel()
    if core._failure is not None:
        raise core._failure


def _shut_down() -> RayError:
    return RaySystemError("this process has left the cluster, and what was still running has been ended")
