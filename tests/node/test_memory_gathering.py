"""Asking all processes of a node: answers in time, late ones, none, and processes that end meanwhile."""

import pytest
import trio
import trio.testing

from trayray.node.clients import Client, Clients
from trayray.node.memory_gathering import MemoryGathering
from trayray.wire.report_messages import AskReferences, ReferencesTold


class Wire:
    """What a process has been sent."""

    closed = False

    def __init__(self):
        self.sent = []

    def send(self, messages):
        self.sent += messages

    def close(self):
        self.closed = True


@pytest.fixture
def clients():
    clients = Clients()
    for number in (1, 2):
        clients.add(Client(bytes([number]) * 28, f"p{number}", "worker", number, b"", Wire()))
    return clients


@pytest.fixture
def first(clients):
    return clients.by_id[b"\1" * 28]


@pytest.fixture
def second(clients):
    return clients.by_id[b"\2" * 28]


@pytest.fixture
def gathering(clients):
    return MemoryGathering(clients)


async def begin(nursery, gathering, results, most=1000):
    async def gather():
        results.append(await gathering.gather(5.0, most))

    nursery.start_soon(gather)
    await trio.testing.wait_all_tasks_blocked()


async def test_all_answer(autojump_clock, gathering, first, second):
    results = []
    async with trio.open_nursery() as nursery:
        await begin(nursery, gathering, results)
        (question,) = first.link.sent
        assert (type(question), question.most) == (AskReferences, 1000)
        gathering.answered(second, ReferencesTold(question.request, b"two"))
        gathering.answered(first, ReferencesTold(question.request, b"one"))

    assert results == [{first: b"one", second: b"two"}]
    assert not gathering._questions


async def test_one_is_silent_and_answers_late(autojump_clock, gathering, first, second):
    results = []
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        await begin(nursery, gathering, results)
        request = first.link.sent[0].request
        gathering.answered(first, ReferencesTold(request, b"one"))

    assert results == [{first: b"one", second: b""}]
    assert trio.current_time() - started == pytest.approx(5.0)
    gathering.answered(second, ReferencesTold(request, b"two"))
    assert results == [{first: b"one", second: b""}]


async def test_one_ends_meanwhile(autojump_clock, gathering, first, second):
    results = []
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        await begin(nursery, gathering, results)
        gathering.process_gone(second)
        gathering.answered(first, ReferencesTold(first.link.sent[0].request, b"one"))

    assert results == [{first: b"one"}]
    assert trio.current_time() == started


async def test_many_share_what_may_be_listed(autojump_clock, gathering, first):
    results = []
    async with trio.open_nursery() as nursery:
        await begin(nursery, gathering, results, most=10**9)
    assert first.link.sent[0].most == 100_000


async def test_nobody_is_there(clients, gathering):
    clients.by_id.clear()
    assert await gathering.gather(5.0, 10) == {}
