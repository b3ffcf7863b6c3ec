import os
import socket
import stat
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from trayray.core.loan_messages import Borrowed
from trayray.link.port import LinkClosed
from trayray.link.unix import UnixLink, connect_unix, listen_unix
from trayray.wire.peer_messages import PeerMessage, Want


async def accept(listener: socket.socket) -> socket.socket:
    await trio.lowlevel.wait_readable(listener)
    sock, _ = listener.accept()
    return sock


@pytest.mark.parametrize("length", [60, 100, 101, 107, 108, 109, 300])
async def test_a_path_of_any_length(tmp_path, length):
    directory = tmp_path
    while len(str(directory)) < length - 60:
        directory /= "d" * 50
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ("s" * max(1, length - len(str(directory)) - 1))
    with listen_unix(path) as listener, connect_unix(path) as connected, await accept(listener) as accepted:
        connected.sendall(b"hello")
        await trio.lowlevel.wait_readable(accepted)
        assert accepted.recv(10) == b"hello"


def test_a_socket_is_its_owners_alone_whatever_the_umask(tmp_path):
    path = tmp_path / "socket"
    before = os.umask(0)
    try:
        with listen_unix(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_connecting_to_nobody(tmp_path):
    with pytest.raises(FileNotFoundError):
        connect_unix(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        connect_unix(tmp_path / ("d" * 120) / "nothing")
    listen_unix(tmp_path / "left-behind").close()
    with pytest.raises(ConnectionRefusedError):
        connect_unix(tmp_path / "left-behind")


def test_listening_where_someone_listens(tmp_path):
    path = tmp_path / "socket"
    with listen_unix(path), pytest.raises(OSError, match="in use"):
        listen_unix(path)


def test_no_descriptor_is_left_behind(tmp_path):
    path = tmp_path / ("d" * 90) / "socket"
    path.parent.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with listen_unix(path), connect_unix(path):
        pass
    with pytest.raises(ConnectionRefusedError):
        connect_unix(path)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_sends_go_out_at_once_without_run():
    left, right = socket.socketpair()
    near, far = UnixLink(left, PeerMessage), UnixLink(right, PeerMessage)
    near.send([Borrowed(1)])
    assert far.receive_nowait() == [Borrowed(1)]
    assert far.receive_nowait() is None
    near.close()
    assert far.receive_nowait() == []
    far.close()


async def test_what_the_socket_does_not_take_waits_for_run_and_keeps_its_place():
    left, right = socket.socketpair()
    near, far = UnixLink(left, PeerMessage), UnixLink(right, PeerMessage)
    large = Want([b"x" * 20_000_000])
    near.send([large])
    near.send([Borrowed(1)])
    assert "backlog=2" in repr(near)

    received = []
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.run)
            while len(received) < 2:
                received += await far.receive()
            near.send([Borrowed(2)])
            received += await far.receive()
            near.close()
    assert received == [large, Borrowed(1), Borrowed(2)]
    far.close()


async def test_a_peer_that_dies_is_noticed_by_send():
    left, right = socket.socketpair()
    near = UnixLink(left, PeerMessage)
    right.close()
    assert not near.closed
    with pytest.raises(LinkClosed, match="the peer is gone"):
        near.send([Borrowed(1)])
    assert near.closed
    near.close()


async def test_a_peer_that_dies_with_a_backlog_before_it_ends_the_link():
    left, right = socket.socketpair()
    near = UnixLink(left, PeerMessage)
    near.send([Want([b"x" * 20_000_000])])
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.run)
            right.close()
            assert await near.receive() == []
            near.close()


def test_a_link_outlives_the_loop_that_used_it():
    left, right = socket.socketpair()
    near, far = UnixLink(left, PeerMessage), UnixLink(right, PeerMessage)

    async def exchange() -> None:
        near.send([Borrowed(1)])
        assert await far.receive() == [Borrowed(1)]

    trio.run(exchange)
    closing = threading.Thread(target=far.close)
    closing.start()
    closing.join()
    near.close()
    assert near.fileno() == far.fileno() == -1


async def test_close_from_a_thread_returns_the_descriptor():
    left, right = socket.socketpair()
    near = UnixLink(left, PeerMessage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.run)
        nursery.start_soon(near.receive)
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(near.close)
    assert near.fileno() == -1
    right.close()


def test_listening_in_a_missing_directory(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        listen_unix(tmp_path / "missing" / "socket")
