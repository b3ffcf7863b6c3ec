"""Linux's means to bind processes together: parent-death signals, subreapers, process groups, names of signals."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
#: How long a resource tracker may take to end by itself (seconds).
_TRACKER_SECONDS = 0.1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the thread that forked it ends; leave if it is gone already."""
    if _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Descendants that lose their parent become children of this process from now on, instead of nobody's."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def children(parent: int | None = None) -> list[int]:
    """Children of a process, this one by default; adopted ones and those that wait to be reaped included."""
    own = os.getpid() if parent is None else parent
    lists = list(Path(f"/proc/{own}/task").glob("*/children"))
    if lists:
        return [int(pid) for path in lists for pid in _text_of(path).split()]
    found = list[int]()  # a kernel without these lists
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                # The name in brackets may hold anything; the parent is the second field after it.
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
            if int(fields[1]) == own:
                found.append(int(name))
    return found


def _text_of(path: Path) -> str:
    """Empty when the thread has ended since it was listed."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def has_ended(pid: int) -> bool:
    """Whether a process, of whomever, is gone or only waits to be reaped by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def is_resource_tracker(pid: int) -> bool:
    """Whether this is the process that removes what a program of `multiprocessing` forgets: it ends by itself, after
    the program has ended and everything that it keeps track of is gone."""
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def kill_tree(spared: Callable[[int], bool], seconds: float) -> None:
    """Kill and reap this process's children that are not ``spared``, and theirs as they are adopted, to the last one.

    Resource trackers come last and have a moment to end by themselves.

    Args:
        spared: whether a child is left alone.
        seconds: the longest that this may take; what the kernel holds longer dies when it lets go.
    """
    deadline = time.monotonic() + seconds
    while condemned := [pid for pid in children() if not spared(pid)]:
        trackers = [pid for pid in condemned if is_resource_tracker(pid)]
        if len(trackers) == len(condemned):
            for pid in trackers:
                await_child(pid, min(_TRACKER_SECONDS, deadline - time.monotonic()))
                kill(pid)
        else:
            condemned = [pid for pid in condemned if pid not in trackers]
            for pid in condemned:
                kill(pid)
        for pid in condemned:
            await_child(pid, deadline - time.monotonic())
        if time.monotonic() >= deadline:
            return


async def wait_for_end(pid: int) -> None:
    """Until a process, of whomever, has ended; in Trio."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import trio  # a driver that starts a node needs the rest before it has the time to load this

        await trio.lowlevel.wait_readable(descriptor)  # however it ends
    finally:
        os.close(descriptor)


def await_child(pid: int, seconds: float) -> bool:
    """Wait for a child's end, at most so long, and reap it; whether it has ended."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not _reap(pid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def _reap(pid: int) -> bool:
    """Reap a child if it has ended; whether it has."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def kill(pid: int) -> None:
    """SIGKILL for one process, unless it has ended or runs as somebody else."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def describe_status(status: int) -> str:
    """A wait status in words: exit code, or signal by number and name."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = "unknown signal"
        core = ", core dumped" if os.WCOREDUMP(status) else ""
        return f"was killed by signal {number} ({name}{core})"
    return f"ended with exit code {os.waitstatus_to_exitcode(status)}"


def signal_group(leader: int, number: int) -> None:
    """Signal a process group; nothing happens when it is empty."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return
