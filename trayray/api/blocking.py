"""``get``, ``put``, ``wait``, ``kill``, ``cancel``, ``get_actor`` and the cluster's state, for synchronous callers.

Not here: waiting itself (``worker.objects``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from trayray.api.actor_class import ActorHandle, current_handle
from trayray.api.pickling_errors import describe_failure
from trayray.api.session import session
from trayray.core.bundles import without_groups
from trayray.exceptions import ActorHandleNotFoundError, RaySystemError
from trayray.wire.serialization import serialize
from trayray.worker.current import core_worker
from trayray.worker.generators import ObjectRefGenerator
from trayray.worker.references import ObjectRef

if TYPE_CHECKING:
    from trayray.worker.core_worker import CoreWorker

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
D = TypeVar("D")
Ref = TypeVar("Ref", bound=ObjectRef[Any] | ObjectRefGenerator[Any])


@overload
def get(object_refs: ObjectRef[T], *, timeout: float | None = None, _use_object_store: bool = False) -> T: ...
# Two or three references that one call returned are a tuple to checkers, and a list when the program runs.
@overload
def get(  # pyright: ignore[reportOverlappingOverload] -- a tuple is a sequence, but with a type for each element
    object_refs: tuple[ObjectRef[A], ObjectRef[B]], *, timeout: float | None = None, _use_object_store: bool = False
) -> tuple[A, B]: ...
@overload
def get(
    object_refs: tuple[ObjectRef[A], ObjectRef[B], ObjectRef[D]],
    *,
    timeout: float | None = None,
    _use_object_store: bool = False,
) -> tuple[A, B, D]: ...
@overload
def get(
    object_refs: Sequence[ObjectRef[T]], *, timeout: float | None = None, _use_object_store: bool = False
) -> list[T]: ...
def get(
    object_refs: ObjectRef[Any] | Sequence[ObjectRef[Any]],
    *,
    timeout: float | None = None,
    _use_object_store: bool = False,
) -> Any:
    """The value of a reference, or the list of values of a list of them; waits until they exist.

    Args:
        timeout: seconds; None waits forever, 0 takes only what is there.

    Raises:
        GetTimeoutError: not there in time.
        ValueError, TypeError: not a reference or a list of references; a negative timeout.
        Exception: what the task raised, as its own type and as `RayTaskError`.
    """
    core = core_worker() or session.core()
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout must be None or at least 0 seconds, not {timeout}")
    if type(object_refs) is ObjectRef:
        if object_refs._value is not None and timeout is None:
            return core.objects.load(object_refs)
        return core.objects.get((object_refs,), timeout)[0]
    if not isinstance(object_refs, list):
        _refuse_generator(object_refs)
        raise ValueError(
            f"Invalid type of object refs, {type(object_refs).__name__}, is given. 'object_refs' must either be an "
            "ObjectRef or a list of ObjectRefs."
        )
    for ref in object_refs:
        if type(ref) is not ObjectRef:
            _refuse_generator(ref)
            raise TypeError(
                f"Attempting to call `get` on the value {ref!r}, which is not an ObjectRef but {type(ref).__name__}."
            )
    return core.objects.get(object_refs, timeout)


def _refuse_generator(value: object) -> None:
    if isinstance(value, ObjectRefGenerator):
        raise TypeError(
            "Calling `get` on an ObjectRefGenerator is not allowed: get the references that it gives, one after the "
            "other, or `completed()` to wait for its end."
        )


def put(value: T, *, _owner: Any = None, _tensor_transport: Any = None) -> ObjectRef[T]:
    """Store ``value`` as an object owned by this process.

    Raises:
        TypeError: a reference by itself, or a value that cannot be pickled (the text names the culprit).
        ObjectStoreFullError: there is no room.
    """
    core = core_worker() or session.core()
    if type(value) is ObjectRef:
        raise TypeError(
            "Calling 'put' on an ObjectRef is not allowed. If you really want to do this, you can wrap the ObjectRef "
            "in a list and call 'put' on it."
        )
    if _owner is not None:
        raise ValueError("the '_owner' argument is not supported: the caller of put owns the object")
    try:
        serialized = serialize(value)
    except Exception as error:
        raise describe_failure(value, f"the value given to put, a {type(value).__name__}", error) from error
    return core.objects.put(serialized)


# Each kind by itself first, then both: mypy joins what a list holds to a plain object, unless it expects a type.
@overload
def wait(
    ray_waitables: list[ObjectRef[T]], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[ObjectRef[T]], list[ObjectRef[T]]]: ...
@overload
def wait(
    ray_waitables: list[ObjectRefGenerator[T]],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[ObjectRefGenerator[T]], list[ObjectRefGenerator[T]]]: ...
# A tuple is what one call with several returns gave, as for `get`.
@overload
def wait(
    ray_waitables: list[Ref] | tuple[Ref, ...],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Ref], list[Ref]]: ...
@overload
def wait(  # pyright: ignore[reportOverlappingOverload] -- it is for mypy, which matches the one before too late
    ray_waitables: list[ObjectRef[Any] | ObjectRefGenerator[Any]],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[ObjectRef[Any] | ObjectRefGenerator[Any]], list[ObjectRef[Any] | ObjectRefGenerator[Any]]]: ...
def wait(
    ray_waitables: Any, *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Any], list[Any]]:
    """Wait until ``num_returns`` of the references have values (or errors); the ready ones and the others, in order.

    Args:
        timeout: seconds after which whatever is ready is returned; None waits as long as it takes.
        fetch_local: accepted as in Ray; on one node values are always here.

    Raises:
        TypeError: not a list of references.
        ValueError: duplicates, or impossible numbers.
    """
    core = core_worker() or session.core()
    if not isinstance(ray_waitables, list):
        raise TypeError(f"wait() expected a list of ray.ObjectRef, got {type(ray_waitables).__name__}")
    waitables = cast("list[Any]", ray_waitables)
    kinds: set[type] = set(map(type, waitables))
    if kinds - {ObjectRef, ObjectRefGenerator}:
        wrong = (kinds - {ObjectRef, ObjectRefGenerator}).pop()
        raise TypeError(f"wait() expected a list of ray.ObjectRef, got list containing {wrong.__name__}")
    if timeout is not None and timeout < 0:
        raise ValueError(f"The 'timeout' argument must be nonnegative. Received {timeout}")
    if not waitables:
        return [], []
    if len(set(waitables)) != len(waitables):
        raise ValueError("Wait requires a list of unique object refs.")
    if num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return {num_returns}.")
    if num_returns > len(waitables):
        raise ValueError(
            f"num_returns cannot be greater than the number of objects provided to ray.wait: {num_returns}"
        )
    if ObjectRefGenerator in kinds:
        return _wait_for_items(core, waitables, num_returns, timeout)
    return core.objects.wait(waitables, num_returns, timeout)


def _wait_for_items(
    core: CoreWorker, waitables: list[Any], num_returns: int, timeout: float | None
) -> tuple[list[Any], list[Any]]:
    """`wait` where generators are among the references: each stands for the value that it gives next."""
    heads = [w._stream.head() if isinstance(w, ObjectRefGenerator) else w for w in waitables]
    ready = {id(head) for head in core.objects.wait(heads, num_returns, timeout)[0]}
    pairs = list(zip(waitables, heads, strict=True))
    return [w for w, head in pairs if id(head) in ready], [w for w, head in pairs if id(head) not in ready]


def kill(actor: Any, *, no_restart: bool = True) -> None:
    """End an actor's process at once; no exit handlers run.

    Raises:
        ValueError: not an actor handle.
        ActorHandleNotFoundError: a handle of another cluster (a ValueError too).
    """
    core = session.core()
    if not isinstance(actor, ActorHandle):
        raise ValueError(
            f"ray.kill() only supported for actors. For tasks, try ray.cancel(). Got: {type(actor).__name__}."
        )
    actor_id = actor._ray_info.actor_id

    async def kill_it() -> bool:
        await core.creations.settled(actor_id)
        return await core.gcs.kill_actor(actor_id, no_restart=no_restart)

    if not core.run_async(kill_it):
        raise ActorHandleNotFoundError(
            f"{actor!r} is not known to this cluster: it was created before the present init(), or in another cluster."
        )


def cancel(
    ray_waitable: ObjectRef[Any] | ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True
) -> None:
    """Cancel the task or actor call that makes a reference; does not wait.

    Raises:
        TypeError: not a reference.
        ValueError: ``force`` for an actor call.
    """
    core = session.core()
    if isinstance(ray_waitable, ObjectRefGenerator):
        ray_waitable = ray_waitable.completed()
    if type(ray_waitable) is not ObjectRef:
        raise TypeError(
            "ray.cancel() only supported for object refs. For actors, try ray.kill(). "
            f"Got: {type(ray_waitable).__name__}."
        )
    if force and ray_waitable._id[8:20] != b"\xff" * 12:
        raise ValueError("force=True is not supported for actor tasks.")
    core.call_soon(lambda: core.cancel(ray_waitable, force=force, recursive=recursive))


def get_actor(name: str, namespace: str | None = None) -> Any:
    """A handle to the living actor of that name; the handle does not keep the actor alive.

    Raises:
        ValueError: there is none.
    """
    core = session.core()
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise TypeError(f"the name of an actor must be a str, not {type(name).__name__}")
    if namespace is not None and not isinstance(namespace, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise TypeError(f"namespace must be None or a str, not {type(namespace).__name__}")
    if namespace == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    where = namespace or core.namespace
    pickled = core.run_async(lambda: core.gcs.get_named_actor(name, where))
    if not pickled:
        raise ValueError(
            f"Failed to look up actor with name '{name}' in namespace '{where}'. You are either trying to look up a "
            "named actor you didn't create, the named actor died, or it lives in another namespace."
        )
    return current_handle(pickled)


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """Names of living actors in this namespace, or ``{"name", "namespace"}`` of those in all."""
    core = session.core()
    found = core.run_async(lambda: core.gcs.list_named_actors("" if all_namespaces else core.namespace))
    if all_namespaces:
        return [{"name": name, "namespace": namespace} for name, namespace in found]
    return [name for name, _ in found]


def nodes() -> list[dict[str, Any]]:
    """The cluster's nodes, with Ray's keys."""
    core = session.require_core()
    return [
        {
            "NodeID": node.node_id.hex(),
            "Alive": node.alive,
            "NodeManagerAddress": node.address,
            "NodeManagerHostname": node.hostname,
            "NodeManagerPort": node.node_manager_port,
            "ObjectManagerPort": node.object_manager_port,
            "ObjectStoreSocketName": node.object_store_socket,
            "RayletSocketName": node.raylet_socket,
            "MetricsExportPort": node.metrics_export_port,
            "NodeName": node.name,
            "RuntimeEnvAgentPort": 0,
            "DeathReason": 0,
            "DeathReasonMessage": node.death_reason,
            "alive": node.alive,
            "Resources": without_groups(node.resources),
            "Labels": dict(node.labels),
        }
        for node in core.run_async(core.gcs.nodes)
    ]


def cluster_resources() -> dict[str, float]:
    """The total capacity of the cluster's living nodes, and what placement groups reserve of it."""
    core = session.require_core()
    total: dict[str, float] = {}
    for node in core.run_async(core.gcs.nodes):
        for name, amount in node.resources.items() if node.alive else ():
            total[name] = total.get(name, 0.0) + amount
    return total


def available_resources() -> dict[str, float]:
    """What is free at present."""
    core = session.require_core()
    return dict(core.run_async(core.gcs.available_resources))


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """Executed tasks and actor calls as Chrome trace events; written to ``filename`` as JSON when given.

    Raises:
        RuntimeError: not connected.
    """
    core = core_worker()
    if core is None:
        raise RuntimeError("Ray has not been started yet. Call ray.init() first.")
    events = [
        {
            "cat": "task",
            "name": event.name,
            "ph": "X",
            "pid": f"node:{core.node_ip}",
            "tid": f"worker:{event.pid}",
            "ts": event.start * 1e6,
            "dur": (event.end - event.start) * 1e6,
            "args": {"task_id": event.task_id.hex(), "ok": event.ok},
        }
        for event in core.run_async(core.gcs.task_events)
    ]
    if filename is None:
        return events
    with open(filename, "w") as file:
        json.dump(events, file)
    return None


def get_gpu_ids() -> list[Any]:
    """The GPUs of the running task or actor; empty where it requested none."""
    if core_worker() is None:
        raise RaySystemError(RuntimeError("Ray has not been started yet. You can start Ray with 'ray.init()'."))
    return []
