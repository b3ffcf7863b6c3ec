"""An HTTP server as a supervision tree: processes that answer, and one that counts, killed again and again.

    python examples/supervised_server.py [--servers N] [--kills N] [--show]

The tree is a counter, which is an actor, and a supervisor of server processes, each of which runs hypercorn at the same
port. This program asks for pages all the time, and kills one of the processes every now and then. Whoever was killed is
started again, and the counter's handle stays good. In a terminal the tree is shown live; `trayray tree --live` in
another one shows it too. Needs hypercorn: pip install "hypercorn[trio]".
"""

import argparse
import json
import os
import random
import signal
import socket
import sys

import hypercorn.trio
import trio
from rich.console import Console
from rich.live import Live
from rich.tree import Tree

import trayray
from trayray import ChildSpec, SupervisorSpec

#: More restarts than this program will ever cause.
PATIENCE = {"intensity": 1000, "period": 10.0}


@trayray.remote(num_cpus=0, max_task_retries=-1)  # calls wait while it is started again
class Counter:
    def __init__(self):
        self.visits = 0

    def count(self):
        self.visits += 1
        return self.visits

    def pid(self):
        return os.getpid()


def shared_port(port=0):
    """A socket at a port that several may have: the kernel shares connections out among those that listen."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


@trayray.task(num_cpus=0)
async def serve(port, counter, *, task_status):
    """One server process: ready when it takes connections, ended by being cancelled."""

    async def answer(scope, receive, send):
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        body = json.dumps({"visits": await counter.count.remote(), "pid": os.getpid()}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = hypercorn.Config()
    config.bind = [f"fd://{shared_port(port).detach()}"]
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        await nursery.start(hypercorn.trio.serve, answer, config)
        task_status.started()


async def ask(port):
    """One page."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join([part async for part in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise OSError(f"not answered: {answer[:100]!r}")
    return json.loads(body)


class Visitor:
    """Asks for pages all the time, and asks again when a server was killed under it."""

    def __init__(self, port):
        self.port = port
        self.pages = self.failed = 0
        self.pids = set()
        #: The longest time without a page (seconds).
        self.outage = 0.0

    async def run(self):
        last = trio.current_time()
        while True:
            try:
                with trio.fail_after(5):
                    page = await ask(self.port)
            except (OSError, trio.BrokenResourceError, trio.TooSlowError, ValueError):
                self.failed += 1
                await trio.sleep(0.002)
                continue
            now = trio.current_time()
            self.outage, last = max(self.outage, now - last), now
            self.pages += 1
            self.pids.add(page["pid"])


def picture(supervisor, visitor, killed):
    """The tree as it is now."""
    tree = Tree(
        f"[bold]http://127.0.0.1:{visitor.port}[/]  {visitor.pages} pages, {visitor.failed} asked for again, "
        f"{killed} processes killed, at most {visitor.outage * 1000:.0f} ms without a page"
    )
    servers = supervisor["servers"]
    for each in supervisor.which_children():
        below = tree.add(f"{each.id}  {each.state}, restarted {each.restarts} times")
        for server in servers.which_children() if each.id == "servers" else ():
            below.add(f"{server.id}  {server.state}, restarted {server.restarts} times  [dim]{server.reason[:60]}[/]")
    return tree


async def kill_one(rng, counter, visitor):
    """Kill the counter or a server that has answered lately; whether there was one."""
    victims = [await counter.pid.remote(), *visitor.pids]
    visitor.pids.clear()
    victim = rng.choice(victims)
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:  # it was killed a moment ago
        return False
    return True


async def main(arguments):
    rng = random.Random(arguments.seed)
    with shared_port() as holder:  # which only keeps the port
        port = holder.getsockname()[1]
        async with (
            trayray.open_cluster(num_cpus=4, log_to_driver=False),
            trayray.open_supervisor([ChildSpec("counter", Counter)], **PATIENCE) as supervisor,
            trio.open_nursery() as nursery,
        ):
            counter = supervisor.actor("counter", Counter)
            servers = [ChildSpec(f"server-{i}", serve, (port, counter)) for i in range(arguments.servers)]
            await supervisor.start_child(SupervisorSpec(servers, "servers", **PATIENCE))
            visitor = Visitor(port)
            nursery.start_soon(visitor.run)
            killed = 0
            with Live(console=Console(), auto_refresh=False, transient=True) if arguments.show else _Silent() as live:
                while killed < arguments.kills:
                    for _ in range(10):
                        await trio.sleep(0.05)
                        live.update(picture(supervisor, visitor, killed), refresh=True)
                    killed += await kill_one(rng, counter, visitor)
                pages = visitor.pages
                with trio.fail_after(20):
                    while visitor.pages < pages + 100:  # noqa: ASYNC110 -- the pages that come are what is waited for
                        await trio.sleep(0.01)
            restarts = sum(each.restarts for each in supervisor["servers"].which_children())
            restarts += sum(each.restarts for each in supervisor.which_children())
            nursery.cancel_scope.cancel()
    print(
        f"{visitor.pages} pages from {arguments.servers} servers; {killed} processes killed, {restarts} restarts, "
        f"at most {visitor.outage * 1000:.0f} ms without a page"
    )
    if restarts < killed:
        raise SystemExit(f"{killed} processes were killed, but only {restarts} started again")


class _Silent:
    """Shows nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def update(self, *_, **__):
        return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve HTTP by a supervision tree whose processes are killed.")
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the choice of who is killed")
    parser.add_argument("--show", action=argparse.BooleanOptionalAction, default=sys.stdout.isatty())
    given = parser.parse_args()
    if given.servers < 1 or given.kills < 0:
        parser.error("--servers has to be at least 1, --kills at least 0")
    trio.run(main, given)
