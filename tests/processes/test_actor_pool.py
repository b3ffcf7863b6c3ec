"""`util.ActorPool` with real actors."""

import asyncio
import os

import pytest

from trayray.exceptions import ActorDiedError
from trayray.util import ActorPool


class Worker:
    def __init__(self):
        self.seen = []

    def double(self, x):
        self.seen.append(x)
        if x < 0:
            raise ValueError(f"negative: {x}")
        return 2 * x

    def pair(self, x):
        return x, -x

    def after(self, x, gate):
        import trayray

        trayray.get(gate.wait.remote())
        return x

    def die(self, _):
        os._exit(1)

    def calls(self):
        return self.seen


class Gate:
    """Open for nobody until it is opened."""

    def __init__(self):
        self.event = asyncio.Event()

    async def wait(self):
        await self.event.wait()

    async def open(self):
        self.event.set()


class Alone:
    """Notes how many of its calls ran at the same time."""

    def __init__(self):
        self.running = self.most = 0

    async def step(self, x):
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return x

    async def most_at_once(self):
        return self.most


def double(actor, x):
    return actor.double.remote(x)


@pytest.fixture
def create(ray):
    worker_class = ray.remote(num_cpus=0)(Worker)
    return lambda count: [worker_class.remote() for _ in range(count)]


@pytest.fixture
def gate(ray):
    return ray.remote(num_cpus=0)(Gate).remote()


# ---------------------------------------------------------------- series


def test_map_makes_each_call_once_and_keeps_the_order(ray, create):
    actors = create(2)
    pool = ActorPool(actors)

    assert list(pool.map(double, range(3000))) == [2 * i for i in range(3000)]

    seen = ray.get([actor.calls.remote() for actor in actors])
    assert sorted(seen[0] + seen[1]) == list(range(3000))
    assert seen[0] == sorted(seen[0])
    assert min(map(len, seen)) > 300
    assert pool.has_free()
    assert not pool.has_next()


def test_map_starts_before_the_first_result_is_asked_for(ray, create):
    (actor,) = create(1)
    ActorPool([actor]).map(double, [1, 2])

    assert ray.get(actor.calls.remote()) == [1]


def test_map_raises_an_error_in_its_place_and_the_others_can_be_had(create):
    pool = ActorPool(create(2))
    results = pool.map(double, [1, -2, 3, 4])

    assert next(results) == 2
    with pytest.raises(ValueError, match="negative: -2"):
        next(results)
    assert [pool.get_next(), pool.get_next()] == [6, 8]
    assert not pool.has_next()
    assert pool.has_free()


def test_a_further_map_ends_the_first_one(create):
    pool = ActorPool(create(1))
    first = pool.map(double, [1, 2, 3])
    assert next(first) == 2

    second = pool.map(double, [4, 5])

    with pytest.raises(ValueError, match="next map"):
        next(first)
    assert list(second) == [8, 10]


def test_what_the_values_raise_leaves_the_pool_as_it_was(create):
    def values():
        yield 1
        raise KeyError("no more")

    pool = ActorPool(create(1))
    pool.submit(double, 7)

    with pytest.raises(KeyError, match="no more"):
        pool.map(double, values())
    assert pool.get_next() == 14


def test_asynchronous_actors_have_one_call_at_a_time(ray):
    actor = ray.remote(num_cpus=0)(Alone).remote()

    assert list(ActorPool([actor]).map(lambda a, x: a.step.remote(x), range(300))) == list(range(300))

    assert ray.get(actor.most_at_once.remote()) == 1


def test_map_unordered_does_not_wait_for_the_slow(ray, create, gate):
    pool = ActorPool(create(2))
    results = pool.map_unordered(
        lambda a, x: a.after.remote(x, gate) if x == 0 else a.double.remote(x), list(range(200))
    )

    assert sorted(next(results) for _ in range(199)) == [2 * x for x in range(1, 200)]
    ray.get(gate.open.remote())
    assert list(results) == [0]


def test_calls_with_several_returns(create):
    pool = ActorPool(create(2))

    assert list(pool.map(lambda a, x: a.pair.options(num_returns=2).remote(x), [1, 2, 3])) == [
        [1, -1],
        [2, -2],
        [3, -3],
    ]
    pool.submit(lambda a, x: a.pair.options(num_returns=2).remote(x), 4)
    assert pool.get_next_unordered(timeout=30) == [4, -4]


