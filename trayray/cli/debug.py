"""``trayray debug``: breakpoints that wait, and this terminal connected to one of them.

Not here: breakpoints themselves (``worker.breakpoints``), the debugger's commands (Python's ``pdb``).
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trayray.node.session import Session
    from trayray.worker.breakpoints import Waiting

_READ_BYTES = 65536


@click.command()
@click.argument("breakpoint_id", metavar="[ID]", required=False)
@click.option("--address", metavar="HOST:PORT", help="Only breakpoints of this cluster. Default: all of this user's.")
@click.option("--list", "only_list", is_flag=True, help="Only show what waits.")
def debug(breakpoint_id: str | None, address: str | None, only_list: bool) -> None:
    """Connect this terminal to a breakpoint in a task, an actor or a driver.

    A breakpoint is `breakpoint()` in a task or actor, or `trayray.util.rpdb.set_trace()` anywhere. It waits until
    somebody connects, then takes pdb's commands: `n` steps, `p NAME` prints, `c` goes on, `q` leaves. The program goes
    on when you leave, with `q` or Ctrl-C.

    \b
      trayray debug            # the one that waits, or a choice of them
      trayray debug 4711-1     # the one that printed this id
    """
    found = list(_find(address))
    if only_list or not found:
        _show([waiting for _, waiting in found])
        if breakpoint_id is None:
            return
    session, waiting = _choose(found, breakpoint_id)
    _connect(session, waiting)


def _find(address: str | None) -> Iterator[tuple[Session, Waiting]]:
    from trayray.node.session import find_session, live_sessions, root_dir
    from trayray.worker.breakpoints import find_breakpoints

    root = root_dir()
    if address is None:
        sessions = live_sessions(root)
    else:
        session = find_session(address, root)
        if session is None:
            raise click.ClickException(f"no cluster of this user listens at {address} on this machine")
        sessions = [session]
    for session in sessions:
        try:
            token = session.token()
        except FileNotFoundError:  # it has just ended
            continue
        for waiting in find_breakpoints(session.sockets, token):
            yield session, waiting


def _show(found: list[Waiting]) -> None:
    from trayray.cli.terminal import open_console

    console = open_console()
    if not found:
        console.print("No breakpoint waits.")
    for line in report(found):
        console.print(line)


def report(found: list[Waiting]) -> Iterator[str]:
    """The lines of the list: two for each breakpoint."""
    for waiting in found:
        where = f"{waiting.file}:{waiting.line}"
        yield f"{waiting.id}  {waiting.function} at {where}  {_who(waiting)}, pid {waiting.pid}"
        yield f"    {f'after {waiting.error}: ' if waiting.error else ''}{waiting.source}"


def _who(waiting: Waiting) -> str:
    if not waiting.task_id:
        return "driver"
    actor = f" in actor {waiting.actor}" if waiting.actor else ""
    return f"task {waiting.task} ({waiting.task_id}){actor}"


def _choose(found: list[tuple[Session, Waiting]], breakpoint_id: str | None) -> tuple[Session, Waiting]:
    """The breakpoint of that id; without one the only one, or the user's choice."""
    if breakpoint_id is not None:
        chosen = next((each for each in found if each[1].id == breakpoint_id), None)
        if chosen is None:
            raise click.ClickException(
                f"no breakpoint {breakpoint_id} waits: it may have been left, be connected to, or have died; "
                "`trayray debug --list` shows those that wait"
            )
        return chosen
    if len(found) == 1:
        return found[0]
    _show([waiting for _, waiting in found])
    if not sys.stdin.isatty():
        raise click.ClickException(f"{len(found)} breakpoints wait: give the id of one of them")
    ids = [waiting.id for _, waiting in found]
    answer = click.prompt("Which one", type=click.Choice(ids), show_choices=False)
    return found[ids.index(answer)]


def _connect(session: Session, waiting: Waiting) -> None:
    from trayray.worker.breakpoints import DEBUG, breakpoint_path, reach

    try:
        reached = reach(breakpoint_path(session.sockets, waiting.id), session.token(), DEBUG)
    except OSError as error:
        raise click.ClickException(f"breakpoint {waiting.id} waits no longer: {error}") from error
    with reached.sock as sock:
        try:
            _relay(sock)
        except KeyboardInterrupt:
            click.echo()
        except ConnectionError:
            click.echo("The connection broke: its process has died.", err=True)
            raise SystemExit(1) from None
    click.echo("The debugger has left; the program goes on." if sys.stdout.isatty() else "", nl=sys.stdout.isatty())


def _relay(sock: socket.socket) -> None:
    """Lines typed here go there, what comes from there is shown here, until it is over."""
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    typed = sys.stdin.fileno()
    try:
        selector.register(typed, selectors.EVENT_READ)
    except PermissionError:  # a plain file, which cannot be waited for and is always ready: sent whole
        while data := os.read(typed, _READ_BYTES):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    with selector:
        while True:
            for key, _ in selector.select():
                if key.fileobj is sock:
                    data = sock.recv(_READ_BYTES)
                    if not data:
                        return
                    sys.stdout.write(data.decode("utf-8", "replace"))
                    sys.stdout.flush()
                else:
                    data = os.read(typed, _READ_BYTES)
                    if data:
                        sock.sendall(data)
                    else:
                        selector.unregister(typed)
                        sock.shutdown(socket.SHUT_WR)
