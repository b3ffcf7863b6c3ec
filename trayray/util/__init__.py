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
    from trayray.util import joblib as joblib
    from trayray.util import metrics as metrics
    from trayray.util import multiprocessing as multiprocessing
    from trayray.util import queue as queue
    from trayray.util import rpdb as rpdb
    from trayray.util import scheduling_strategies as scheduling_strategies
    from trayray.util import serialization as serialization
    from trayray.util.actor_pool import ActorPool as ActorPool
    from trayray.util.check_serialize import inspect_serializability as inspect_serializability
    from trayray.util.explanation import why as why
    from trayray.util.placement_group import get_current_placement_group as get_current_placement_group
    from trayray.util.placement_group import get_placement_group as get_placement_group
    from trayray.util.placement_group import placement_group as placement_group
    from trayray.util.placement_group import placement_group_table as placement_group_table
    from trayray.util.placement_group import remove_placement_group as remove_placement_group
    from trayray.util.progress_bar import progress as progress
    from trayray.util.serialization import deregister_serializer as deregister_serializer
    from trayray.util.serialization import register_serializer as register_serializer

#: Where each lazily loaded name lives.
_HOME_OF = {
    "get_current_placement_group": "trayray.util.placement_group",
    "get_placement_group": "trayray.util.placement_group",
    "placement_group": "trayray.util.placement_group",
    "placement_group_table": "trayray.util.placement_group",
    "remove_placement_group": "trayray.util.placement_group",
    "ActorPool": "trayray.util.actor_pool",
    "deregister_serializer": "trayray.util.serialization",
    "inspect_serializability": "trayray.util.check_serialize",
    "progress": "trayray.util.progress_bar",
    "register_serializer": "trayray.util.serialization",
    "list_named_actors": "trayray.api.blocking",
    "why": "trayray.util.explanation",
}
_SUBMODULES: frozenset[str] = frozenset(
    {
        "actor_pool",
        "joblib",
        "multiprocessing",
        "queue",
        "accelerators",
        "check_serialize",
        "collective",
        "metrics",
        "rpdb",
        "scheduling_strategies",
        "serialization",
    }
)


if not TYPE_CHECKING:  # to checkers a module with __getattr__ has every name, misspelt ones included

    def __getattr__(name: str) -> Any:
        if name in _HOME_OF:
            value = getattr(importlib.import_module(_HOME_OF[name]), name)
        elif name in _SUBMODULES:
            value = importlib.import_module(f"trayray.util.{name}")
        else:
            raise AttributeError(f"module 'trayray.util' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *_SUBMODULES})


__all__ = (
    "why",
    "ActorPool",
    "actor_pool",
    "joblib",
    "multiprocessing",
    "queue",
    "accelerators",
    "check_serialize",
    "collective",
    "deregister_serializer",
    "get_current_placement_group",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "metrics",
    "placement_group",
    "placement_group_table",
    "progress",
    "register_serializer",
    "remove_placement_group",
    "rpdb",
    "scheduling_strategies",
    "serialization",
)
