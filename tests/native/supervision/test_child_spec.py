"""What a specification says of a child."""

import math

from trayray import ChildSpec
from trayray.native.supervision.child_spec import seconds_to_stop


def test_a_task_of_this_loop_may_take_any_time_to_stop() -> None:
    async def idle() -> None: ...

    assert seconds_to_stop(ChildSpec("a", idle, shutdown=1.0)) == math.inf
