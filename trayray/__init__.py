"""trayray: Ray Core's tasks, actors and objects on structured concurrency. ``import trayray as ray``.

Names are loaded at their first use, so that importing the package costs next to nothing. Layers, lower ones first:

    exceptions, model   nouns and errors
    core                decisions: pure, synchronous
    wire, link          messages, and the links that carry them
    gcs, node, worker   the processes' services
    dag                 lazy graphs
    api, native         Ray's surface, and Trio's
    cli, util           the command, utilities
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trayray.version import RAY_VERSION, __version__

if TYPE_CHECKING:
    from trayray import (
        actor,
        cloudpickle,
        cluster_utils,
        cross_language,
        dag,
        exceptions,
        job_config,
        remote_function,
        runtime_context,
        util,
    )
    from trayray.actor import ActorHandle
    from trayray.api.blocking import (
        available_resources,
        cancel,
        cluster_resources,
        get,
        get_actor,
        get_gpu_ids,
        kill,
        nodes,
        put,
        timeline,
        wait,
    )
    from trayray.api.decorators import method, remote, task
    from trayray.api.initialize import init, is_initialized, shutdown
    from trayray.api.install import install_as_ray
    from trayray.cross_language import Language, cpp_function, java_actor_class, java_function
    from trayray.model.ids import (
        ActorClassID,
        ActorID,
        ClusterID,
        FunctionID,
        JobID,
        NodeID,
        PlacementGroupID,
        TaskID,
        UniqueID,
        WorkerID,
    )
    from trayray.native.actors import open_actor
    from trayray.native.calls import call, time_left
    from trayray.native.cluster import connect, open_cluster
    from trayray.native.completion import as_completed
    from trayray.native.nursery import open_nursery
    from trayray.native.streams import open_stream
    from trayray.native.supervision.blocking import supervise
    from trayray.native.supervision.child_spec import ChildSpec, SupervisorSpec
    from trayray.native.supervision.supervisor import open_supervisor
    from trayray.runtime_context import (
        RESTORE_WORKER_MODE,
        SCRIPT_MODE,
        SPILL_WORKER_MODE,
        WORKER_MODE,
        get_runtime_context,
    )
    from trayray.worker.generators import DynamicObjectRefGenerator, ObjectRefGenerator
    from trayray.worker.references import ObjectRef
    from trayray.worker.references import ObjectRef as ObjectID
    from trayray.worker.streams import BlockingStream, Stream

_HOMES = {
    "trayray.actor": "ActorHandle",
    "trayray.api.blocking": (
        "available_resources cancel cluster_resources get get_actor get_gpu_ids kill nodes put timeline wait"
    ),
    "trayray.api.decorators": "method remote task",
    "trayray.api.initialize": "init is_initialized shutdown",
    "trayray.api.install": "install_as_ray",
    "trayray.cross_language": "Language cpp_function java_actor_class java_function",
    "trayray.model.ids": (
        "ActorClassID ActorID ClusterID FunctionID JobID NodeID PlacementGroupID TaskID UniqueID WorkerID"
    ),
    "trayray.native.actors": "open_actor",
    "trayray.native.calls": "call time_left",
    "trayray.native.cluster": "connect open_cluster",
    "trayray.native.completion": "as_completed",
    "trayray.native.supervision.child_spec": "ChildSpec SupervisorSpec",
    "trayray.native.nursery": "open_nursery",
    "trayray.native.streams": "open_stream",
    "trayray.native.supervision.blocking": "supervise",
    "trayray.native.supervision.supervisor": "open_supervisor",
    "trayray.runtime_context": "RESTORE_WORKER_MODE SCRIPT_MODE SPILL_WORKER_MODE WORKER_MODE get_runtime_context",
    "trayray.worker.generators": "DynamicObjectRefGenerator ObjectRefGenerator",
    "trayray.worker.references": "ObjectRef",
    "trayray.worker.streams": "BlockingStream Stream",
}
#: Where each lazily loaded name lives.
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
_SUBMODULES = frozenset(
    {
        "actor",
        "cloudpickle",
        "cluster_utils",
        "cross_language",
        "dag",
        "exceptions",
        "job_config",
        "remote_function",
        "runtime_context",
        "util",
    }
)


if not TYPE_CHECKING:  # to checkers a module with __getattr__ has every name, misspelt ones included

    def __getattr__(name: str) -> Any:
        if name in _HOME_OF:
            value = getattr(importlib.import_module(_HOME_OF[name]), name)
        elif name == "ObjectID":
            value = __getattr__("ObjectRef")
        elif name in _SUBMODULES:
            value = importlib.import_module(f"trayray.{name}")
        else:
            raise AttributeError(f"module 'trayray' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *_SUBMODULES, "ObjectID"})


__all__ = (
    "RAY_VERSION",
    "RESTORE_WORKER_MODE",
    "SCRIPT_MODE",
    "SPILL_WORKER_MODE",
    "WORKER_MODE",
    "ActorClassID",
    "ActorHandle",
    "ActorID",
    "BlockingStream",
    "ChildSpec",
    "ClusterID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "Language",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "Stream",
    "SupervisorSpec",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "__version__",
    "actor",
    "as_completed",
    "available_resources",
    "call",
    "cancel",
    "cloudpickle",
    "cluster_resources",
    "cluster_utils",
    "connect",
    "cpp_function",
    "cross_language",
    "dag",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "install_as_ray",
    "is_initialized",
    "java_actor_class",
    "java_function",
    "job_config",
    "kill",
    "method",
    "nodes",
    "open_actor",
    "open_cluster",
    "open_nursery",
    "open_stream",
    "open_supervisor",
    "put",
    "remote",
    "remote_function",
    "runtime_context",
    "shutdown",
    "supervise",
    "task",
    "time_left",
    "timeline",
    "util",
    "wait",
)
