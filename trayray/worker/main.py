"""The life of a worker process, from the fork to its last exit handler.

    main thread   run_worker: orders from the node and calls from owners, in ``execution`` or ``async_execution``
    loop thread   run_core_worker (see ``core_worker``)

Not here: forking and output pipes (``node.fork_server``).
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import trio

from trayray.core.leaving import WorkerSettings
from trayray.exceptions import RayTaskError
from trayray.link.network import NodeNetwork, UnixNetwork
from trayray.wire.actor_messages import ActorStarted, StartActor
from trayray.wire.lease_messages import Resumed
from trayray.wire.node_messages import NodeMessage
from trayray.wire.process_messages import AskCleanup, AssignJob, CleanupDue, Exit, Retained, Retire
from trayray.wire.serialization import serialize
from trayray.wire.specs import ActorSpec, JobConfig
from trayray.wire.task_messages import METHOD, Define, Push
from trayray.worker.breakpoints import breakpoint_hook
from trayray.worker.calls import Call, Target
from trayray.worker.cancelling import MainRegion
from trayray.worker.core_worker import CoreConfig, CoreWorker, run_core_worker
from trayray.worker.current import ActorSelf, set_actor_self, set_core_worker
from trayray.worker.execution import Executor
from trayray.worker.exits import ExitRequested, exit_request
from trayray.worker.leaving import Leaving, calls_user_code
from trayray.worker.output import redirect_output
from trayray.worker.process_title import set_title
from trayray.worker.ray_alias import install_alias

_decode_actor = msgspec.msgpack.Decoder(ActorSpec)
_decode_job = msgspec.msgpack.Decoder(JobConfig)


class Worker:
    """One worker: what it does on orders from its node, wherever it runs."""

    def __init__(self, core: CoreWorker, executor: Executor, leaving: Leaving) -> None:
        self.core, self.executor = core, executor
        self.leaving = executor.leaving = leaving
        core.on_message = self._handle

    # --- orders from the node (loop thread) ---

    def _handle(self, message: NodeMessage) -> None:
        match message:
            case AssignJob(job, config):
                self.executor.order(lambda: self._enter_job(job, _decode_job.decode(config)))
                self.core.to_node([message])
            case StartActor(spec, restarted):
                self.executor.order(lambda: self._become(_decode_actor.decode(spec), restarted))
            case Resumed():
                self.executor.resumed()
            case Retire():
                if self.core.is_needed:
                    self.core.to_node([Retained()])
                else:
                    self.executor.order(lambda: _leave_now("it was idle and not needed any more"))
            case AskCleanup():
                self.core.to_node([CleanupDue(self.leaving.is_due())])
            case Exit():
                self.leaving.ordered(message)
            case _:
                pass

    # --- the same in the main thread ---

    def _enter_job(self, job: bytes, config: JobConfig) -> None:
        core = self.core
        core.assign_job(job)
        core.namespace = config.namespace
        core.runtime_env = config.runtime_env
        core.detaches_actors = config.detaches_actors
        core.code_search_path = config.code_search_path
        self.change_process(config)

    def change_process(self, config: JobConfig) -> None:
        """Make the process that the worker lives in fit for the job."""

    def _become(self, spec: ActorSpec, restarted: bool) -> None:
        self.executor.show_title(spec.class_name)
        self.executor.show_source(spec.class_name)
        if spec.is_async:
            from trayray.worker.async_execution import AsyncExecutor

            executor = AsyncExecutor(self.executor, spec)

            async def construct() -> None:
                self._construct(spec, restarted)

            raise executor.run(construct)
        self._construct(spec, restarted)
        if spec.max_concurrency > 1 or spec.groups:
            self.executor.use_threads(max(1, spec.max_concurrency), spec.groups)

    @calls_user_code
    def _construct(self, spec: ActorSpec, restarted: bool) -> None:
        core = self.core
        target = Target(_creation_define(spec), None)
        call = Call(core, _creation_push(spec), target, spec.owner)
        core.omp_threads.follow(spec.resources)
        core.capture(spec.placement_group if spec.captures else b"")
        try:
            with call.entered():
                cls: Any = call.load_class(spec.body)
                args, kwargs = call.arguments()
                instance = cls.__new__(cls)
                set_actor_self(
                    ActorSelf(
                        spec.actor,
                        spec.name,
                        spec.class_name,
                        instance,
                        spec.handle,
                        restarted,
                        spec.is_async,
                        spec.resources,
                        spec.placement_group,
                    )
                )
                instance.__init__(*args, **kwargs)
                self.leaving.constructed = True
                del args, kwargs
            call.register_kept()
        except SystemExit as error:
            raise exit_request(error) from error
        except BaseException as error:
            failure = call.error_of(error)
            assert isinstance(failure, RayTaskError)
            core.to_node([ActorStarted(spec.actor, serialize(failure).to_bytes())])
            raise ExitRequested("its constructor raised an exception") from error
        core.to_node([ActorStarted(spec.actor)])


class WorkerProcess(Worker):
    """A worker that is a process."""

    def __init__(self, config: CoreConfig, network: NodeNetwork, settings: WorkerSettings) -> None:
        core = CoreWorker(config, network=network, random_base=int.from_bytes(os.urandom(8), "little"))
        self._region = MainRegion()
        executor = Executor(core, self._region)
        super().__init__(core, executor, Leaving(core, executor, settings))
        self._ready = threading.Event()

    def run(self) -> int:
        """Serve until the end; the process's exit code."""
        thread = threading.Thread(target=self._run_loop, name="trayray-loop", daemon=True)
        thread.start()
        self._ready.wait()
        set_core_worker(self.core)
        _answer_before_exit(self.executor)
        self._region.install()
        self.leaving.install()
        end = self.executor.run()
        self.leaving.clean_up(end)
        return end.code

    def _run_loop(self) -> None:
        async def main() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(run_core_worker, self.core)
                self._ready.set()

        try:
            trio.run(main)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            # The node is gone or has closed the link: a worker has nobody to work for.
            os._exit(1)

    def change_process(self, config: JobConfig) -> None:
        if config.as_ray:
            install_alias()
        self.core.omp_threads.driver_setting = config.omp_num_threads
        for entry in reversed(config.sys_path):
            if entry not in sys.path:
                sys.path.insert(0, entry)
        try:
            os.chdir(config.cwd)
        except OSError as error:
            sys.stderr.write(f"the driver's working directory {config.cwd!r} cannot be entered: {error}\n")
        os.environ.update(config.runtime_env.get("env_vars", {}))


def _answer_before_exit(executor: Executor) -> None:
    """``os._exit`` in user code leaves at once, but calls that have ended before are answered."""
    worker, leave = os.getpid(), os._exit

    def answer_and_exit(status: int) -> NoReturn:
        if os.getpid() == worker:  # not in a process that user code has forked
            executor.flush_before_exit()
        leave(status)

    os._exit = answer_and_exit


def _leave_now(reason: str) -> None:
    raise ExitRequested(reason)


def _creation_define(spec: ActorSpec) -> Define:
    return Define(0, f"{spec.class_name}.__init__", "__init__", b"", 1, METHOD, spec.resources, job=spec.job)


def _creation_push(spec: ActorSpec) -> Push:
    return Push(spec.task, 0, spec.payload, spec.values)


def run_worker(config: CoreConfig, sockets: Path, settings: WorkerSettings) -> int:
    """Be a worker until told to end; the exit code. Called once, in a freshly forked process."""
    redirect_output()
    faulthandler.enable(file=2, all_threads=False)  # the crash report shows the thread that crashed
    set_title("IDLE")
    sys.breakpointhook = breakpoint_hook
    return WorkerProcess(config, UnixNetwork(sockets, config.token, config.worker_id), settings).run()
