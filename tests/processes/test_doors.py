"""Every door of a cluster wants the token before anything else: sockets of node, workers and drivers, and gRPC."""

import contextlib
import json
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys

import pytest

from tests import leftovers
from tests.processes.scene import listening_sockets
from tests.processes.waiting import eventually
from trayray.exceptions import AuthenticationError
from trayray.link.grpc_edge import open_channel
from trayray.link.network import NODE
from trayray.link.unix import connect_unix
from trayray.wire.frames import encode_frame
from trayray.wire.greetings import Hello
from trayray.wire.lease_messages import Grant
from trayray.wire.peer_messages import Ready
from trayray.wire.proto.trayray import v1
from trayray.wire.store_messages import Seal
from trayray.wire.task_messages import TASK, Define, Push
from trayray.wire.values import INLINE, Value

#: How long a door may take to close, and an answer to come (seconds).
SECONDS = 5.0
LOCALHOST = "0100007F"  # as /proc/net/tcp shows 127.0.0.1


@pytest.fixture(scope="module")
def session(ray):
    """The session's directory. An actor lives in it and a worker waits."""

    @ray.remote
    class Actor:
        def ready(self):
            return os.getpid()

    actor = Actor.remote()
    ray.get(actor.ready.remote(), timeout=10)
    (address,) = leftovers.session_root().glob("session_*/address.json")
    yield address.parent
    del actor


@pytest.fixture
def bomb(tmp_path):
    """A pickle that makes a directory when it is loaded, and the directory."""
    crater = tmp_path / "crater"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(crater),)

    return pickle.dumps(Bomb()), crater


def token_of(session):
    return (session / "token").read_text()


def doors(session):
    return sorted((session / "sockets").iterdir())


def connections(session):
    """A connection to each process. One that has just ended leaves its socket's file for a moment."""
    reached = 0
    for path in doors(session):
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            with connect_unix(path) as sock:
                reached += 1
                yield sock
    assert reached >= 3, "the node, the driver and the actor at least"


def is_closed(sock):
    """Waits for the other side to close; what comes before that is no part of a refusal."""
    sock.settimeout(SECONDS)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def explosive(data):
    """What a worker or a driver that listened to it would unpickle."""
    return [
        Define(1, "bomb", "bomb", data, 1, TASK, {}),
        Push(b"t" * 24, 1, data),
        Ready(b"o" * 28, Value(INLINE, data)),
    ]


HELLOS = {
    "wrong token": lambda token: Hello("0" * len(token), "task", b"x" * 28, os.getpid()),
    "no token": lambda _: Hello("", "task", b"x" * 28, os.getpid()),
    "half a token": lambda token: Hello(token[:-1], "task", b"x" * 28, os.getpid()),
    "as a driver": lambda _: Hello("0", "driver", b"x" * 28, os.getpid()),
    "as a peer": lambda _: Hello("0", "peer", b"x" * 28, os.getpid()),
}


@pytest.mark.parametrize("hello", HELLOS)
def test_strangers_are_turned_away_from_every_socket(ray, session, bomb, hello):
    data, crater = bomb
    for sock in connections(session):
        sock.sendall(encode_frame([HELLOS[hello](token_of(session))]) + encode_frame(explosive(data)))
        assert is_closed(sock), sock.getpeername()
    assert ray.get(ray.put(1)) == 1
    assert not crater.exists()


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", id="http"),
        pytest.param(b"\xff" * 64, id="a frame of 4 GB"),
        pytest.param((20).to_bytes(4, "little") + b"\x91" * 20, id="nested arrays"),
        pytest.param(pickle.dumps({"token": None}), id="a pickle"),
        pytest.param(encode_frame([]), id="nothing"),
        pytest.param(encode_frame(["hello"]), id="a text"),
        pytest.param(b"", id="silence"),
    ],
)
def test_what_is_no_greeting_closes_the_door(ray, session, garbage):
    for sock in connections(session):
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        assert is_closed(sock), sock.getpeername()


def test_with_the_token_the_worker_listens(ray, session, bomb):
    """What the tests above send would do harm, if it were read."""
    data, crater = bomb

    @ray.remote
    def my_address():
        from trayray.worker.current import core_worker

        return core_worker().address

    address = ray.get(my_address.remote(), timeout=10)
    with connect_unix(session / "sockets" / address) as sock:
        sock.sendall(encode_frame([Hello(token_of(session), "task", b"y" * 28, os.getpid())]))
        sock.sendall(encode_frame(explosive(data)[:2]))
        eventually(crater.exists, SECONDS)


