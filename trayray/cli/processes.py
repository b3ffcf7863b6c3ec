"""A running cluster's processes as the kernel knows them, for ``trayray stop``.

Not here: what clusters there are (``node.session``), asking them to end (``api.node_control``).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from typing import Self

#: What the command line of every node says.
_NODE_PROGRAM = b"trayray.node.main"


def is_node(pid: int) -> bool:
    """Whether a process is a node; a dead node's id may have been given to a stranger since."""
    try:
        return _NODE_PROGRAM in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    """A process's children, their children and so on, parents before their children."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                # The name in brackets may hold anything; the parent is the second field after it.
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(name))
    found = list(children.get(pid, ()))
    for parent in found:
        found += children.get(parent, ())
    return found


class Watched:
    """Processes that are to end: signalled and waited for by descriptors, which a reused id cannot mislead."""

    def __init__(self, pids: list[int]) -> None:
        self._open: dict[int, int] = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._open[pid] = os.pidfd_open(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    @property
    def pids(self) -> list[int]:
        """Those that were there at first and have not been seen to end."""
        return list(self._open)

    def signal(self, number: signal.Signals, pid: int) -> None:
        """Signal one of them; nothing happens when it has ended."""
        descriptor = self._open.get(pid)
        if descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)

    def wait(self, seconds: float) -> bool:
        """Wait until all have ended, at most so long; whether they have."""
        deadline = time.monotonic() + seconds
        while self._open:
            left = max(0.0, deadline - time.monotonic())
            ended, _, _ = select.select(list(self._open.values()), [], [], left)
            if not ended:
                return False
            for pid, descriptor in list(self._open.items()):
                if descriptor in ended:
                    os.close(self._open.pop(pid))
        return True
