"""Groups whose ranks do not come, die, leave or do not agree on what the group is."""

import os
import re
import signal

import numpy as np
import pytest

import trayray
from tests.conftest import init_arguments
from tests.processes.waiting import eventually
from trayray.exceptions import RayActorError
from trayray.util import collective
from trayray.util.collective import CollectiveError, CollectiveTimeoutError

#: Above the limit of what travels inside messages.
LARGE = 40_001


@trayray.remote(num_cpus=0)
class Rank:
    """A member of a group, by the arguments of the calls."""

    def call(self, function, *arguments):
        return function(*arguments)


def together(actors, function, *arguments):
    """What ``function(rank, *arguments)`` returns in each of the actors, called in all of them at once."""
    return [actor.call.remote(function, rank, *arguments) for rank, actor in enumerate(actors)]


def ended(refs):
    """The results, or the errors, of calls."""
    ends = []
    for ref in refs:
        try:
            ends.append(trayray.get(ref, timeout=60))
        except Exception as error:  # noqa: BLE001 -- whatever it is, the test looks at it
            ends.append(error)
    return ends


def test_a_rank_that_does_not_come(fresh_ray):
    fresh_ray.init(**init_arguments(num_cpus=2))
    actors = [Rank.remote() for _ in range(2)]

    def join(rank):
        collective.init_collective_group(2, rank, "gloo", "hasty", gloo_timeout=600)

    def call(rank):
        collective.barrier("hasty")

    (alone,) = ended([actors[0].call.remote(join, 0)])
    assert isinstance(alone, CollectiveTimeoutError)
    assert re.search(r"no rank 1 within 0\.\d s for a group of 2", str(alone))
    assert ended(together(actors, join)) == [None, None]
    (alone,) = ended([actors[1].call.remote(call, 1)])
    assert isinstance(alone, CollectiveTimeoutError)
    assert "no rank 0 within 0.6 s for barrier(), which rank 1 waited for" in str(alone)
    assert isinstance(alone, TimeoutError)
    (late,) = ended([actors[0].call.remote(call, 0)])
    assert isinstance(late, CollectiveTimeoutError)
    assert ended(together(actors, call)) == [None, None], "both know, and go on with the next call"


def test_ranks_that_do_not_agree_on_the_group(fresh_ray):
    fresh_ray.init(**init_arguments(num_cpus=2))
    actors = [Rank.remote() for _ in range(2)]

    def sizes(rank):
        collective.init_collective_group(2 + rank, rank, "gloo", "sizes", gloo_timeout=20_000)

    def the_same_rank(rank):
        collective.init_collective_group(2, 0, "gloo", "twice", gloo_timeout=20_000)

    for error in ended(together(actors, sizes)):
        assert "a group of 2" in str(error)
        assert "a group of 3" in str(error)
    for error in ended(together(actors, the_same_rank)):
        assert "two processes take part as rank 0" in str(error)


@pytest.mark.parametrize("dead", [0, 1])
def test_the_death_of_a_rank_ends_the_waiting_of_the_others(fresh_ray, dead):
    fresh_ray.init(**init_arguments(num_cpus=2))
    actors = [Rank.remote() for _ in range(3)]
    others = [rank for rank in range(3) if rank != dead]

    def join(rank):
        collective.init_collective_group(3, rank, "gloo", "mortal", gloo_timeout=100_000)

    def add(rank):
        collective.allreduce(np.ones(LARGE), "mortal")

    def leave(rank):
        collective.destroy_collective_group("mortal")
        return collective.is_group_initialized("mortal")

    fresh_ray.get(together(actors, join), timeout=60)
    waiting = [actors[rank].call.remote(add, rank) for rank in others]
    dying = actors[dead].call.remote(lambda: os.kill(os.getpid(), signal.SIGKILL))
    for error in ended(waiting):
        assert isinstance(error, CollectiveError), error
        assert f"rank {dead} has died" in str(error) or "the meeting point of the group is gone" in str(error)
    assert isinstance(ended([dying])[0], RayActorError)
    for error in ended([actors[rank].call.remote(add, rank) for rank in others]):
        assert isinstance(error, CollectiveError), "the group stays broken"
    assert ended([actors[rank].call.remote(leave, rank) for rank in others]) == [False, False]
    actors[dead] = Rank.remote()
    fresh_ray.get(together(actors, join), timeout=60)
    fresh_ray.get(together(actors, add), timeout=60)


def test_a_rank_that_leaves_and_a_group_that_begins_again(fresh_ray):
    fresh_ray.init(**init_arguments(num_cpus=2))
    actors = [Rank.remote() for _ in range(2)]

    def join(rank):
        collective.init_collective_group(2, rank, "gloo", "again", gloo_timeout=20_000)

    def barrier(rank):
        collective.barrier("again")

    def leave(rank):
        collective.destroy_collective_group("again")

    for _ in range(3):
        assert ended(together(actors, join)) == [None, None]
        assert ended(together(actors, barrier)) == [None, None]
        assert ended([actors[1].call.remote(leave, 1)]) == [None]
        (error,) = ended([actors[0].call.remote(barrier, 0)])
        assert "rank 1 has destroyed its part of the group" in str(error)
        early = actors[1].call.remote(join, 1)
        assert ended([actors[0].call.remote(leave, 0)]) == [None]
        assert ended([actors[0].call.remote(join, 0), early]) == [None, None]
        assert ended(together(actors, leave)) == [None, None]
    eventually(lambda: fresh_ray.util.list_named_actors() == [])
