"""Ray's ``ray.util``, built on the public API. Names are loaded at their first use, as in ``trayray``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trayray.api.blocking import list_named_actors as list_named_actors
    from trayray.util import accelerators as accelerators
    from trayray.util import actor_pool as actor_pool
    from trayray.util import check_serialize as check_serialize
    from trayray.util import collective as collective
    from trayray.util import debug as debug
    from trayray.util import joblib as joblib
    from trayray.util import metrics as metrics
    from trayray.util import multiprocessing as multiprocessing
    from trayray.util import queue as queue
    from trayray.util import rpdb as pdb
    from trayray.util import rpdb as rpdb
    from trayray.util import scheduling_strategies as scheduling_strategies
    from trayray.util import serialization as serialization
    from trayray.util.actor_pool import ActorPool as ActorPool
    from trayray.util.check_serialize import inspect_serializability as inspect_serializability
    from trayray.util.completion import as_completed as as_completed
    from trayray.util.completion import map_unordered as map_unordered
    from trayray.util.debug import disable_log_once_globally as disable_log_once_globally
    from trayray.util.debug import enable_periodic_logging as enable_periodic_logging
    from trayray.util.debug import log_once as log_once
    from trayray.util.explanation import why as why
    from trayray.util.placement_group import get_current_placement_group as get_current_placement_group
    from trayray.util.placement_group import get_placement_group as get_placement_group
    from trayray.util.placement_group import placement_group as placement_group
    from trayray.util.placement_group import placement_group_table as placement_group_table
    from trayray.util.placement_group import remove_placement_group as remove_placement_group
    from trayray.util.progress_bar import progress as progress
    from trayray.util.serialization import deregister_serializer as deregister_serializer
    from trayray.util.serialization import register_serializer as register_serializer
    from trayray.util.this_node import get_node_instance_id as get_node_instance_id
    from trayray.util.this_node import get_node_ip_address as get_node_ip_address

_HOMES = {
    "trayray.api.blocking": "list_named_actors",
    "trayray.util.actor_pool": "ActorPool",
    "trayray.util.check_serialize": "inspect_serializability",
    "trayray.util.completion": "as_completed map_unordered",
    "trayray.util.debug": "disable_log_once_globally enable_periodic_logging log_once",
    "trayray.util.explanation": "why",
    "trayray.util.placement_group": (
        "get_current_placement_group get_placement_group placement_group placement_group_table remove_placement_group"
    ),
    "trayray.util.progress_bar": "progress",
    "trayray.util.serialization": "deregister_serializer register_serializer",
    "trayray.util.this_node": "get_node_instance_id get_node_ip_address",
}
#: Where each lazily loaded name lives.
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
#: Submodules by the names that they are asked for; Ray has a second one for the debugger.
_SUBMODULES = {
    name: name
    for name in (
        "accelerators",
        "actor_pool",
        "check_serialize",
        "collective",
        "debug",
        "joblib",
        "metrics",
        "multiprocessing",
        "queue",
        "rpdb",
        "scheduling_strategies",
        "serialization",
    )
} | {"pdb": "rpdb"}


if not TYPE_CHECKING:  # to checkers a module with __getattr__ has every name, misspelt ones included

    def __getattr__(name: str) -> Any:
        if name in _HOME_OF:
            value = getattr(importlib.import_module(_HOME_OF[name]), name)
        elif name in _SUBMODULES:
            value = importlib.import_module(f"trayray.util.{_SUBMODULES[name]}")
        else:
            raise AttributeError(f"module 'trayray.util' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *_SUBMODULES})


__all__ = (
    "ActorPool",
    "accelerators",
    "actor_pool",
    "as_completed",
    "check_serialize",
    "collective",
    "debug",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_instance_id",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "joblib",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "metrics",
    "multiprocessing",
    "pdb",
    "placement_group",
    "placement_group_table",
    "progress",
    "queue",
    "register_serializer",
    "remove_placement_group",
    "rpdb",
    "scheduling_strategies",
    "serialization",
    "why",
)
