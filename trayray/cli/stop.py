"""``trayray stop``: ends this user's clusters on this machine.

Not here: how a node takes its workers with it (``node.run``, ``node.fork_server``).
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trayray.cli.processes import Watched
    from trayray.node.session import Session

#: How much of the grace period a node has to act on the order before it is signalled.
_ORDER_SHARE = 0.5
#: A killed node's children notice within milliseconds, and end (seconds).
_KILLED_SECONDS = 5.0


@click.command()
@click.option(
    "-f", "--force", is_flag=True, help="Kill at once, and also the clusters that programs run for themselves."
)
@click.option(
    "-g",
    "--grace-period",
    type=click.FloatRange(min=0),
    default=16,
    show_default=True,
    metavar="SECONDS",
    help="How long a cluster may take to end by itself before it is killed.",
)
def stop(force: bool, grace_period: float) -> None:
    """Stop the clusters of this user that `trayray start` started on this machine.

    Their actors and tasks end with them, detached actors too. A cluster that a program started with `init()` belongs to
    that program and ends with it; only --force stops those as well.
    """
    from trayray.node.session import live_sessions, root_dir

    sessions = [session for session in live_sessions(root_dir()) if force or not _is_private(session)]
    stopped = [count for session in sessions if (count := _stop(session, force, grace_period))]
    if not stopped:
        click.echo("Did not find any active trayray processes.")
        return
    clusters = "1 cluster" if len(stopped) == 1 else f"{len(stopped)} clusters"
    click.echo(f"Stopped all {sum(stopped)} trayray processes ({clusters}).")


def _is_private(session: Session) -> bool:
    """Whether a driver owns it; one that is ending right now is nobody's business any more."""
    try:
        return session.private()
    except FileNotFoundError:
        return True


def _stop(session: Session, force: bool, grace_period: float) -> int:
    """End one cluster; the number of processes it had, 0 when it was gone already."""
    from trayray.cli.processes import Watched, descendants, is_node

    try:
        pid = session.pid()
    except FileNotFoundError:
        return 0
    with Watched([pid]) as node:
        if not node.pids or not is_node(pid):
            session.remove()
            return 0
        with Watched(descendants(pid)) as others:
            count = 1 + len(others.pids)
            if force or not _end(session, node, pid, grace_period):
                node.signal(signal.SIGKILL, pid)
                node.wait(_KILLED_SECONDS)
            # The fork server ends them once the node has gone, itself last.
            if not others.wait(_KILLED_SECONDS):
                for other in others.pids:
                    others.signal(signal.SIGKILL, other)
                others.wait(_KILLED_SECONDS)
            left = [*node.pids, *others.pids]
    session.remove()
    if left:
        raise click.ClickException(f"processes {', '.join(map(str, left))} have been killed, but do not end")
    return count


def _end(session: Session, node: Watched, pid: int, grace_period: float) -> bool:
    """Have a node end in good order; whether it did so in time."""
    from trayray.api.node_control import request_shutdown
    from trayray.exceptions import RayError

    try:
        request_shutdown(session, "trayray stop")
    except (OSError, RayError) as error:
        click.echo(f"process {pid} did not take the order to end ({error}); it is signalled instead", err=True)
    else:
        if node.wait(grace_period * _ORDER_SHARE):
            return True
    node.signal(signal.SIGTERM, pid)
    return node.wait(grace_period * (1 - _ORDER_SHARE))
