"""`as_completed` and `map_unordered` with real tasks."""

import gc
import itertools
import weakref

import pytest

import trayray
from trayray.util import as_completed, map_unordered


@trayray.remote
def identity(x):
    return x


@trayray.remote
def fails(x):
    raise KeyError(x)


@trayray.remote(num_cpus=0)
class Gate:
    """Lets calls go on, in an order of the test's choice, and counts those that wait."""

    def __init__(self):
        self.opened = set()
        self.came = []

    async def open(self, number):
        self.opened.add(number)

    async def wait(self, number):
        import trio

        self.came.append(number)
        while number not in self.opened:
            await trio.sleep(0.005)
        return number

    async def arrivals(self):
        return list(self.came)


@pytest.fixture
def gate(ray):
    gate = Gate.remote()
    yield gate
    ray.kill(gate)


def test_values_come_as_they_finish(ray, gate):
    values = as_completed([gate.wait.remote(number) for number in range(3)])
    for number in (2, 0, 1):
        gate.open.remote(number)
        assert next(values) == number
    assert list(values) == []


def test_every_value_comes_once(ray):
    refs = [identity.remote(i) for i in range(50)]
    assert sorted(as_completed(refs, chunk_size=3, timeout=0.1, fetch_local=False)) == list(range(50))
    assert sorted(as_completed(tuple(refs))) == list(range(50))
    assert list(as_completed([])) == []


def test_the_same_reference_twice(ray, gate):
    ref = gate.wait.remote(1)
    values = as_completed([ref, ref])
    gate.open.remote(1)
    assert list(values) == [1, 1]


def test_references_instead_of_values(ray):
    good, bad = identity.remote(1), fails.remote("k")
    refs = list(as_completed([good, bad], yield_obj_refs=True))
    assert set(refs) == {good, bad}
    with pytest.raises(KeyError):
        ray.get(bad)


def test_an_error_comes_when_it_is_its_turn(ray, gate):
    values = as_completed([fails.remote("k"), gate.wait.remote(0)])
    with pytest.raises(KeyError):
        next(values)
    gate.open.remote(0)


def test_values_are_freed_once_they_were_taken(ray, gate):
    values = as_completed([identity.remote(1), gate.wait.remote(0)], yield_obj_refs=True)
    taken = weakref.ref(next(values))
    gate.open.remote(0)
    last = next(values)
    gc.collect()
    assert taken() is None
    assert ray.get(last) == 0


def test_giving_up_leaves_nothing_behind(ray, gate):
    ref = gate.wait.remote(0)
    values = as_completed([identity.remote(1), ref])
    assert next(values) == 1
    values.close()
    assert ref._waiters == []
    gate.open.remote(0)
    assert ray.get(ref) == 0


@pytest.mark.parametrize(
    ("error", "options"),
    [(ValueError, {"chunk_size": 0}), (ValueError, {"num_returns": 1}), (TypeError, {"fetch": True})],
)
def test_impossible_options(ray, error, options):
    with pytest.raises(error):
        as_completed([identity.remote(1)], **options)
    with pytest.raises(error):
        map_unordered(identity, [1], **options)


def test_what_is_no_reference(ray):
    with pytest.raises(TypeError, match=r"references of results.*not 1"):
        as_completed([1])


def test_inside_of_a_task(ray):
    @ray.remote
    def total(n):
        return sum(map_unordered(identity, range(n), backpressure_size=2))

    assert ray.get(total.remote(10)) == 45


def test_all_items_are_mapped(ray):
    assert sorted(map_unordered(identity, range(300))) == list(range(300))
    assert sorted(map_unordered(identity.options(num_cpus=0.5), range(5), backpressure_size=None)) == list(range(5))
    assert list(map_unordered(identity, [])) == []


def test_items_may_be_endless(ray):
    values = map_unordered(identity, itertools.count(), backpressure_size=4)
    found = list(itertools.islice(values, 30))
    values.close()
    assert len(set(found)) == 30
    assert set(found) <= set(
        range(30 + 4)
    )  # at most four are under way: one of the first may be late, none is far ahead


def test_so_many_calls_are_under_way(ray, gate):
    values = map_unordered(gate.wait, range(10), backpressure_size=3)
    for number in (2, 1, 4, 3):  # each call that ends makes room for one more
        gate.open.remote(number)
        assert next(values) == number
    # Three are under way before each result is taken: 0 to 2 before the first, up to 5 before the fourth.
    assert sorted(ray.get(gate.arrivals.remote())) == list(range(6))
    values.close()
    for number in range(10):
        gate.open.remote(number)


def test_nothing_is_called_before_a_result_is_asked_for(ray, gate):
    values = map_unordered(gate.wait, [0])
    assert ray.get(gate.arrivals.remote()) == []
    gate.open.remote(0)
    assert list(values) == [0]


def test_references_of_mapped_calls(ray):
    refs = list(map_unordered(fails, "ab", yield_obj_refs=True))
    assert len(refs) == 2
    with pytest.raises(KeyError):
        ray.get(refs[0])


def test_what_cannot_be_mapped(ray):
    with pytest.raises(TypeError, match=r"have \.remote, not <built-in function len>"):
        map_unordered(len, [""])
    with pytest.raises(ValueError, match="backpressure_size must be positive"):
        map_unordered(identity, [1], backpressure_size=0)

    @ray.remote(num_returns=2)
    def pair(x):
        return x, x

    with pytest.raises(TypeError, match="one return"):
        list(map_unordered(pair, [1]))
