import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
import trio
import trio.testing

from trayray.link.handshake import HELLO_SECONDS, Unauthenticated, receive_hello, send_hello
from trayray.wire.frames import encode_frame
from trayray.wire.greetings import Hello

TOKEN = "a cluster's token"
HELLO = Hello(token=TOKEN, role="worker", worker_id=b"w" * 28, pid=17, job=b"j" * 4)


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The connecting side, blocking, and the accepting side, as a listener's loop has it."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with closing(ours), closing(theirs):
        yield ours, theirs


async def refusal(sock: socket.socket) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await receive_hello(sock, TOKEN)
    return str(caught.value)


async def test_a_hello_arrives_as_sent(sockets):
    ours, theirs = sockets
    send_hello(ours, HELLO)
    assert await receive_hello(theirs, TOKEN) == HELLO


async def test_not_a_byte_after_the_hello_is_read(sockets):
    ours, theirs = sockets
    send_hello(ours, HELLO)
    ours.sendall(b"what follows")
    await receive_hello(theirs, TOKEN)
    assert theirs.recv(100) == b"what follows"


async def test_a_hello_in_pieces(sockets):
    ours, theirs = sockets
    frame = encode_frame([HELLO])

    async def send_slowly() -> None:
        for byte in frame:
            await trio.testing.wait_all_tasks_blocked()
            ours.sendall(bytes([byte]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_slowly)
        assert await receive_hello(theirs, TOKEN) == HELLO


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "!", TOKEN[:-1], "é"])
async def test_a_wrong_token(sockets, token):
    ours, theirs = sockets
    send_hello(ours, msgspec.structs.replace(HELLO, token=token))
    text = await refusal(theirs)
    assert text == "wrong token from a 'worker' (pid 17)"
    assert TOKEN not in text


async def test_an_oversized_hello_is_refused_by_its_length_alone(sockets):
    ours, theirs = sockets
    ours.sendall(struct.pack("<I", 5000))
    assert await refusal(theirs) == "the first frame has 5000 bytes, a hello has at most 4096"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([HELLO, HELLO]),
        msgspec.msgpack.encode([[1, TOKEN, "worker", b""]]),
        msgspec.msgpack.encode({"token": TOKEN}),
        b"\x91\x97\x00\xa1t\xa1r\xc4\x00\x00\xc4\x00" + b"\x91" * 4000,
    ],
    ids=["empty", "no-msgpack", "http", "no-hello", "two", "other-message", "map", "deeply-nested"],
)
async def test_what_is_no_hello(sockets, body):
    ours, theirs = sockets
    ours.sendall(struct.pack("<I", len(body)) + body)
    assert (await refusal(theirs)).startswith("the first frame is no hello: ")


@pytest.mark.parametrize("sent", [b"", b"\x10\x00", struct.pack("<I", 50) + b"some"])
async def test_a_peer_that_leaves_early(sockets, sent):
    ours, theirs = sockets
    ours.sendall(sent)
    ours.close()
    assert await refusal(theirs) == "the peer left before it introduced itself"


async def test_a_peer_that_leaves_without_reading(sockets):
    ours, theirs = sockets
    theirs.send(b"never read")
    ours.close()
    assert (await refusal(theirs)).startswith("the peer left: ")


@pytest.mark.parametrize("sent", [b"", struct.pack("<I", 50)])
async def test_silence(sockets, sent, autojump_clock):
    ours, theirs = sockets
    ours.sendall(sent)
    started = trio.current_time()
    assert await refusal(theirs) == f"no hello within {HELLO_SECONDS} s"
    assert trio.current_time() - started == pytest.approx(HELLO_SECONDS)


async def test_cancelling_is_not_mistaken_for_silence(sockets):
    _, theirs = sockets
    with trio.CancelScope() as scope:
        scope.cancel()
        await receive_hello(theirs, TOKEN)
    assert scope.cancelled_caught
