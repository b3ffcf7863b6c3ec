"""``trayray tree``: the jobs of a cluster, with their supervisors and actors; once, or as it changes.

Not here: the question (``api.node_control``), putting the tree together (``node.forest``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from trayray.wire.proto.trayray import v1

#: How often a live view looks (seconds).
_INTERVAL = 0.5
#: Reasons are long; so much of their first line is shown.
_REASON_LENGTH = 100
_COLOURS = {"running": "green", "starting": "yellow", "stopping": "yellow", "restarting": "red", "stopped": "dim"}


@click.command()
@click.option("--live", "-f", is_flag=True, help="Go on and show it as it changes, until Ctrl-C or the cluster's end.")
@click.option("--address", metavar="HOST:PORT", help="Default: TRAYRAY_ADDRESS, else the latest cluster of this user.")
def tree(live: bool, address: str | None) -> None:
    """Show the jobs of a cluster on this machine, their supervisors with their children, and their actors.

    \b
    Each line: what it is, its state, process id, how often it was restarted,
    since when it is in this state, and why it ended the last time.
    """
    import time

    from trayray.api.node_control import cluster_tree
    from trayray.cli.status import find
    from trayray.cli.terminal import open_console
    from trayray.exceptions import RayError

    session = find(address)

    def ask() -> list[str]:
        return list(report(cluster_tree(session), time.time()))

    console = open_console()
    try:
        if live:
            follow(ask, console)
        else:
            for line in ask():
                console.print(line, style=_style(line))
    except KeyboardInterrupt:
        return
    except FileNotFoundError:
        raise click.ClickException("the cluster has just ended; `trayray start --head` starts another") from None
    except (OSError, RayError) as error:
        raise click.ClickException(f"the cluster does not answer: {error}\nIts logs are in {session.logs}.") from error


def follow(ask: Callable[[], list[str]], console: Console, interval: float = _INTERVAL) -> None:
    """On a terminal the view is redrawn; elsewhere each change is printed. Until the cluster does not answer.

    ``interval``: how often it is asked (seconds).

    Raises:
        OSError: the cluster does not answer.
    """
    import time

    from rich.live import Live
    from rich.text import Text

    if console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=False) as view:
            while True:
                view.update(Text("\n").join(Text(line, style=_style(line) or "") for line in ask()), refresh=True)
                time.sleep(interval)
    before: list[str] = []
    while True:
        lines = ask()
        shown = [_without_times(line) for line in lines]
        if shown != before:
            for line in lines:
                console.print(line)
            console.print("")
            before = shown
        time.sleep(interval)


def _without_times(line: str) -> str:
    return line.partition(", since ")[0] + line.partition("; ended: ")[2]


def _style(line: str) -> str | None:
    if not line.startswith((" ", "|", "`")):
        return "bold"
    return next((colour for state, colour in _COLOURS.items() if f": {state}" in line), None)


def report(found: v1.Tree, now: float) -> Iterator[str]:
    """The lines of the tree; ``now`` in seconds since the epoch."""
    if not found.jobs:
        yield "no job runs in this cluster"
    for job in found.jobs:
        driver = f"driver {job.driver_pid}" if job.driver_pid else "its driver has ended"
        yield f"job {job.job_id.hex()} ({driver})"
        if not job.nodes:
            yield "  no supervisors, no actors"
        yield from _branches(job.nodes, "", now)


def _branches(nodes: list[v1.TreeNode], indent: str, now: float) -> Iterator[str]:
    for number, node in enumerate(nodes, 1):
        last = number == len(nodes)
        yield f"{indent}{'`-' if last else '|-'} {_described(node, now)}"
        yield from _branches(node.children, indent + ("   " if last else "|  "), now)


def _described(node: v1.TreeNode, now: float) -> str:
    about = {"actor": node.class_name, "supervisor": node.strategy}.get(node.kind, "")
    what = node.kind if not about or about == node.id else f"{node.kind} {about}"
    parts = [node.state]
    if node.pid:
        parts.append(f"pid {node.pid}")
    if node.restarts:
        parts.append(f"{node.restarts} restart{'s' * (node.restarts > 1)}")
    if node.since:
        parts.append(f"since {_duration(max(0.0, now - node.since))}")
    reason = node.reason.partition("\n")[0]
    if len(reason) > _REASON_LENGTH:
        reason = f"{reason[:_REASON_LENGTH]}..."
    return f"{node.id} ({what}): {', '.join(parts)}{'; ended: ' if reason else ''}{reason}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
