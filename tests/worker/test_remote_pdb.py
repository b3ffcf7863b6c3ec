"""Debugging sessions by script, over a socket pair. Breakpoints of a cluster: tests/processes/test_debugger.py."""

import asyncio
import socket
import sys
import threading

import pytest

from trayray.worker.remote_pdb import RemotePdb

#: From Python 3.13 on the first stop is in the line that asks for it, before that in the next one.
FIRST = "n\n" if sys.version_info >= (3, 13) else ""


class Session:
    """The debugger's user: sends a script at once, and hears everything in the end."""

    def __init__(self, script, *, stay=False):
        self.theirs, self.ours = socket.socketpair()
        self.ours.sendall(script.encode())
        if not stay:
            self.ours.shutdown(socket.SHUT_WR)
        self.debugger = RemotePdb(self.theirs)

    def heard(self):
        """What the debugger has said, to its end."""
        self.ours.settimeout(5)
        text = b""
        while data := self.ours.recv(65536):
            text += data
        return text.decode()


@pytest.fixture
def start():
    sessions = []

    def start(*args, **kwargs):
        sessions.append(Session(*args, **kwargs))
        return sessions[-1]

    yield start
    for session in sessions:
        session.ours.close()
        session.theirs.close()


@pytest.fixture(autouse=True)
def in_a_thread_of_its_own():
    """Tracing belongs to a thread: whoever traces this one (coverage) goes on afterwards."""
    before = sys.gettrace()
    yield
    sys.settrace(before)


RUNTIME = {"__name__": "trayray.caller"}
exec(
    """
def call(function, *arguments):
    return function(*arguments)

def drive(coroutine):
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
""",
    RUNTIME,
)
#: These call as the runtime does: a session ends where they have called.
call, drive = RUNTIME["call"], RUNTIME["drive"]


def program(session, x):
    session.debugger.stop_in(sys._getframe())
    y = x * 2
    return inner(y)


def inner(y):
    z = [y + 1]
    return z[0]


def test_values_are_shown_and_changed(start):
    session = start(f"{FIRST}p x\ny = 50\nn\nn\np __return__\nc\n")

    assert call(program, session, 4) == 9
    heard = session.heard()
    assert "(Pdb) 4\n" in heard
    assert "-> return inner(y)" in heard
    assert "(Pdb) 9\n" in heard


def test_what_was_changed_counts(start):
    session = start(f"{FIRST}n\ny = 50\nc\n")

    assert call(program, session, 4) == 51


@pytest.mark.parametrize(
    "script", ["c\n", "q\n", "exit\n", "", "p x\n", "n\n", "n\nq\n", "b inner\nq\n", "b inner\nc\n"]
)
def test_the_program_goes_on_whenever_the_debugger_leaves(start, script):
    session = start(script)

    assert call(program, session, 4) == 9
    assert sys.gettrace() is None
    assert "(Pdb)" in session.heard()
    assert call(program, start("q\n"), 1) == 3, "and again"


def test_the_program_goes_on_when_the_connection_breaks(start):
    session = start("", stay=True)
    session.ours.close()

    assert call(program, session, 4) == 9
    assert sys.gettrace() is None


def test_a_breakpoint_that_is_set_is_reached(start):
    session = start("b inner\nc\np y\nr\nc\n")

    assert call(program, session, 4) == 9
    heard = session.heard()
    assert "-> z = [y + 1]" in heard
    assert "(Pdb) 8\n" in heard
    assert "--Return--" in heard


def test_breakpoints_end_with_the_session(start):
    call(program, start("b inner\nc\nq\n"), 4)

    session = start("b\nc\n")
    call(program, session, 4)
    assert "inner" not in session.heard()


def test_stepping_out_of_the_outermost_function_ends_it(start):
    session = start("n\n" * 20, stay=True)
    result = []

    def first(session):  # nothing of the runtime is above it in this thread: all of the thread is the user's
        result.append(call(program, session, 4))

    thread = threading.Thread(target=first, args=(session,))
    thread.start()
    heard = session.heard()
    thread.join()

    assert result == [9]
    assert "--Return--" in heard


def test_coroutines_are_stepped_through(start):
    async def program(session):
        session.debugger.stop_in(sys._getframe())
        a = 1
        await asyncio.sleep(0)
        b = 2
        return a + b

    session = start(f"{FIRST}n\nn\np 'here'\nn\nn\n", stay=True)

    assert drive(program(session)) == 3
    heard = session.heard()
    assert "-> b = 2\n(Pdb) 'here'" in heard
    assert "StopIteration" not in heard


def test_a_coroutine_that_is_cancelled_while_it_waits_ends_the_session(start):
    async def program(session):
        session.debugger.stop_in(sys._getframe())
        await asyncio.sleep(0)

    session = start(f"{FIRST}n\nn\nn\nn\n", stay=True)
    coroutine = program(session)
    call(coroutine.send, None)

    with pytest.raises(asyncio.CancelledError):
        call(coroutine.throw, asyncio.CancelledError)
    assert session.heard().endswith("(Pdb) "), "it is over"
    assert sys.gettrace() is None


def test_an_exception_that_is_caught_ends_nothing(start):
    async def program(session):
        session.debugger.stop_in(sys._getframe())
        try:
            raise LookupError
        except LookupError:
            await asyncio.sleep(0)
        return "after"

    session = start(f"{FIRST}n\nn\nn\nn\nn\np 'still here'\nc\n", stay=True)

    assert drive(program(session)) == "after"
    assert "'still here'" in session.heard()


def test_an_exception_that_passes_is_shown_and_raised(start):
    def program(session):
        session.debugger.stop_in(sys._getframe())
        raise LookupError("mine")

    session = start(f"{FIRST}n\nc\n")

    with pytest.raises(LookupError, match="mine"):
        program(session)
    assert "LookupError: mine" in session.heard()


def test_post_mortem(start):
    session = start("p y\nu\np x\nw\nq\n")

    def fail(y):
        raise ValueError("y")

    def program(x):
        fail(x + 1)

    with pytest.raises(ValueError, match="y") as caught:
        program(1)
    session.debugger.examine(caught.tb)

    heard = session.heard()
    assert "(Pdb) 2\n" in heard
    assert "(Pdb) 1\n" in heard
    assert 'raise ValueError("y")' in heard


@pytest.mark.parametrize("command", ["run", "restart", "interact"])
def test_what_needs_a_terminal_is_refused(start, command):
    session = start(f"{command}\np x\nc\n")

    assert call(program, session, 4) == 9
    heard = session.heard()
    assert "not available in a remote session" in heard
    assert "(Pdb) 4\n" in heard


def test_a_cancelled_task_leaves_the_debugger(start):
    class Cancelled:
        def readline(self):
            raise KeyboardInterrupt

    session = start("")
    session.debugger.stdin = Cancelled()

    with pytest.raises(KeyboardInterrupt):
        call(program, session, 4)
    assert session.heard()
    assert sys.gettrace() is None


def test_odd_bytes_do_no_harm(start):
    session = start("p 'é日'\r\np '\\ud800'\n", stay=True)
    session.ours.sendall(b"p '\xff'\nc\n")

    assert call(program, session, 4) == 9
    assert "'é日'" in session.heard()
