"""What a node is started with, and what it finds out about its machine."""

from __future__ import annotations

import json
import mmap
import os
from typing import TYPE_CHECKING, Any

import attrs

from trayray.model.resources import ResourceSet
from trayray.model.settings import shutdown_seconds, switch

if TYPE_CHECKING:
    from trayray.core.leaving import WorkerSettings
    from trayray.model.spilling import StoreSettings

#: Share of the machine's memory for the object store when nothing is said, and the most it takes then (bytes).
_STORE_SHARE, _STORE_MAXIMUM = 0.3, 200 * 10**9
#: Settings of Ray's for what user code has started, in the environment and in ``_system_config``.
KILL_CHILDREN = "kill_child_processes_on_worker_exit"
KILL_DESCENDANTS = "kill_child_processes_on_worker_exit_with_raylet_subreaper"
#: Memory offered to tasks and actors when nothing is said.
_MEMORY_SHARE = 0.7


def _store_settings(value: StoreSettings | dict[str, Any] | None) -> StoreSettings | None:
    """As they are, or as they have come in JSON."""
    if not isinstance(value, dict):
        return value
    from trayray.model.spilling import StoreSettings

    return StoreSettings.from_dict(value)


@attrs.frozen
class NodeConfig:
    """Settings of one node process; JSON on its command line."""

    root: str
    ip: str = "127.0.0.1"
    #: Port of the control plane, 0 for any free one.
    port: int = 0
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    custom_resources: dict[str, float] = attrs.field(factory=dict[str, float])
    labels: dict[str, str] = attrs.field(factory=dict[str, str])
    object_store_memory: int = 0
    #: Process whose end ends this node; 0 for none.
    driver_pid: int = 0
    #: A person started it, so that ``init()`` without an address finds it, whoever its end depends on.
    started_by_hand: bool = False
    name: str = ""
    prestart: int = 2
    #: Port of ``GET /metrics``, 0 for any free one; and whether it asks for the token.
    metrics_port: int = 0
    metrics_auth: bool = False
    #: What a worker may take to clean up (seconds); whether its children end with it, and everything that it has
    #: started. None: what the environment says.
    shutdown_seconds: float | None = None
    kill_children: bool | None = None
    kill_descendants: bool | None = None
    #: Of the object store. None: what the environment says.
    store: StoreSettings | None = attrs.field(default=None, converter=_store_settings)

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> NodeConfig:
        return cls(**json.loads(text))

    def completed(self) -> NodeConfig:
        """With everything that was left open filled in from the machine."""
        changes: dict[str, Any] = {}
        if self.num_cpus is None:
            changes["num_cpus"] = available_cpus()
        if self.memory is None:
            changes["memory"] = int(machine_memory() * _MEMORY_SHARE)
        store = self.object_store_memory or default_store_bytes()
        # Whole pages, as the arena has: what is free can then never be more than what is there.
        changes["object_store_memory"] = -(-store // mmap.PAGESIZE) * mmap.PAGESIZE
        cpus = changes.get("num_cpus", self.num_cpus)
        changes["prestart"] = min(self.prestart, int(cpus)) if cpus else 0
        return attrs.evolve(self, **changes)

    def worker_settings(self) -> WorkerSettings:
        """How this node's workers end.

        Raises:
            ValueError: a setting in the environment cannot be understood.
        """
        from trayray.core.leaving import WorkerSettings  # only a node needs it, a driver is in a hurry

        seconds = self.shutdown_seconds
        children, descendants = self.kill_children, self.kill_descendants
        if children is None:
            children = switch(KILL_CHILDREN, True)
        if descendants is None:  # who says that children may stay does not mean that theirs may not
            descendants = switch(KILL_DESCENDANTS, children)
        return WorkerSettings(shutdown_seconds() if seconds is None else seconds, children, descendants)

    def store_settings(self) -> StoreSettings:
        """How this node's object store spills.

        Raises:
            ValueError: a setting in the environment cannot be understood.
        """
        if self.store is not None:
            return self.store
        from trayray.model.spilling import StoreSettings  # most drivers need it not, and are in a hurry

        return StoreSettings.from_sources({}, os.environ)

    def resources(self, node_id: bytes) -> ResourceSet:
        """What leases are made of: everything but the object store."""
        amounts: dict[str, float] = {"CPU": self.num_cpus or 0, "memory": self.memory or 0, f"node:{self.ip}": 1.0}
        if self.num_gpus:
            amounts["GPU"] = self.num_gpus
        amounts["node:__internal_head__"] = 1.0
        return ResourceSet.of({**amounts, **self.custom_resources})

    def store_resources(self) -> dict[str, float]:
        return {"object_store_memory": float(self.object_store_memory)}


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def machine_memory() -> int:
    """Bytes of memory of the machine or of the container's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            limit = file.read().strip()
    except FileNotFoundError:
        return total
    return total if limit == "max" else min(total, int(limit))


def default_store_bytes() -> int:
    """Size of the object store when nothing is said: a share of memory, and never more than /dev/shm has free."""
    wanted = min(int(machine_memory() * _STORE_SHARE), _STORE_MAXIMUM)
    return max(wanted, 80 * 1024 * 1024)
