"""The HTTP door against well-behaved, careless and hostile clients. What is served: tests/processes/test_metrics.py."""

import http.client
import logging
from functools import partial

import pytest
import trio

from trayray.node import http_connection, http_server
from trayray.node.http_server import HttpResponse, serve_http

GET = b"GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
async def door(nursery):
    """A door that says what it was asked, and a list of that."""
    asked = []

    async def answer(request):
        asked.append(request)
        if request.path == "/fails":
            raise LookupError("no such thing")
        return HttpResponse(200, request.path.encode() * 3, headers=(("X-Own", "1"),))

    port = await nursery.start(partial(serve_http, answer, host="127.0.0.1", port=0))
    return port, asked


async def say(port, data, *, end=True):
    """Send bytes; everything that comes back."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        try:
            await stream.send_all(data)
            if end:
                await stream.send_eof()
        except trio.BrokenResourceError:  # it has answered before it had all
            pass
        return b"".join([part async for part in stream])


def parsed(reply):
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


async def test_a_request_is_answered_and_the_connection_closed(door):
    port, asked = door

    status, headers, body = parsed(await say(port, GET, end=False))

    assert (status, body) == (200, b"/metrics" * 3)
    assert headers.items() >= {("content-length", "24"), ("connection", "close"), ("x-own", "1")}
    assert [(request.method, request.path, request.headers["host"]) for request in asked] == [("GET", "/metrics", "h")]


async def test_head_has_no_body(door):
    status, headers, body = parsed(await say(door[0], b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n"))

    assert (status, headers["content-length"], body) == (200, "6", b"")


async def test_http_1_0(door):
    status, _, body = parsed(await say(door[0], b"GET /old HTTP/1.0\r\n\r\n"))

    assert (status, body) == (200, b"/old" * 3)


async def test_a_request_in_pieces(door):
    async with await trio.open_tcp_stream("127.0.0.1", door[0]) as stream:
        for byte in GET:
            await stream.send_all(bytes([byte]))
        reply = b"".join([part async for part in stream])

    assert parsed(reply)[0] == 200


async def test_a_body_is_not_read_and_the_answer_arrives(door):
    request = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)

    status, _, _ = parsed(await say(door[0], request))

    assert status == 200


async def test_a_standard_client(door):
    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", door[0], timeout=10)
        connection.request("GET", "/x")
        with connection.getresponse() as response:
            return response.status, response.read()

    assert await trio.to_thread.run_sync(ask) == (200, b"/x" * 3)


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        pytest.param(b"\x00\xff" * 50 + b"\r\n\r\n", 400, id="binary"),
        pytest.param(b"GET /\r\n\r\n", 400, id="http 0.9"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nbad header\r\n\r\n", 400, id="bad header"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\n", 400, id="unfinished"),
        pytest.param(b"GET /" + b"a" * 40_000, 431, id="endless line"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000, 431, id="endless headers"),
    ],
)
async def test_garbage_is_refused(door, garbage, status):
    port, asked = door

    assert parsed(await say(port, garbage))[0] == status
    assert asked == []
    assert parsed(await say(port, GET))[0] == 200


async def test_nothing_at_all(door):
    assert await say(door[0], b"") == b""
    assert parsed(await say(door[0], GET))[0] == 200


async def test_an_answer_that_fails_is_logged_and_hurts_nobody_else(door, caplog):
    with caplog.at_level(logging.ERROR, http_connection.__name__):
        status, _, body = parsed(await say(door[0], b"GET /fails HTTP/1.1\r\nHost: h\r\n\r\n"))

    assert (status, b"no such thing" in body) == (500, False)
    assert "no such thing" in caplog.text
    assert parsed(await say(door[0], GET))[0] == 200


async def test_who_says_nothing_is_cut_off(door, monkeypatch):
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.1)

    with trio.fail_after(5):
        assert await say(door[0], b"GET /slow", end=False) == b""
    assert parsed(await say(door[0], GET))[0] == 200


async def test_who_leaves_before_the_answer_hurts_nobody(door):
    for _ in range(20):
        stream = await trio.open_tcp_stream("127.0.0.1", door[0])
        await stream.send_all(GET)
        await trio.aclose_forcefully(stream)

    assert parsed(await say(door[0], GET))[0] == 200


async def test_connections_are_limited(nursery, monkeypatch):
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 2)

    async def answer(request):
        return HttpResponse(200, b"")

    port = await nursery.start(partial(serve_http, answer, host="127.0.0.1", port=0))
    async with (
        await trio.open_tcp_stream("127.0.0.1", port) as first,
        await trio.open_tcp_stream("127.0.0.1", port) as second,
    ):
        await first.send_all(GET[:-2])
        await second.send_all(GET[:-2])
        assert await closed(port)
        await first.send_all(GET[-2:])
        assert parsed(b"".join([part async for part in first]))[0] == 200

    with trio.fail_after(5):
        while await closed(port):
            await trio.sleep(0.01)


async def closed(port):
    """Whether a further connection is closed without an answer."""
    try:
        return await say(port, GET, end=False) == b""
    except trio.BrokenResourceError:
        return True


async def test_a_port_that_is_taken_is_an_error_that_says_so(door):
    with pytest.raises(OSError, match=rf"127\.0\.0\.1:{door[0]}: the port is in use; choose another"):
        await serve_http(lambda _: None, host="127.0.0.1", port=door[0])


async def test_it_ends_with_its_scope_whoever_is_connected(door):
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(serve_http, lambda _: None, host="127.0.0.1", port=0))
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        nursery.cancel_scope.cancel()

    async with stream:
        with pytest.raises(OSError, match=f"connect to 127.0.0.1:{port}"):
            await trio.open_tcp_stream("127.0.0.1", port)
