"""Python's debugger, talking over a socket to whoever has connected to a breakpoint.

When the debugger's user leaves, in whatever way, the program goes on without it. What it steps through is user code
alone: neither this runtime's nor what calls it. Not here: how one connects (``breakpoints``).
"""

from __future__ import annotations

import dis
import inspect
import io
import pdb
import socket
from types import FrameType, TracebackType
from typing import IO, Any, cast

_RUNTIME = "trayray"


class _Terminal(io.TextIOBase):
    """Lines from, and text to, the other side. Once that has gone there are no more lines, and text goes nowhere."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lines = sock.makefile("rb")

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] -- a plain attribute in typeshed
        return "utf-8"

    def readline(self, size: int = -1, /) -> str:
        try:
            return self._lines.readline(size).decode("utf-8", "replace").replace("\r\n", "\n")
        except OSError:  # the connection broke: the same as an end
            return ""

    def write(self, text: str, /) -> int:
        try:
            self._socket.sendall(text.encode("utf-8", "replace"))
        except OSError:  # nobody reads it any more; the next `readline` ends the session
            self._socket.close()
        return len(text)

    def close(self) -> None:
        super().close()
        self._lines.close()
        self._socket.close()


class RemotePdb(pdb.Pdb):
    """One debugging session. It owns the socket and closes it at its end."""

    def __init__(self, sock: socket.socket) -> None:
        self._terminal = _Terminal(sock)
        self._outermost: FrameType | None = None
        #: An exception is passing through the outermost frame: unless it is caught there, the frame ends.
        self._failing = False
        stream = cast(IO[str], self._terminal)
        # Ctrl-C belongs to the other side's terminal: no signal handlers here, in whatever thread this is.
        super().__init__(stdin=stream, stdout=stream, nosigint=True, skip=[_RUNTIME, f"{_RUNTIME}.*"])

    def stop_in(self, frame: FrameType) -> None:
        """Stop at what ``frame`` does next. The caller returns to it without calling anything else."""
        self._outermost = _outermost(frame)
        return self.set_trace(frame)

    def examine(self, traceback: TracebackType) -> None:
        """Look at where an exception was raised, until the other side has seen enough."""
        try:
            self.reset()
            self.interaction(None, traceback)
        finally:
            self._end()

    # --- the end of the session ---

    def _end(self) -> None:
        """The program goes on, undisturbed."""
        self.clear_all_breaks()
        self.set_continue()
        self._terminal.close()

    def dispatch_line(self, frame: FrameType) -> Any:
        """As bdb's; whatever was raised in the frame has been caught."""
        if frame is self._outermost:
            self._failing = False
        return super().dispatch_line(frame)

    def dispatch_return(self, frame: FrameType, arg: Any) -> Any:
        """The session ends with the user's outermost function: beyond it are the runtime and other tasks."""
        tracer = super().dispatch_return(frame, arg)
        if frame is self._outermost and (self._failing or not _is_suspended(frame)):
            self._end()
            return None
        return tracer

    def dispatch_exception(self, frame: FrameType, arg: Any) -> Any:
        """The runtime's exceptions are its own business, and so is how an ``await`` ends."""
        ends_await = frame.f_code.co_flags & _RESUMABLE and issubclass(arg[0], StopIteration)
        if ends_await or _is_runtime(frame):
            return self.trace_dispatch
        self._failing = self._failing or frame is self._outermost
        return super().dispatch_exception(frame, arg)

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """The stack from the user's outermost function on."""
        stack, index = super().get_stack(f, t)
        first = next((place for place, (frame, _) in enumerate(stack) if frame is self._outermost), 0)
        return stack[first:], max(index - first, 0)

    def _cmdloop(self) -> None:
        """As pdb's, but a KeyboardInterrupt is a cancelled task, not a key that was pressed."""
        try:
            self.cmdloop()
        except BaseException:
            self._end()
            raise

    # --- commands ---

    def do_continue(self, arg: str) -> bool | None:
        """c(ont(inue))

        Go on to the next breakpoint. Without any the session ends.
        """
        if self.breaks:
            return super().do_continue(arg)
        self._end()
        return True

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> bool | None:
        """q(uit) | exit

        End the session. The program goes on.
        """
        self._end()
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool | None:  # noqa: N802 -- cmd's name
        """EOF

        End the session. The program goes on.
        """
        return self.do_quit(arg)

    def _refuse(self, arg: str) -> None:
        """Not available here: it needs a terminal or a program of its own."""
        self.error("not available in a remote session")

    do_run = do_restart = do_interact = _refuse


def _outermost(frame: FrameType) -> FrameType:
    """The frame from ``frame`` upwards that the runtime has called, or the program's first."""
    while frame.f_back is not None and not _is_runtime(frame.f_back):
        frame = frame.f_back
    return frame


def _is_runtime(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name == _RUNTIME or name.startswith(f"{_RUNTIME}.")


_RESUMABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
#: Where a frame that will go on has stopped: at the first, from Python 3.13 on at the second.
_SUSPENDING = ("YIELD_VALUE", "RESUME")


def _is_suspended(frame: FrameType) -> bool:
    """Whether a frame that is being left will go on: a generator that yields or a coroutine that waits."""
    code = frame.f_code
    return bool(code.co_flags & _RESUMABLE) and dis.opname[code.co_code[frame.f_lasti]] in _SUSPENDING