@pytest.mark.parametrize(
    "breach",
    [
        pytest.param(b"\xff" * 64, id="a frame of 4 GB"),
        pytest.param(encode_frame(["no message"]), id="no message"),
        pytest.param(encode_frame([Grant(1, 1, b"w", "a")]), id="what only nodes say"),
        pytest.param(encode_frame([Seal(0, 99, "nobody")]), id="a segment that was never granted"),
    ],
)
def test_who_breaks_the_protocol_is_cut_off_and_nobody_else(ray, session, breach):
    with connect_unix(session / "sockets" / NODE) as sock:
        sock.sendall(encode_frame([Hello(token_of(session), "driver", os.urandom(28), os.getpid())]) + breach)
        sock.settimeout(SECONDS)
        while sock.recv(65536):  # the welcome
            pass

    assert ray.nodes()


def test_who_leaves_before_the_welcome_harms_nobody(ray, session):
    for _ in range(50):
        with connect_unix(session / "sockets" / NODE) as sock:
            sock.sendall(encode_frame([Hello(token_of(session), "driver", os.urandom(28), os.getpid())]))

    assert ray.nodes()


def test_a_second_process_of_the_same_id_is_turned_away(ray, session):
    hello = encode_frame([Hello(token_of(session), "driver", os.urandom(28), os.getpid())])
    with connect_unix(session / "sockets" / NODE) as first, connect_unix(session / "sockets" / NODE) as second:
        first.sendall(hello)
        assert first.recv(1)
        second.sendall(hello)
        assert is_closed(second)

    assert ray.nodes()


CHILD_HOLDS_THE_CONNECTION = """
import os, pathlib, signal, sys
from trayray.link.unix import connect_unix
from trayray.wire.frames import encode_frame
from trayray.wire.greetings import Hello

sock = connect_unix(pathlib.Path(sys.argv[1]))
sock.sendall(encode_frame([Hello(sys.stdin.readline(), "driver", os.urandom(28), os.getpid())]))
assert sock.recv(65536)
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
while sock.recv(65536):
    pass
print("closed")
"""


def test_a_dead_driver_is_gone_though_its_child_holds_the_connection(session):
    shown = subprocess.run(
        [sys.executable, "-c", CHILD_HOLDS_THE_CONNECTION, str(session / "sockets" / NODE)],
        input=token_of(session).encode(),
        stdout=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
    )

    assert (shown.returncode, shown.stdout) == (-signal.SIGKILL, b"closed\n")


def address_of(session):
    host, _, port = json.loads((session / "address.json").read_text())["address"].rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("token", ["0" * 64, "wrong"])
async def test_grpc_refuses_a_wrong_token(session, token):
    calls = [
        (v1.GcsStub, "list_nodes", v1.ListNodesRequest()),
        (v1.GcsStub, "get_cluster_info", v1.GetClusterInfoRequest()),
        (v1.GcsStub, "register_actors", v1.RegisterActorsRequest()),
        (v1.RayletStub, "shutdown", v1.ShutdownRequest()),
        (v1.RayletStub, "get_node_stats", v1.GetNodeStatsRequest()),
    ]
    async with open_channel(*address_of(session), token) as channel:
        for stub, method, request in calls:
            with pytest.raises(AuthenticationError):
                await channel.call(stub, method, request)


async def test_grpc_accepts_the_token(session):
    async with open_channel(*address_of(session), token_of(session)) as channel:
        assert (await channel.call(v1.GcsStub, "list_nodes", v1.ListNodesRequest())).nodes


def test_grpc_port_closes_on_garbage(ray, session):
    with socket.create_connection(address_of(session)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(1000))
        sock.settimeout(SECONDS)
        while sock.recv(4096):  # HTTP/2's settings come first
            pass

    assert ray.nodes()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_the_users_alone(session):
    assert mode(session.parent) == 0o700
    assert mode(session) == 0o700
    assert mode(session / "sockets") == 0o700
    assert mode(session / "logs") == 0o700
    assert mode(session / "token") == 0o600
    assert mode(session / "address.json") == 0o600
    assert {mode(path) for path in doors(session)} == {0o600}


def processes_of(session):
    """The node, what descends from it, and this process."""
    node = json.loads((session / "address.json").read_text())["pid"]
    parents = {pid: leftovers._parent(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))}

    def descends(pid):
        while pid and pid != node:
            pid = parents.get(pid)
        return pid == node

    return [os.getpid(), *(pid for pid in parents if descends(pid))]


def test_nothing_listens_on_an_address_that_others_can_reach(session):
    own = {link for pid in processes_of(session) for link in leftovers._links(pid)}
    listening = [where for where, inode in listening_sockets().items() if f"socket:[{inode}]" in own]

    assert (LOCALHOST, address_of(session)[1]) in listening
    assert {address for address, _ in listening} == {LOCALHOST}


def test_token_is_nowhere_but_in_its_file(session):
    token = token_of(session).encode()
    assert len(token) >= 32

    for pid in processes_of(session):
        assert token not in leftovers._read(pid, "cmdline")
        assert token not in leftovers._read(pid, "environ")
    for path in session.rglob("*"):
        if path.is_file() and path.name != "token":
            assert token not in path.read_bytes(), path
