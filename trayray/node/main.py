"""The program that is a node: ``python -m trayray.node.main CONFIG`` (JSON). ``init()`` and ``trayray start`` run it.

It forks the fork server, and runs the nursery tree (``run``). Each of the two imports what only it needs after that,
at the same time: imports are most of a start. One line of JSON on standard output tells the address, or the error.
Not here: the tree itself, settings (``config``).
"""

import json
import logging
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import cast

import trio

from trayray.node.config import NodeConfig
from trayray.node.fork_server import run_fork_server
from trayray.node.process_control import adopt_orphans, await_child, kill_tree
from trayray.node.session import Session

#: How long a fork server may take to end with everything below it, and what it left after it was killed (seconds).
_FORK_SERVER_SECONDS, _TREE_SECONDS = 2.0, 1.5


def main(argument: str) -> None:
    """Run a node from its settings in JSON."""
    config = NodeConfig.from_json(argument).completed()
    token = os.environ.pop("TRAYRAY_AUTH_TOKEN", "") or secrets.token_hex(32)
    settings = config.worker_settings()
    if settings.kills_descendants:
        adopt_orphans()
    session = Session.create(Path(config.root), token)
    ready = os.fdopen(os.dup(1), "w")
    _redirect(session)
    ours, theirs = socket.socketpair()
    fork_server = os.fork()
    if fork_server == 0:
        ours.close()
        ready.close()  # the ready line's pipe is the node's alone
        run_fork_server(theirs, session, token, settings)
    theirs.close()
    from trayray.node.run import run_node

    def tell(address: str) -> None:
        ready.write(json.dumps({"address": address, "session_dir": str(session.path)}) + "\n")
        ready.close()

    try:
        trio.run(run_node, config, session, token, ours, tell)
    except BaseException as error:
        logging.getLogger("trayray.node").exception("the node has failed")
        if not ready.closed:
            ready.write(json.dumps({"error": _first_error(error)}) + "\n")
            ready.close()
        raise
    finally:
        _leave(session, ours, fork_server)


def _leave(session: Session, control: socket.socket, fork_server: int) -> None:
    """See everything end that the node has started. The fork server, if it lives, does the work and would also do it
    alone; if it was killed, what was below it has been adopted by this process.
    """
    for number in (signal.SIGTERM, signal.SIGINT):  # the end has begun
        signal.signal(number, signal.SIG_IGN)
    control.close()
    await_child(fork_server, _FORK_SERVER_SECONDS)
    kill_tree(lambda _: False, _TREE_SECONDS)
    session.clean()


def _redirect(session: Session) -> None:
    """The node's own messages go to a file; its terminal belongs to somebody else."""
    log = os.open(session.logs / "node.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _first_error(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _first_error(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(sys.argv[1])
    logging.shutdown()
    os._exit(0)  # the driver waits: taking the interpreter apart would be most of the time that shutdown() takes
