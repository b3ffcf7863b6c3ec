"""Who keeps an object alive, in real processes: references that move on, return, arrive late, and deaths amid that."""

import gc
import os
import signal

import pytest

from tests.processes.waiting import eventually
from trayray.exceptions import OwnerDiedError, ReferenceCountingAssertionError
from trayray.worker.current import core_worker


@pytest.fixture
def keeper(ray):
    @ray.remote(num_cpus=0)
    class Keeper:
        def __init__(self):
            self.refs = []

        def pid(self):
            return os.getpid()

        def keep(self, refs):
            self.refs = refs

        def give(self):
            refs, self.refs = self.refs, []
            return refs

        def put(self, value):
            return [ray.put(value)]

        def pass_to(self, other):
            return ray.get(other.keep.remote(self.refs))

        def read(self):
            return ray.get(self.refs, timeout=20)

        def lends(self):
            return len(core_worker().references.lent)

    return Keeper


def lent():
    gc.collect()
    return len(core_worker().references.lent)


def test_a_reference_that_returns_to_its_owner_is_not_freed_on_its_way(ray, keeper):
    """The borrower drops it as soon as it has sent it: its release may be there before the value."""
    actor = keeper.remote()
    for number in range(100):
        ray.get(actor.keep.remote([ray.put(number)]))
        gc.collect()
        (ref,) = ray.get(actor.give.remote())
        assert ray.get(ref, timeout=20) == number
    del ref
    eventually(lambda: lent() == 0)


def test_a_borrower_of_a_borrower_outlives_it(ray, keeper):
    first, second = keeper.remote(), keeper.remote()
    ray.get(first.keep.remote([ray.put("value")]))
    ray.get(first.pass_to.remote(second))
    pid = ray.get(first.pid.remote())
    os.kill(pid, signal.SIGKILL)
    del first
    eventually(lambda: lent() == 1)
    assert ray.get(second.read.remote()) == ["value"]
    ray.get(second.keep.remote([]))
    eventually(lambda: lent() == 0)


def test_what_a_dead_process_has_returned_is_kept_and_then_freed(ray, keeper):
    """The one that vouched for this process dies: its owner asks this process what has come."""
    owner, between = keeper.remote(), keeper.remote()
    ray.get(between.keep.remote(ray.get(owner.put.remote("value"))))
    refs = ray.get(between.give.remote())
    os.kill(ray.get(between.pid.remote()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(between.read.remote())
    assert ray.get(refs, timeout=20) == ["value"]
    del refs
    gc.collect()
    eventually(lambda: ray.get(owner.lends.remote()) == 0)


def test_the_owners_death_reaches_a_borrower_that_waits(ray, keeper):
    owner = keeper.remote()
    (ref,) = ray.get(owner.put.remote("value"))
    os.kill(ray.get(owner.pid.remote()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(owner.read.remote())
    with pytest.raises(OwnerDiedError):
        ray.get(ref, timeout=20)


def test_an_object_that_its_owner_has_deleted_says_so(ray, keeper):
    """A reference that was made of its parts: nobody was told that it exists."""
    actor = keeper.remote()
    (ref,) = ray.get(actor.put.remote("value"))
    object_id, owner = ref.binary(), ref.owner_address()
    del ref
    gc.collect()
    eventually(lambda: ray.get(actor.lends.remote()) == 0)
    forged = core_worker().references.adopt(object_id, owner)
    with pytest.raises(ReferenceCountingAssertionError, match="has been deleted"):
        ray.get(forged, timeout=20)
