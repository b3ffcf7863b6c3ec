"""A node's own numbers as metrics: tasks, actors, resources, objects, workers, calls, processes, the machine.

Names and labels are Ray's where Ray has such a metric, else they begin with ``trayray_``. Not here: metrics that
programs define (``metrics_table``), reading /proc (``metrics_processes``).
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from trayray.link.grpc_edge import failed_calls
from trayray.node.config import available_cpus, machine_memory
from trayray.node.metrics_processes import MachineUsage, ProcessUsage
from trayray.node.metrics_text import Family

if TYPE_CHECKING:
    from trayray.node.raylet import Raylet


def node_families(raylet: Raylet, ip: str) -> Iterator[Family]:
    """What the node's tables say now."""
    yield _tasks(raylet)
    yield from _actors_and_jobs(raylet)
    yield _resources(raylet)
    yield from _store(raylet)
    yield from _workers(raylet)
    yield _failed_calls()
    nodes = Family("ray_cluster_active_nodes", "gauge", "Nodes that are alive.")
    nodes.add(1, node_type=f"node_{raylet.identity.node_id.hex()}", ip=ip)
    yield nodes
    dropped = Family(
        "trayray_metric_recordings_dropped_total", "counter", "Recordings left out: the node had too many series."
    )
    dropped.add(raylet.metrics.table.dropped)
    yield dropped


def _tasks(raylet: Raylet) -> Family:
    family = Family(
        "ray_tasks",
        "gauge",
        "Tasks and actor calls by state: executions that ended (FINISHED, FAILED), leased workers that run tasks, and "
        "workers that tasks wait for (PENDING_NODE_ASSIGNMENT).",
    )
    states: Counter[tuple[str, str, str]] = Counter()
    for lease in raylet.table.leases.values():
        if not lease.demand.lasting:  # an actor's worker has no task of its own
            state = "RUNNING" if lease.lent.is_empty() else "RUNNING_IN_RAY_GET"
            states[lease.demand.name, state, lease.demand.job.hex()] += 1
    for demand in raylet.table.demands.values():
        if demand.outstanding and not demand.lasting:
            states[demand.name, "PENDING_NODE_ASSIGNMENT", demand.job.hex()] += demand.outstanding
    for (name, state, job), count in states.items():
        family.add(count, Component="raylet", Name=name, State=state, JobId=job)
    for name, finished, failed in raylet.metrics.executions():
        for state, count in (("FINISHED", finished), ("FAILED", failed)):
            if count:
                family.add(count, Component="raylet", Name=name, State=state)
    return family


def _actors_and_jobs(raylet: Raylet) -> Iterator[Family]:
    actors = Family("ray_actors", "gauge", "Actors by class and state.")
    states = Counter(
        (actor.class_name, actor.state.value, actor.job.hex()) for actor in raylet.gcs.actors.actors.values()
    )
    for (name, state, job), count in states.items():
        actors.add(count, Component="gcs_server", Name=name, State=state, JobId=job)
    yield actors
    running = Family("ray_running_jobs", "gauge", "Drivers that are connected.")
    finished = Family("ray_finished_jobs_total", "counter", "Jobs that have ended.")
    ended = sum(job.ended for job in raylet.gcs.jobs.values())
    running.add(len(raylet.gcs.jobs) - ended, Component="gcs_server")
    finished.add(ended, Component="gcs_server")
    yield from (running, finished)


def _resources(raylet: Raylet) -> Family:
    family = Family("ray_resources", "gauge", "Logical resources that are USED and AVAILABLE.")
    total = {**raylet.table.total.to_dict(), "object_store_memory": float(raylet.store.capacity)}
    available = {**raylet.table.available.to_dict(), "object_store_memory": float(raylet.store.available)}
    for name, amount in total.items():
        free = available.get(name, 0.0)
        family.add(amount - free, Component="raylet", Name=name, State="USED")
        family.add(free, Component="raylet", Name=name, State="AVAILABLE")
    return family


def _store(raylet: Raylet) -> Iterator[Family]:
    statistics = raylet.store.segments.statistics()
    numbers = {
        "ray_object_store_available_memory": (raylet.store.available, "Free bytes of the object store."),
        "ray_object_store_used_memory": (statistics.used, "Used bytes of the object store."),
        "ray_object_store_num_local_objects": (statistics.objects, "Objects in the object store."),
        "trayray_object_store_pinned_memory": (statistics.pinned_bytes, "Bytes of objects that processes read."),
        "trayray_object_store_num_unsealed_objects": (statistics.unsealed, "Objects that are being written."),
    }
    for name, (value, text) in numbers.items():
        family = Family(name, "gauge", text)
        family.add(value, Component="raylet")
        yield family
    memory = Family("ray_object_store_memory", "gauge", "Bytes of objects by where they are.")
    memory.add(statistics.used, Component="raylet", Location="MMAP_SHM")
    memory.add(raylet.store.bytes_on_disk, Component="raylet", Location="SPILLED")
    yield memory
    moved = raylet.store.spill_statistics
    requests = Family("ray_spill_manager_request_total", "counter", "Objects that were spilled and restored.")
    requests.add(moved.spilled_objects, Component="raylet", Type="Spilled")
    requests.add(moved.restored_objects, Component="raylet", Type="Restored")
    moved_bytes = Family("trayray_spill_bytes_total", "counter", "Bytes of objects that were spilled and restored.")
    moved_bytes.add(moved.spilled_bytes, Component="raylet", Type="Spilled")
    moved_bytes.add(moved.restored_bytes, Component="raylet", Type="Restored")
    yield from (requests, moved_bytes)


