"""Marks by which the processes that user code has started are told, wherever they have moved to and whatever they run.

A mark is a number that every descendant inherits: the soft limit of RLIMIT_LOCKS, which the kernel has not enforced
since 2.4.25. Unlike an environment variable it survives a cleared environment, and a fork without exec has it too. It
names the session and the worker. Where the kernel refuses it, the environment that a process was started with is read
instead. Not here: who kills whom (``fork_server``).
"""

import contextlib
import hashlib
import os
import resource
import time
from pathlib import Path

from trayray.node.process_control import has_ended, kill

#: RLIMIT_LOCKS of <asm-generic/resource.h>, for which the standard library has no name.
_LOCKS = 10
#: Bits of a mark: a flag that makes it larger than any limit that somebody might have set, the session, the worker.
_FLAG, _SESSION_BITS, _WORKER_BITS = 1 << 61, 40, 20
#: In the environment of workers, and so of what they start.
WORKER_VARIABLE = "TRAYRAY_WORKER_ID"
_POLL_SECONDS = 0.005
#: Longer than an exec takes before the new program's environment is there.
_EXEC_SECONDS = 0.2
#: Fields of /proc/PID/stat after the name.
_STATE, _END_OF_ENVIRONMENT = 0, 48


def session_mark(session: str) -> int:
    """What the marks of a session's workers have in common; ``session`` is its name."""
    digest = hashlib.sha256(session.encode()).digest()
    return _FLAG | int.from_bytes(digest[: _SESSION_BITS // 8], "big") << _WORKER_BITS


def worker_mark(session: str, number: int) -> int:
    """The mark of a session's worker with this number."""
    return session_mark(session) | number % (1 << _WORKER_BITS)


def mark_this_process(mark: int) -> None:
    """This process and whatever it starts from now on bear the mark, if the kernel lets it."""
    with contextlib.suppress(OSError, ValueError):  # told by their environment then, see `is_marked`
        resource.setrlimit(_LOCKS, (mark, resource.getrlimit(_LOCKS)[1]))


def mark_of(pid: int) -> int:
    """The mark of a process; 0 without one, or when it is gone or cannot be looked at."""
    try:
        limit = resource.prlimit(pid, _LOCKS)[0]
    except (ProcessLookupError, PermissionError):
        return 0
    return limit if limit & _FLAG and limit > 0 else 0


def is_marked(pid: int, mark: int, worker: bytes) -> bool:
    """Whether a process was started by the worker with this mark and id."""
    found = mark_of(pid)
    return found == mark if found else f"{WORKER_VARIABLE}={worker.hex()}".encode() in _initial_environment(pid)


def _initial_environment(pid: int) -> list[bytes]:
    """``NAME=value`` lines that a process was started with; none when it is gone or runs as somebody else."""
    environment = Path(f"/proc/{pid}/environ")
    try:
        found = environment.read_bytes()
        if not found:
            deadline = time.monotonic() + _EXEC_SECONDS
            while _is_between_programs(pid) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            found = environment.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    return found.split(b"\0")


def _is_between_programs(pid: int) -> bool:
    """Whether a process is in the middle of exec: its old memory is gone, and the new one has no environment yet."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return fields[_STATE] not in b"ZX" and fields[_END_OF_ENVIRONMENT] == b"0"


def end_marked(session: str, seconds: float) -> None:
    """Kill what is left of a session whose node is dead, and see it gone; at most so long.

    Needed when node and fork server were killed at the same moment: nobody had adopted what their workers had started.
    """
    wanted = session_mark(session) >> _WORKER_BITS
    deadline = time.monotonic() + seconds
    while left := [pid for pid in _processes() if mark_of(pid) >> _WORKER_BITS == wanted and not has_ended(pid)]:
        for pid in left:
            kill(pid)
        if time.monotonic() >= deadline:
            return
        time.sleep(_POLL_SECONDS)


def _processes() -> list[int]:
    own = os.getpid()
    return [pid for name in os.listdir("/proc") if name.isdigit() and (pid := int(name)) != own]
