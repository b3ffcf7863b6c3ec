"""Breakpoints in tasks, actors and drivers: where they wait for a debugger, and how a debugger finds and reaches them.

A breakpoint that waits is a Unix socket beside the processes' own, which asks for the cluster's token as they do. Not
here: the debugger itself (``remote_pdb``), the terminal's side (``cli.debug``).
"""

from __future__ import annotations

import itertools
import linecache
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import attrs
import msgspec

from trayray.link.handshake import Unauthenticated, receive_hello_in_thread, send_hello
from trayray.link.network import BREAKPOINT
from trayray.link.unix import connect_unix, listen_unix
from trayray.wire.greetings import Hello
from trayray.worker.current import actor_self, core_worker, running

#: How long whoever connects may take to show the token, and a breakpoint to answer (seconds).
_HELLO_SECONDS, _ANSWER_SECONDS = 2.0, 3.0
#: Roles of those who connect: to see what waits there, or to debug it.
LOOK, DEBUG = "look", "debug"

_numbers = itertools.count(1)


class Waiting(msgspec.Struct, frozen=True):
    """A breakpoint that waits for a debugger, as it describes itself."""

    #: What `trayray debug` is told: process id and number.
    id: str
    pid: int
    file: str
    line: int
    function: str
    #: The line of the program.
    source: str
    #: The task or actor call, with its id in hexadecimal; "driver" and "" in a driver.
    task: str
    task_id: str
    actor: str
    #: The exception of a post mortem; empty at a breakpoint.
    error: str
    #: When it began to wait (seconds since the epoch).
    since: float


@attrs.frozen
class Reached:
    """A connection to a breakpoint, which has said what it is."""

    breakpoint: Waiting
    sock: socket.socket


# --- in the process that stops ---


def breakpoint_hook(*args: Any, **kwargs: Any) -> Any:
    """``breakpoint()`` in a worker, whose standard input is nobody's; PYTHONBREAKPOINT has the last word as always."""
    if "PYTHONBREAKPOINT" in os.environ:
        return sys.__breakpointhook__(*args, **kwargs)
    # Nothing may follow: the debugger would stop in it.
    return stop_at(sys._getframe(1))


def stop_at(frame: FrameType) -> None:
    """Wait for a debugger and stop in ``frame``, at what it does next; without a cluster, in this very terminal."""
    core = core_worker()
    if core is None or not core.config.token:  # without a door there is but this process, and its terminal
        import pdb

        return pdb.Pdb().set_trace(frame)
    from trayray.worker.remote_pdb import RemotePdb

    description = _describe(frame, frame.f_lineno, "")
    debugger = RemotePdb(_await_debugger(Path(core.welcome.sockets), core.config.token, description))
    return debugger.stop_in(frame)


def examine(error: BaseException, traceback: TracebackType) -> None:
    """Wait for a debugger that looks at where ``error`` was raised, and return when it has gone."""
    frame, line = traceback.tb_frame, traceback.tb_lineno
    last = traceback
    while last.tb_next is not None:
        last = last.tb_next
        frame, line = last.tb_frame, last.tb_lineno
    core = core_worker()
    if core is None or not core.config.token:
        import pdb

        debugger = pdb.Pdb()
        debugger.reset()
        debugger.interaction(None, traceback)
        return
    from trayray.worker.remote_pdb import RemotePdb

    description = _describe(frame, line, f"{type(error).__name__}: {error}")
    remote = RemotePdb(_await_debugger(Path(core.welcome.sockets), core.config.token, description))
    remote.examine(traceback)


def _describe(frame: FrameType, line: int, error: str) -> Waiting:
    task, actor = running.get(), actor_self()
    return Waiting(
        id=f"{os.getpid()}-{next(_numbers)}",
        pid=os.getpid(),
        file=frame.f_code.co_filename,
        line=line,
        function=frame.f_code.co_qualname,
        source=linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip(),
        task="driver" if task is None else task.name,
        task_id="" if task is None else task.task_id.hex(),
        actor="" if actor is None else actor.class_name,
        error=error,
        since=time.time(),
    )


def _await_debugger(sockets: Path, token: str, description: Waiting) -> socket.socket:
    """The connection of a debugger that has shown the token; others are told what waits, or turned away."""
    path = sockets / f"{BREAKPOINT}{description.id}"
    listener = listen_unix(path)
    try:
        listener.setblocking(True)
        what = f"raised {description.error}" if description.error else "breakpoint"
        print(  # noqa: T201 -- the user has to know that the program waits
            f"{what} in {description.function} ({description.file}:{description.line}) waits for a debugger; connect "
            f"to it with: trayray debug {description.id}",
            file=sys.stderr,
            flush=True,
        )
        while True:
            sock, _ = listener.accept()
            if _wants_to_debug(sock, token, description):
                return sock
            sock.close()
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _wants_to_debug(sock: socket.socket, token: str, description: Waiting) -> bool:
    try:
        hello = receive_hello_in_thread(sock, token, _HELLO_SECONDS)
        sock.sendall(msgspec.json.encode(description) + b"\n")
    except (Unauthenticated, OSError):
        return False  # a stranger, or one that has left: the next one may be right
    sock.settimeout(None)
    return hello.role == DEBUG


# --- in the process of the debugger's user ---


def find_breakpoints(sockets: Path, token: str) -> Iterator[Waiting]:
    """What waits in the cluster whose sockets these are, and has not got its debugger yet."""
    for path in sorted(sockets.glob(f"{BREAKPOINT}*")):
        try:
            reached = reach(path, token, LOOK)
        except OSError:
            continue  # somebody else has just connected, or the process has died
        reached.sock.close()
        yield reached.breakpoint


def breakpoint_path(sockets: Path, breakpoint_id: str) -> Path:
    """Where a breakpoint of that id would wait."""
    return sockets / f"{BREAKPOINT}{breakpoint_id}"


def reach(path: Path, token: str, role: str) -> Reached:
    """Connect to the breakpoint at ``path``: to `LOOK`, or to `DEBUG` it with what is sent and received from then on.

    Raises:
        OSError: nobody waits there any more, or somebody else is served.
    """
    sock = connect_unix(path)
    try:
        sock.settimeout(_ANSWER_SECONDS)
        send_hello(sock, Hello(token, role, b"", os.getpid()))
        line = b""
        while not line.endswith(b"\n"):  # byte by byte: what follows is the debugger's
            byte = sock.recv(1)
            if not byte:
                raise ConnectionError(f"{path} does not answer: wrong token, or it waits no longer")
            line += byte
        sock.settimeout(None)
        return Reached(msgspec.json.decode(line, type=Waiting), sock)
    except BaseException:
        sock.close()
        raise
