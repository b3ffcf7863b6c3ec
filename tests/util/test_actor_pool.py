"""How many calls an actor of a pool may have at once. Pools with real actors: tests/processes/test_actor_pool.py."""

from hypothesis import given
from hypothesis import strategies as st

from trayray.util.actor_pool import _AHEAD_SECONDS, _MOST_AHEAD, CallsAhead

MANY = 1_000_000


def settled(seconds_each: float, decisions: int = 30) -> int:
    """The limit after calls that took so long each, sent as the limit allowed."""
    ahead, now = CallsAhead(), 100.0
    limit = ahead.decide(now, 0, MANY, 2)
    for _ in range(decisions):
        now += limit * seconds_each
        limit = ahead.decide(now, limit, MANY, 2)
    return limit


def test_an_actor_starts_with_a_single_call() -> None:
    assert CallsAhead().decide(5.0, 0, MANY, 2) == 1


def test_long_calls_are_given_one_by_one() -> None:
    assert settled(_AHEAD_SECONDS) == 1
    assert settled(1.0) == 1


def test_short_calls_fill_the_time_that_may_wait() -> None:
    assert settled(_AHEAD_SECONDS / 20) in (19, 20)
    assert settled(1e-6) == _MOST_AHEAD


def test_the_limit_doubles_at_most() -> None:
    ahead = CallsAhead()

    limits = [ahead.decide(i * 1e-5, min(i, 1), MANY, 1) for i in range(6)]

    assert limits == [1, 2, 4, 8, 16, 32]


def test_calls_that_become_long_end_it_at_once() -> None:
    ahead = CallsAhead()
    ahead.decide(0.0, 0, MANY, 1)
    for i in range(1, 10):
        ahead.decide(i * 1e-5, 1, MANY, 1)
    assert ahead.limit == _MOST_AHEAD

    assert ahead.decide(1.0, 1, MANY, 1) == 1


def test_a_few_calls_that_were_short_but_slow_to_travel_change_nothing() -> None:
    ahead = CallsAhead()
    ahead.decide(0.0, 0, MANY, 1)
    for i in range(1, 10):
        ahead.decide(i * 1e-5, 1, MANY, 1)

    assert ahead.decide(9e-5 + 0.0005, 1, MANY, 1) == _MOST_AHEAD


def test_the_last_values_are_given_one_by_one() -> None:
    ahead = CallsAhead()
    ahead.limit = _MOST_AHEAD

    assert ahead.decide(0.0, 0, 19, 2) == 1
    assert ahead.decide(0.0, 0, 20, 2) == 10
    assert ahead.decide(0.0, 0, 400, 2) == 200


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 300), st.integers(0, 10_000), st.integers(1, 50)), max_size=50)
)
def test_the_limit_is_always_possible_and_leaves_work_for_the_others(
    steps: list[tuple[float, int, int, int]],
) -> None:
    ahead, now = CallsAhead(), 0.0
    for passed, finished, waiting, actors in steps:
        now += passed
        before = ahead.limit
        limit = ahead.decide(now, finished, waiting, actors)
        assert 1 <= limit <= _MOST_AHEAD
        assert limit == 1 or limit * actors <= waiting
        assert ahead.limit <= 2 * before
