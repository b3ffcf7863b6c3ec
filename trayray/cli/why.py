"""``trayray why``: what a reference, a task or an actor of a running cluster waits for.

Not here: finding it out (``util.explanation``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trayray.node.session import Session
    from trayray.util.explanation import Explanation


@click.command()
@click.argument("what", metavar="REF")
@click.option("--address", metavar="HOST:PORT", help="Default: TRAYRAY_ADDRESS, else all clusters of this user.")
def why(what: str, address: str | None) -> None:
    """Tell what REF waits for, down to what holds everything up.

    \b
    REF is one of
      an ObjectRef as programs print it, or its hexadecimal id
      the id of a task or of an actor
      the name of an actor
    """
    from trayray.cli.terminal import open_console

    found: Explanation | None = None
    for session in _clusters(address):
        found = _ask(session, what)
        if found.state != "unknown":
            break
    assert found is not None
    console = open_console()
    for line in found.lines:
        console.print(line)


def _clusters(address: str | None) -> list[Session]:
    from trayray.cli.status import find
    from trayray.model.settings import environment
    from trayray.node.session import live_sessions, root_dir

    if address or environment("ADDRESS"):
        return [find(address)]
    return live_sessions(root_dir())[::-1] or [find(None)]


def _ask(session: Session, what: str) -> Explanation:
    """What one cluster knows, which this process joins for the question."""
    from trayray.api.initialize import init, shutdown
    from trayray.exceptions import RayError
    from trayray.util.explanation import Explanation
    from trayray.util.explanation import why as explain

    try:
        init(session.address(), namespace="trayray-why", log_to_driver=False)
        try:
            return explain(what)
        finally:
            shutdown()
    except FileNotFoundError:
        return Explanation(("The cluster has just ended.",), "unknown")
    except (OSError, RayError) as error:
        return Explanation((f"The cluster does not answer: {error}. Its logs are in {session.logs}.",), "unknown")
