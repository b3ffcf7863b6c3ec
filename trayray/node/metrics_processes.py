"""What Linux knows of processes and of the machine: processor time, memory, open files. Read from /proc.

Not here: which processes belong to the node, and what becomes of the numbers (``metrics_system``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import attrs

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class ProcessUsage:
    """One process at one moment."""

    pid: int
    #: What it calls itself: the first word of its command line.
    title: str
    #: When it was started (ticks since the machine's start): tells it from a later process of the same id.
    started: int
    #: Processor time that it has used (seconds).
    cpu_seconds: float
    #: Memory that is its own or shared and present (bytes).
    resident: int
    open_files: int


@attrs.frozen
class MachineUsage:
    """The whole machine at one moment."""

    #: Processor time since the machine's start: used, and used or idle (seconds).
    busy_seconds: float
    total_seconds: float
    #: Memory that could be given to processes (bytes).
    available: int


def read_processes(pids: Iterable[int]) -> list[ProcessUsage]:
    """Those of ``pids`` that are there and may be looked at."""
    return [usage for pid in pids if (usage := _read_process(Path(f"/proc/{pid}"))) is not None]


def _read_process(path: Path) -> ProcessUsage | None:
    try:
        # The name in brackets may hold anything; fields are counted from behind it.
        fields = (path / "stat").read_bytes().rpartition(b")")[2].split()
        title = (path / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace").strip()
        open_files = len(os.listdir(path / "fd"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has just ended, or runs as somebody else
        return None
    return ProcessUsage(
        pid=int(path.name),
        title=title,
        started=int(fields[19]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        resident=int(fields[21]) * _PAGE,
        open_files=open_files,
    )


def read_machine() -> MachineUsage:
    """The machine's processors and memory."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, idle, waiting, *rest = (int(field) for field in file.readline().split()[1:9])
    busy = user + nice + system + sum(rest)
    available = 0
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    return MachineUsage(busy / _TICKS, (busy + idle + waiting) / _TICKS, available)
