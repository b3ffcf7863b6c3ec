"""`progress` with real tasks. What it draws: tests/util/test_progress_bar.py."""

import gc
import io
import sys
import weakref

import numpy as np
import pytest

import trayray
from trayray.util import progress
from trayray.worker.current import core_worker


@trayray.remote
def identity(x):
    return x


@trayray.remote
def fails(x):
    raise KeyError(x)


@trayray.remote(num_cpus=0)
class Gate:
    """Lets tasks go on, in an order of the test's choice."""

    def __init__(self):
        self.opened = set()

    async def open(self, number):
        self.opened.add(number)

    async def wait(self, number):
        import trio

        while number not in self.opened:
            await trio.sleep(0.005)
        return number


@pytest.fixture
def shown():
    return io.StringIO()


def test_all_values_and_the_last_line(ray, shown):
    values = progress([identity.remote(i) for i in range(50)], desc="numbers", file=shown)
    assert sorted(values) == list(range(50))
    assert shown.getvalue().startswith("numbers: 50/50, ")
    assert shown.getvalue().count("\n") == 1


def test_values_come_as_they_finish(ray, shown):
    gate = Gate.remote()
    refs = [gate.wait.remote(number) for number in range(3)]
    values = progress(refs, file=shown)
    for number in (2, 0, 1):
        gate.open.remote(number)
        assert next(values) == number
    assert list(values) == []
    ray.kill(gate)


def test_a_generator_of_calls(ray, shown):
    assert sorted(progress((identity.remote(i) for i in range(5)), file=shown)) == list(range(5))
    assert "5/5" in shown.getvalue()


def test_a_stream_is_followed_while_it_flows(ray, shown):
    gate = Gate.remote()

    @ray.remote(num_returns="streaming")
    def stream():
        for number in range(3):
            yield ray.get(gate.wait.remote(number))

    values = progress(stream.remote(), total=3, file=shown)
    for number in range(3):
        gate.open.remote(number)
        assert next(values) == number
    assert list(values) == []
    assert shown.getvalue().startswith("3/3, ")
    assert list(progress(stream.remote(), file=shown)) == [0, 1, 2]
    assert shown.getvalue().splitlines()[1].startswith("3 done, ")
    ray.kill(gate)


def test_no_references_and_the_same_twice(ray, shown):
    assert list(progress([], file=shown)) == []
    ref = ray.put(7)
    assert list(progress([ref, identity.remote(1), ref], yield_refs=False, file=shown)).count(7) == 2


def test_an_error_comes_when_its_turn_does(ray, shown):
    values = progress([fails.remote("key")], file=shown)
    with pytest.raises(KeyError, match="key"):
        next(values)
    assert "1/1" in shown.getvalue()
    assert "1 failed" in shown.getvalue()


def test_references_instead_of_values(ray, shown):
    refs = [fails.remote("key"), identity.remote(3)]
    finished = list(progress(refs, yield_refs=True, file=shown))
    assert set(finished) == set(refs)
    assert "2/2" in shown.getvalue()
    assert "1 failed" in shown.getvalue()


def test_a_loop_that_is_left_leaves_nothing_behind(ray, shown):
    gate = Gate.remote()
    refs = [identity.remote(1), gate.wait.remote(0)]
    for value in progress(refs, file=shown):
        assert value == 1
        break
    gc.collect()
    assert refs[1]._waiters in (None, [])
    assert "1/2" in shown.getvalue(), "the display is closed"
    ray.get(gate.open.remote(0))
    assert ray.get(refs[1]) == 0
    ray.kill(gate)


def test_values_that_were_taken_can_be_freed(ray, shown):
    values = progress((identity.remote(np.zeros(300_000)) for _ in range(8)), yield_refs=True, file=shown)
    seen = []
    for ref in values:
        seen.append(weakref.ref(ref))
        del ref
    assert len(seen) == 8
    gc.collect()
    assert not any(ref() is not None for ref in seen)


def test_in_a_task_it_lends_the_cpu(ray):
    @ray.remote
    def inside(depth):
        if depth == 0:
            return 1
        return sum(progress([inside.remote(depth - 1) for _ in range(2)], disable=True))

    assert ray.get(inside.remote(3), timeout=60) == 8


def test_nothing_is_shown_when_disabled_and_standard_error_is_where_it_goes(ray, capsys):
    assert list(progress([identity.remote(1)], disable=True)) == [1]
    assert capsys.readouterr() == ("", "")
    assert list(progress([identity.remote(1)], desc="one")) == [1]
    printed = capsys.readouterr()
    assert (printed.out, printed.err.startswith("one: 1/1, ")) == ("", True)


def test_what_is_no_reference(ray):
    with pytest.raises(TypeError, match=r"progress\(\) takes references of results, such as f.remote\(\) gives, not 3"):
        progress([3])
    assert core_worker() is not None
    assert "IPython" not in sys.modules
