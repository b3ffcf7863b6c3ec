"""What checkers see of supervisors and their children."""

from typing import assert_type

import trayray
from trayray import ChildSpec, ObjectRef, SupervisorSpec


@trayray.remote
class Counter:
    def __init__(self, start: int) -> None:
        self.total = start

    @trayray.method
    def add(self, x: int) -> int:
        self.total += x
        return self.total


async def main() -> None:
    pool = SupervisorSpec(
        [ChildSpec("a", Counter, (1,), restart="transient", shutdown=2)], "pool", strategy="one_for_all"
    )
    async with trayray.open_supervisor([pool, ChildSpec("b", Counter, (1,))]) as supervisor:
        assert_type(supervisor.actor("b", Counter).add.remote(1), ObjectRef[int])
        assert_type(supervisor.count_children().active, int)
        assert_type([child.state for child in supervisor.which_children()], list[str])
        async for event in supervisor.events():
            assert_type(event.path, str)


def blocking() -> None:
    with trayray.supervise(SupervisorSpec([ChildSpec("b", Counter, (1,))])) as supervisor:
        assert_type(supervisor.actor("b", Counter).add.remote(1), ObjectRef[int])
        for event in supervisor.events():
            assert_type(event.reason, str)