def _workers(raylet: Raylet) -> Iterator[Family]:
    family = Family("trayray_workers", "gauge", "Worker processes by what they do.")
    idle = sum(len(workers) for workers in raylet.table.idle.values())
    counts = {
        "idle": idle,
        "leased": len(raylet.table.leases),
        "starting": sum(not worker.connected for worker in raylet.processes.workers.values()),
    }
    for state, count in counts.items():
        family.add(count, Component="raylet", State=state)
    yield family
    started = Family(
        "ray_internal_num_processes_started", "gauge", "Worker processes that were started since the node's start."
    )
    started.add(raylet.processes.started, Component="raylet")
    yield started


def _failed_calls() -> Family:
    family = Family(
        "ray_grpc_server_req_failed_total", "counter", "Calls of this node's services that were answered by an error."
    )
    for (method, status), count in failed_calls.items():
        family.add(count, Component="raylet", Method=method, Status=status)
    return family


class UsageHistory:
    """Turns processor time, which only grows, into percentages over the time since the last look."""

    def __init__(self) -> None:
        #: Processor time by process, and when it was read.
        self._processes: dict[tuple[int, int], float] = {}
        self._machine: MachineUsage | None = None
        self._time: float | None = None

    def families(
        self,
        processes: Iterable[ProcessUsage],
        machine: MachineUsage,
        now: float,
        drivers: Collection[int],
        ip: str,
    ) -> Iterator[Family]:
        """Metrics of the node's processes, summed by what they are, and of the machine.

        Args:
            processes: as they are at ``now`` (seconds of any clock), and ``machine`` as well.
            drivers: process ids of drivers, which are called that.
        """
        elapsed = None if self._time is None else now - self._time
        cpu, resident, files = (
            defaultdict[str, float](float),
            defaultdict[str, float](float),
            defaultdict[str, float](float),
        )
        before, self._processes = self._processes, {}
        for process in processes:
            what = _component(process, drivers)
            key = (process.pid, process.started)
            self._processes[key] = process.cpu_seconds
            # A process that was not there at the last look has used all its time since.
            used = process.cpu_seconds - before.get(key, 0.0)
            cpu[what] += 100 * used / elapsed if elapsed else 0.0
            resident[what] += process.resident
            files[what] += process.open_files
        self._time = now
        yield _by_component("ray_component_cpu_percentage", "Processor time used, in percent of one CPU.", cpu, ip)
        yield _by_component("ray_component_rss_bytes", "Resident memory.", resident, ip)
        megabytes = {what: amount / 1e6 for what, amount in resident.items()}
        yield _by_component("ray_component_rss_mb", "Resident memory, in megabytes.", megabytes, ip)
        yield _by_component("ray_component_num_fds", "Open files.", files, ip)
        yield from self._machine_families(machine, ip)

    def _machine_families(self, machine: MachineUsage, ip: str) -> Iterator[Family]:
        last, self._machine = self._machine, machine
        total = machine.total_seconds - (last.total_seconds if last else 0.0)
        busy = machine.busy_seconds - (last.busy_seconds if last else 0.0)
        memory = machine_memory()
        available = min(machine.available, memory)
        numbers = {
            "ray_node_cpu_count": (available_cpus(), "CPUs that the node may use."),
            "ray_node_cpu_utilization": (100 * busy / total if total else 0.0, "Busy CPUs of the machine, in percent."),
            "ray_node_mem_total": (memory, "Bytes of memory of the machine, or of its container."),
            "ray_node_mem_available": (available, "Bytes of memory that can still be had."),
            "ray_node_mem_used": (memory - available, "Bytes of memory in use."),
        }
        for name, (value, text) in numbers.items():
            family = Family(name, "gauge", text)
            family.add(value, ip=ip, IsHeadNode="true")
            yield family


def _component(process: ProcessUsage, drivers: Collection[int]) -> str:
    if process.pid == os.getpid():
        return "raylet"
    return "driver" if process.pid in drivers else process.title or "ending"


def _by_component(name: str, text: str, amounts: dict[str, float], ip: str) -> Family:
    family = Family(name, "gauge", text)
    for what, amount in amounts.items():
        family.add(amount, Component=what, ip=ip)
    return family
