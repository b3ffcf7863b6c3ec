import os
import threading

import pytest
import trio

from trayray.link.handshake import send_welcome
from trayray.link.local_network import LocalNetwork
from trayray.link.network import NODE
from trayray.link.port import LinkClosed
from trayray.link.unix import UnixLink
from trayray.wire.greetings import Welcome
from trayray.wire.node_messages import NodeMessage
from trayray.wire.peer_messages import PeerMessage, Want
from trayray.wire.process_messages import FinishJob, JobFinished

ME, OTHER = b"m" * 28, b"o" * 28
WELCOME = Welcome(b"n" * 28, 4096, "session", "", "127.0.0.1:0", b"\1\0\0\0", True, 0)


async def serve_peers(accepted, hello, sock):
    link = UnixLink(sock, PeerMessage)
    try:
        while messages := await link.receive():
            accepted.append((hello.worker_id, hello.role, messages))
    finally:
        link.close()


async def test_connections_reach_whoever_listens_from_any_thread(autojump_clock):
    network, accepted = LocalNetwork(), []
    async with trio.open_nursery() as nursery:
        await nursery.start(network.of(OTHER).listen, "other", lambda *args: serve_peers(accepted, *args))

        def connect():
            link = network.of(ME).connect("other", "peer", PeerMessage)
            link.send([Want([b"x"])])
            link.close()

        connect()
        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        await trio.testing.wait_all_tasks_blocked()
        assert accepted == [(ME, "peer", [Want([b"x"])])] * 2
        nursery.cancel_scope.cancel()


async def test_nobody_listens():
    network = LocalNetwork()
    with pytest.raises(ConnectionRefusedError, match="nobody listens at 'other'"):
        network.of(ME).connect("other", "peer", PeerMessage)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.of(OTHER).listen, "other", lambda *args: serve_peers([], *args))
        nursery.cancel_scope.cancel()
    with pytest.raises(ConnectionRefusedError):
        network.of(ME).connect("other", "peer", PeerMessage)


async def test_a_connection_that_nobody_accepted_is_closed_with_the_listener():
    network = LocalNetwork()
    async with trio.open_nursery() as nursery:
        await nursery.start(network.of(OTHER).listen, "other", lambda *args: serve_peers([], *args))
        link = network.of(ME).connect("other", "peer", PeerMessage)
        nursery.cancel_scope.cancel()
    assert await link.receive() == []
    link.close()


class Node:
    """Welcomes members, and takes what they send until its gate is open."""

    def __init__(self):
        self.received = []
        self.links = {}

    async def accept(self, hello, sock):
        descriptor = os.open("/dev/null", os.O_RDONLY)
        send_welcome(sock, WELCOME, descriptor)
        os.close(descriptor)
        link = self.links[hello.worker_id] = UnixLink(sock, NodeMessage)
        try:
            while messages := await link.receive():
                self.received += messages
        finally:
            link.close()


async def test_joining_and_leaving():
    network, node = LocalNetwork(), Node()
    async with trio.open_nursery() as nursery:
        await nursery.start(network.of(OTHER).listen, NODE, node.accept)
        welcome, descriptor, link = await network.of(ME).join(NODE, "driver")
        os.close(descriptor)
        assert welcome == WELCOME
        link.send([FinishJob()])
        link.close()
        await network.left(ME)  # what came before the end has been read by now
        assert node.received == [FinishJob()]
        await network.left(ME)
        nursery.cancel_scope.cancel()


async def test_the_node_is_served_at_once_where_its_loop_is_held():
    network, node = LocalNetwork(), Node()

    def serve(member):
        node.received += node.links[member].receive_nowait() or []
        node.links[member].send([JobFinished()])

    async with trio.open_nursery() as nursery:
        mine = network.of(ME)
        await nursery.start(network.of(OTHER).listen, NODE, node.accept)
        _, descriptor, link = await mine.join(NODE, "driver")
        os.close(descriptor)
        link.send([FinishJob()])
        network.serve_at_once = serve
        assert mine.receive_in_thread(link, 1.0) == [JobFinished()]
        assert node.received == [FinishJob()]
        network.serve_at_once = None
        with pytest.raises(RuntimeError, match="Make it in another thread"):
            mine.receive_in_thread(link, 1.0)
        link.close()
        with pytest.raises(LinkClosed):
            link.send([FinishJob()])
        nursery.cancel_scope.cancel()
