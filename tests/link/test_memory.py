from collections.abc import Callable

import pytest
import trio

from trayray.core.loan_messages import Borrowed
from trayray.link.memory import memory_link_pair
from trayray.link.port import LinkClosed
from trayray.wire.peer_messages import PeerMessage


class Network:
    """Holds every frame until it is told to let one arrive."""

    def __init__(self) -> None:
        self.under_way: list[tuple[bytes, Callable[[bytes], None]]] = []

    def route(self, frame: bytes, deliver: Callable[[bytes], None]) -> None:
        self.under_way.append((frame, deliver))

    def arrive(self, index: int) -> None:
        frame, deliver = self.under_way[index]
        deliver(frame)


async def test_a_frame_arrives_when_the_network_says_so():
    network = Network()
    near, far = memory_link_pair(PeerMessage, PeerMessage, network.route)
    near.send([Borrowed(1)])
    with trio.move_on_after(0) as scope:
        await far.receive()
    assert scope.cancelled_caught
    network.arrive(0)
    assert await far.receive() == [Borrowed(1)]


async def test_frames_of_one_link_keep_their_order_on_a_network_that_reorders_and_repeats():
    network = Network()
    near, far = memory_link_pair(PeerMessage, PeerMessage, network.route)
    for number in range(4):
        near.send([Borrowed(number)])
    near.close()
    for index in (4, 2, 0, 0, 2):
        network.arrive(index)
    assert await far.receive() == [Borrowed(0)]
    for index in (1, 1, 3):
        network.arrive(index)
    assert await far.receive() == [Borrowed(1), Borrowed(2), Borrowed(3)]
    assert await far.receive() == []


async def test_each_direction_may_have_its_own_way():
    network = Network()
    near, far = memory_link_pair(PeerMessage, PeerMessage, back=network.route)
    near.send([Borrowed(1)])
    far.send([Borrowed(2)])
    assert await far.receive() == [Borrowed(1)]
    assert len(network.under_way) == 1
    network.arrive(0)
    assert await near.receive() == [Borrowed(2)]


async def test_the_goodbye_travels_behind_what_was_sent_before():
    network = Network()
    near, far = memory_link_pair(PeerMessage, PeerMessage, network.route)
    near.send([Borrowed(1)])
    near.close()
    far.send([Borrowed(2)])  # it cannot know yet
    network.arrive(0)
    assert await far.receive() == [Borrowed(1)]
    assert not far.closed
    network.arrive(1)
    assert await far.receive() == []
    assert far.closed


async def test_a_cut_ends_both_sides_and_loses_what_is_under_way():
    network = Network()
    near, far = memory_link_pair(PeerMessage, PeerMessage, network.route)
    near.send([Borrowed(1)])
    network.arrive(0)
    near.send([Borrowed(2)])
    near.cut()
    network.arrive(1)
    assert await far.receive() == [Borrowed(1)]
    assert await far.receive() == []
    assert await near.receive() == []
    for end in (near, far):
        with pytest.raises(LinkClosed):
            end.send([Borrowed(3)])
        await end.run()