# ---------------------------------------------------------------- one by one


def test_get_next_is_refused_after_a_result_was_passed_over(ray, create, gate):
    pool = ActorPool(create(2))
    pool.submit(lambda a, x: a.after.remote(x, gate), 1)
    pool.submit(double, 2)

    assert pool.get_next_unordered() == 4
    with pytest.raises(ValueError, match="get_next_unordered"):
        pool.get_next()
    ray.get(gate.open.remote())
    assert pool.get_next_unordered() == 1

    pool.submit(double, 3)
    assert pool.get_next() == 6


@pytest.mark.parametrize("method", ["get_next", "get_next_unordered"])
def test_a_result_that_is_late_can_be_asked_for_again_or_given_up(ray, create, gate, method):
    pool = ActorPool(create(1))
    take = getattr(pool, method)
    pool.submit(lambda a, x: a.after.remote(x, gate), 1)

    with pytest.raises(TimeoutError, match="ask again"):
        take(timeout=0.01)
    assert not pool.has_free()
    with pytest.raises(TimeoutError, match="given up"):
        take(timeout=0.01, ignore_if_timedout=True)
    assert pool.has_free()
    assert not pool.has_next()

    pool.submit(double, 2)
    ray.get(gate.open.remote())
    assert take() == 4


def test_what_the_function_raises(create):
    def broken(actor, x):
        raise LookupError(f"for {x}")

    pool = ActorPool(create(1))
    with pytest.raises(LookupError, match="for 1"):  # an actor is free: at once
        pool.submit(broken, 1)
    assert pool.has_free()

    pool.submit(double, 2)
    pool.submit(broken, 3)  # later, where its result would be
    pool.submit(double, 4)
    assert pool.get_next() == 4
    with pytest.raises(LookupError, match="for 3"):
        pool.get_next(timeout=10)
    assert pool.get_next_unordered() == 8


def test_a_function_that_makes_no_call_is_a_type_error(create):
    pool = ActorPool(create(1))

    with pytest.raises(TypeError, match=r"actor\.method\.remote"):
        pool.submit(lambda a, x: x, 1)
    with pytest.raises(TypeError, match="it returned"):
        pool.submit(lambda a, x: [], 1)
    assert pool.has_free()


# ---------------------------------------------------------------- actors


def test_a_dead_actor_leaves_the_pool(create):
    pool = ActorPool(create(2))
    pool.submit(lambda a, x: a.die.remote(x), 0)
    for i in range(1, 6):
        pool.submit(double, i)

    with pytest.raises(ActorDiedError):
        pool.get_next()
    assert [pool.get_next() for _ in range(5)] == [2, 4, 6, 8, 10]
    assert pool.pop_idle() is not None
    assert pool.pop_idle() is None


def test_values_fail_one_by_one_when_no_actor_is_left(create):
    pool = ActorPool(create(1))
    pool.submit(lambda a, x: a.die.remote(x), 0)
    pool.submit(double, 1)
    pool.submit(double, 2)

    with pytest.raises(ActorDiedError, match="exit code 1"):
        pool.get_next()
    with pytest.raises(ActorDiedError, match="no actor left"):
        pool.get_next()
    pool.push(create(1)[0])
    assert pool.get_next() == 4
    assert not pool.has_next()


def test_a_new_actor_takes_over_what_waits(ray, create, gate):
    first, second = create(2)
    pool = ActorPool([first])
    pool.submit(lambda a, x: a.after.remote(x, gate), 1)
    pool.submit(double, 2)

    pool.push(second)

    assert pool.get_next_unordered(timeout=30) == 4
    ray.get(gate.open.remote())
    assert pool.get_next_unordered(timeout=30) == 1


def test_only_handles_of_actors_and_each_once(create):
    (actor,) = create(1)

    with pytest.raises(ValueError, match="already belongs"):
        ActorPool([actor, actor])
    with pytest.raises(TypeError, match="not int"):
        ActorPool([1])
    with pytest.raises(TypeError, match="handles of actors"):
        ActorPool([actor]).push(Worker)


def test_its_text_says_how_it_stands(create):
    pool = ActorPool(create(2))
    for i in range(3):
        pool.submit(double, i)

    assert repr(pool) == "<ActorPool: 2 actors, 0 idle | 2 results to take, 1 values waiting>"
