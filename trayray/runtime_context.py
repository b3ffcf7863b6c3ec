"""``get_runtime_context``: what the running code knows about itself and its cluster."""

from __future__ import annotations

import json
import warnings
from typing import Any, cast

import attrs

from trayray.api.session import session
from trayray.model.ids import ActorID, JobID, NodeID, PlacementGroupID, TaskID
from trayray.worker.current import Running, actor_self, core_worker, running

#: Accelerators that every answer names, as Ray's does.
_ACCELERATORS = ("FURIOSA", "GPU", "HPU", "MBLT", "NPU", "RBLN", "TPU", "TTNPU", "neuron_cores")


#: Kinds of processes, as `WorkerInfo.mode` tells them: a driver, a worker. Ray has two more, which no process is here.
SCRIPT_MODE, WORKER_MODE, SPILL_WORKER_MODE, RESTORE_WORKER_MODE = range(4)


@attrs.frozen
class WorkerInfo:
    """What ``get_runtime_context().worker`` tells of this process."""

    #: ``SCRIPT_MODE`` in a driver, ``WORKER_MODE`` in tasks and actors.
    mode: int


class RuntimeContext:
    """The context of the calling driver, task or actor; ids are lower-case hexadecimal strings."""

    def _core(self) -> Any:
        core = core_worker()
        if core is None:
            raise RuntimeError("Ray has not been initialized; call ray.init() first.")
        return core

    def _task(self) -> Running | None:
        task, executor = running.get(), self._core().executor
        if task is None and executor is not None and executor.current is not None:
            return executor.current.running  # a thread that the task or call has started
        return task

    def get(self) -> dict[str, Any]:
        """Job, node, namespace, and task and actor where there are such."""
        found: dict[str, Any] = {
            "job_id": self.get_job_id(),
            "node_id": self.get_node_id(),
            "namespace": self.namespace,
        }
        if self.get_task_id() is not None:
            found["task_id"] = self.get_task_id()
        if self.get_actor_id() is not None:
            found["actor_id"] = self.get_actor_id()
        return found

    def get_job_id(self) -> str:
        """The job that this code belongs to."""
        return self._core().job.hex()

    def get_node_id(self) -> str:
        """The node that this code runs on."""
        return self._core().welcome.node_id.hex()

    def get_worker_id(self) -> str:
        """This process's id in the cluster."""
        return self._core().config.worker_id.hex()

    def get_session_name(self) -> str:
        """The cluster's session."""
        return self._core().welcome.session

    def get_task_id(self) -> str | None:
        """The running task or actor call; None in a driver."""
        task = self._task()
        return None if task is None else task.task_id.hex()

    def get_task_name(self) -> str | None:
        """Its name: the function's, or what ``options(name=...)`` said; None in a driver."""
        task = self._task()
        return None if task is None else task.name

    def get_task_function_name(self) -> str | None:
        """The function's name with its module, whatever the call was named; None in a driver."""
        task, actor = self._task(), actor_self()
        if task is None:
            return None
        if actor is None:
            return task.function_name
        cls = cast("type[Any]", type(actor.instance))
        return f"{cls.__module__}.{cls.__qualname__}.{task.function_name}"

    def get_actor_id(self) -> str | None:
        """The actor that this process is; None elsewhere."""
        self._core()
        actor = actor_self()
        return None if actor is None else actor.actor_id.hex()

    def get_actor_name(self) -> str | None:
        """The actor's name, "" when it has none; None outside an actor."""
        self._core()
        actor = actor_self()
        return None if actor is None else actor.name

    def get_placement_group_id(self) -> str | None:
        """The placement group that this code runs in; None outside one."""
        self._core()
        actor, task = actor_self(), running.get()
        group = actor.placement_group if actor is not None else b"" if task is None else task.placement_group
        return group.hex() or None

    def get_assigned_resources(self) -> dict[str, float]:
        """What the running task or actor holds."""
        actor, task = actor_self(), self._task()
        if actor is not None:
            return dict(actor.resources)
        if task is None:
            raise RuntimeError("get_assigned_resources() is for tasks and actors; this is a driver")
        return dict(task.resources)

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The accelerators assigned, by kind."""
        self._core()
        return {name: [] for name in _ACCELERATORS}

    def get_resource_ids(self) -> dict[str, list[str]]:
        """The same as `get_accelerator_ids`."""
        return self.get_accelerator_ids()

    def get_node_labels(self) -> dict[str, str]:
        """Labels of the node that this code runs on."""
        core = self._core()
        for node in core.run_async(core.gcs.nodes):
            if node.node_id == core.welcome.node_id:
                return dict(node.labels)
        return {}

    def get_runtime_env_string(self) -> str:
        """The runtime environment as JSON."""
        return json.dumps(self.runtime_env)

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment that applies here."""
        return dict(self._core().runtime_env)

    def get_temp_dir(self) -> str:
        """The directory that holds this machine's sessions."""
        from pathlib import Path

        return str(Path(self._core().welcome.sockets).parent.parent)

    def is_canceled(self) -> bool:
        """Whether the running task or actor call was cancelled: it may end in its own way, within a grace.

        Raises:
            RuntimeError: in a driver; in an asynchronous actor, whose calls get CancelledError instead.
        """
        task = self._task()
        executor = self._core().executor
        if task is None or executor is None:
            raise RuntimeError("is_canceled() is for tasks and calls of synchronous actors; this is a driver")
        if executor.is_async:
            raise RuntimeError("is_canceled() is not supported in an asynchronous actor: its calls get CancelledError")
        return task.task_id in executor.cancelled.calls

    @property
    def namespace(self) -> str:
        """The job's namespace."""
        return self._core().namespace

    @property
    def gcs_address(self) -> str:
        """``host:port`` of the control plane."""
        return self._core().welcome.address

    @property
    def current_actor(self) -> Any:
        """A handle to the actor that this code runs in.

        Raises:
            RuntimeError: not in an actor.
        """
        from trayray.api.actor_class import current_handle

        self._core()
        actor = actor_self()
        if actor is None:
            raise RuntimeError("This method is only available in an actor.")
        return current_handle(actor.handle)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether this is not the actor's first life.

        Raises:
            RuntimeError: not in an actor.
        """
        self._core()
        actor = actor_self()
        if actor is None:
            raise RuntimeError("This method is only available in an actor.")
        return actor.restarted

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether tasks started here go to the present placement group; true in a driver, as in Ray."""
        return bool(self._core().captured) or (running.get() is None and actor_self() is None)

    @property
    def worker(self) -> WorkerInfo:
        """What kind of process this is."""
        return WorkerInfo(SCRIPT_MODE if self._core().executor is None else WORKER_MODE)

    # --- ids as objects: the names of earlier Rays ---

    @property
    def job_id(self) -> JobID:
        """`get_job_id` as an object. Deprecated."""
        _warn("job_id")
        return JobID.from_hex(self.get_job_id())

    @property
    def node_id(self) -> NodeID:
        """`get_node_id` as an object. Deprecated."""
        _warn("node_id")
        return NodeID.from_hex(self.get_node_id())

    @property
    def task_id(self) -> TaskID:
        """`get_task_id` as an object. Deprecated.

        Raises:
            AssertionError: in a driver.
        """
        _warn("task_id")
        task = self.get_task_id()
        if task is None:
            raise AssertionError("task_id is for tasks and actors; this is a driver, where get_task_id() is None")
        return TaskID.from_hex(task)

    @property
    def actor_id(self) -> ActorID | None:
        """`get_actor_id` as an object. Deprecated.

        Raises:
            AssertionError: in a driver.
        """
        _warn("actor_id")
        actor = self.get_actor_id()
        if actor is None and self.get_task_id() is None:
            raise AssertionError("actor_id is for tasks and actors; this is a driver, where get_actor_id() is None")
        return None if actor is None else ActorID.from_hex(actor)

    @property
    def current_placement_group_id(self) -> PlacementGroupID:
        """`get_placement_group_id` as an object, which is nil outside of groups. Deprecated."""
        _warn("current_placement_group_id", "get_placement_group_id")
        group = self.get_placement_group_id()
        return PlacementGroupID.nil() if group is None else PlacementGroupID.from_hex(group)


def _warn(name: str, instead: str | None = None) -> None:
    instead = instead or f"get_{name}"
    warnings.warn(f"RuntimeContext.{name} is deprecated: use {instead}()", DeprecationWarning, stacklevel=3)


_context = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """The context of the calling code; connects first when this process belongs to no cluster."""
    session.core()
    return _context


__all__ = (
    "RESTORE_WORKER_MODE",
    "SCRIPT_MODE",
    "SPILL_WORKER_MODE",
    "WORKER_MODE",
    "RuntimeContext",
    "WorkerInfo",
    "get_runtime_context",
)
