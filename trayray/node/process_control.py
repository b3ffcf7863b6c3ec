"""Linux's means to bind processes together: parent-death signals, process descriptors, names of signals."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the thread that forked it ends; leave if it is gone already."""
    if _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)


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
