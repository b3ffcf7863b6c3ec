"""Programs that create, nest, pass, capture, drop and read references, and what each of their references must give.

A program is a list of steps; each is the name of an operation and three numbers, which choose among what there is at
that moment. So every part of a program is a program too, and one that fails can be made smaller. Not here: what runs in
workers (``reference_things``), which programs are run (``test_reference_programs``).
"""

import gc
import os
import pickle
import random
import signal
from collections.abc import Callable, Sequence
from typing import Any

import attrs

import trayray as ray
from tests.processes import reference_things as remote
from tests.processes.reference_things import SECONDS, Thing
from tests.processes.waiting import eventually
from trayray import cloudpickle
from trayray.exceptions import ActorDiedError, OwnerDiedError, WorkerCrashedError
from trayray.worker.current import core_worker

Step = tuple[str, int, int, int]

#: Ids of what the functions of all programs have captured: it stays as long as workers that may run them again.
captured: set[str] = set()
#: All that is dropped is gone after so long, on a slow machine.
SECONDS_UNTIL_EMPTY = 15.0

#: Sizes of arrays in bytes; 0: an inline value. 64 KiB is inline with an array, the others are stored.
_SIZES = (0, 0, 0, 64 * 1024, 160 * 1024, 400_000, 1024 * 1024)
#: What a program holds at once; more only makes it slower.
_MOST_HELD = 24
_MOST_KEEPERS = 4


@attrs.define(eq=False)
class Kept:
    """What an actor keeps under a key."""

    things: tuple[Thing, ...]
    #: Values and not references.
    loaded: bool = False


@attrs.define(eq=False)
class KeeperModel:
    """What the program knows of one actor."""

    handle: Any
    kept: dict[int, Kept] = attrs.field(factory=dict[int, Kept])
    #: It may have put objects that others still refer to.
    owns: bool = False
    #: Its calls run in the order of their submission.
    ordered: bool = False


class Program:
    """One run of a program, in the driver of a cluster of its own or shared."""

    def __init__(self) -> None:
        self._next = 0
        self.held: list[tuple[Any, Thing]] = []
        self.loaded: list[tuple[Any, Thing]] = []
        self.keepers: list[KeeperModel] = []
        self.calls: list[Any] = []
        #: Numbers of things whose owner was killed: reading them fails.
        self.lost: set[int] = set()
        #: Numbers of things that the driver has asked for, or that came with a value.
        self.seen: set[int] = set()
        #: Who owns a thing: the place in `_owners` of the actor that put it.
        self.owner: dict[int, KeeperModel] = {}
        #: Workers that run tasks own things.
        self._workers_own = False

    def run(self, steps: Sequence[Step]) -> None:
        """Carry the steps out.

        Raises:
            AssertionError: a value is not what it must be.
        """
        for step in steps:
            name, *numbers = step
            operation: Callable[[int, int, int], None] = getattr(self, name)
            operation(*numbers)

    # --- choosing ---

    def thing(self, size: int, mapping: int, parts: Sequence[Thing] = ()) -> Thing:
        self._next += 1
        return Thing(self._next, _SIZES[size % len(_SIZES)], bool(mapping % 2), tuple(parts))

    def some(self, a: int, b: int) -> list[tuple[Any, Thing]]:
        """One or two of what the driver holds whose values can be had, possibly twice the same; fewer if there are."""
        whole = [(ref, thing) for ref, thing in self.held if not self.is_lost(thing)]
        if not whole:
            return []
        found = [whole[a % len(whole)]]
        if b % 3:
            found.append(whole[b % len(whole)])
        return found

    def is_lost(self, thing: Thing) -> bool:
        return thing.number in self.lost or any(self.is_lost(part) for part in thing.parts)

    def hold(self, ref: Any, thing: Thing) -> None:
        self.held.append((ref, thing))
        if len(self.held) > _MOST_HELD:
            del self.held[0]

    def keeper(self, a: int) -> KeeperModel:
        if not self.keepers:
            self.start(a, 0, 0)
        return self.keepers[a % len(self.keepers)]

    def key_of(self, keeper: KeeperModel, b: int, *, loaded: bool | None = False) -> int | None:
        keys = [
            key
            for key, kept in keeper.kept.items()
            if loaded in (None, kept.loaded) and not any(map(self.is_lost, kept.things))
        ]
        return keys[b % len(keys)] if keys else None

    def ordered(self, keeper: KeeperModel, call: Any) -> None:
        """The actor's state follows this call: the next step may only rely on it if calls are in order."""
        if keeper.ordered:
            self.calls.append(call)
        else:
            ray.get(call, timeout=SECONDS)

    # --- creating ---

    def put(self, a: int, b: int, c: int) -> None:
        thing = self.thing(a, b)
        self.hold(remote.build(thing), thing)

    def put_around(self, a: int, b: int, c: int) -> None:
        some = self.some(a, b)
        thing = self.thing(c, b, [thing for _, thing in some])
        self.hold(ray.put(remote.value_of(thing, [ref for ref, _ in some])), thing)

    def make(self, a: int, b: int, c: int) -> None:
        some = self.some(a, b)
        thing = self.thing(c, a, [thing for _, thing in some])
        self.hold(remote.make.remote(thing, [ref for ref, _ in some]), thing)

    def workers_will_own(self) -> None:
        """From now on an actor may begin in a worker that owns what a task of its has put, and take it along."""
        self.await_constructors()
        self._workers_own = True

    def await_constructors(self) -> None:
        ray.get([keeper.handle.pid.remote() for keeper in self.keepers], timeout=SECONDS)

    def make_parts(self, a: int, b: int, c: int) -> None:
        self.workers_will_own()
        thing = self.thing(a, b, [self.thing(b, c, [self.thing(c, a)]), self.thing(c, b)])
        self.hold(remote.make_parts.remote(thing), thing)

    def make_several(self, a: int, b: int, c: int) -> None:
        some = self.some(a, b)
        things = [self.thing(size, c, [thing for _, thing in some]) for size in (a, b, c)]
        refs = remote.make_several.options(num_returns=3).remote(things, [ref for ref, _ in some])
        for place in range(3):
            if (c >> place) % 2:  # the others are dropped before they have come
                self.hold(refs[place], things[place])

    def stream(self, a: int, b: int, c: int) -> None:
        some = self.some(a, b)
        things = [self.thing(size, c, [thing for _, thing in some]) for size in (a, b, c)]
        values = remote.stream.options(num_returns="streaming").remote(things, [ref for ref, _ in some])
        for thing in things[: c % 4]:
            self.hold(next(values), thing)

    def spawn(self, a: int, b: int, c: int) -> None:
        self.workers_will_own()
        some = self.some(a, b)
        thing = self.thing(c, b, [thing for _, thing in some])
        outer = remote.spawn.remote(thing, [ref for ref, _ in some])
        if c % 4:
            (ref,) = ray.get(outer, timeout=SECONDS)
            self.hold(ref, thing)

    # --- passing on ---

    def pass_to_task(self, a: int, b: int, c: int) -> None:
        some = self.some(a, b)
        things = [thing for _, thing in some]
        answer = remote.read.remote([ref for ref, _ in some], things)
        self.take(answer, things, c)

    def pass_through(self, a: int, b: int, c: int) -> None:
        some = self.some(a, b)
        things = [thing for _, thing in some]
        self.take(remote.forward.remote([ref for ref, _ in some], things, 1 + c % 2), things, c)

    def take(self, answer: Any, things: Sequence[Thing], c: int) -> None:
        """Read an answer, a list of references: now, or only at the end."""
        if c % 3 == 0:
            self.calls.append(answer)
            return
        for ref, thing in zip(ray.get(answer, timeout=SECONDS), things, strict=True):
            self.hold(ref, thing)

    def pass_values(self, a: int, b: int, c: int) -> None:
        some = self.some(a, b)
        if some:
            (first, thing), (last, other) = some[0], some[-1]
            self.calls.append(remote.read_values.remote(thing, first, other=other, again=last))
            self.seen |= {thing.number, other.number}  # the driver asks for them, to send them along

    def pass_pickled(self, a: int, b: int, c: int) -> None:
        for ref, thing in self.some(a, 0):
            self.calls.append(remote.read_pickled.remote(cloudpickle.dumps(ref), thing))
            if c % 2:
                self.hold(pickle.loads(cloudpickle.dumps(ref)), thing)

    def capture(self, a: int, b: int, c: int) -> None:
        """What a function captures stays as long as workers that have run it may run it again."""
        thing = self.thing(0, c)
        ref = remote.build(thing)
        captured.add(ref.hex())

        @ray.remote
        def captures() -> list[Any]:
            remote.check(ray.get(ref, timeout=SECONDS), thing)
            return [ref]

        self.take(captures.remote(), [thing], c)

    def fail(self, a: int, b: int, c: int) -> None:
        some = self.some(a, b)
        failing = remote.fail.remote([ref for ref, _ in some])
        if c % 3 == 0:
            return  # nobody asks
        try:
            ray.get(failing, timeout=SECONDS)
        except remote.Carrying as error:
            found = list(error.refs)
            error.__traceback__ = None
        for ref, (_, thing) in zip(found, some, strict=True):
            self.hold(ref, thing)

    # --- actors ---

    def start(self, a: int, b: int, c: int) -> None:
        if len(self.keepers) >= _MOST_KEEPERS:
            return
        some = self.some(b, c)
        kind = remote.KEEPERS[a % len(remote.KEEPERS)]
        handle = kind.remote([ref for ref, _ in some], [thing for _, thing in some])
        self.keepers.append(KeeperModel(handle, owns=self._workers_own, ordered=kind is remote.Keeper))

    def keep(self, a: int, b: int, c: int) -> None:
        some = self.some(b, c)
        keeper = self.keeper(a)
        key = self._next = self._next + 1
        loaded = c % 3 == 0
        method = keeper.handle.hold_values if loaded else keeper.handle.hold
        self.ordered(keeper, method.remote(key, [ref for ref, _ in some]))
        keeper.kept[key] = Kept(tuple(thing for _, thing in some), loaded)

    def keep_own(self, a: int, b: int, c: int) -> None:
        keeper = self.keeper(a)
        key = self._next = self._next + 1
        thing = self.thing(b, c, [self.thing(c, a)])
        outer = keeper.handle.put.remote(key, thing)
        keeper.owns = True
        keeper.kept[key] = Kept((thing,))
        for each in (thing, *thing.parts):
            self.owner[each.number] = keeper
        (ref,) = ray.get(outer, timeout=SECONDS)
        if c % 4:
            self.hold(ref, thing)

    def give(self, a: int, b: int, c: int) -> None:
        keeper = self.keeper(a)
        key = self.key_of(keeper, b)
        if key is not None:
            self.take(keeper.handle.give.remote(key), keeper.kept[key].things, c)

    def read_kept(self, a: int, b: int, c: int) -> None:
        keeper = self.keeper(a)
        key = self.key_of(keeper, b, loaded=None)
        if key is not None:
            kept = keeper.kept[key]
            method = keeper.handle.read_values if kept.loaded else keeper.handle.read
            self.ordered(keeper, method.remote(key, kept.things))

    def ask(self, a: int, b: int, c: int) -> None:
        keeper = self.keeper(a)
        key = self.key_of(keeper, b)
        if key is not None:
            things = keeper.kept[key].things
            inside = {"keeper": keeper.handle}
            handles = ray.put(inside) if c % 2 else inside  # a value in the store or in the arguments
            self.settle_calls()  # the task is another caller: its calls have no order with the driver's
            self.take(remote.ask.remote(handles, key, things), things, 1)

    def pass_on(self, a: int, b: int, c: int) -> None:
        keeper, other = self.keeper(a), self.keeper(a + 1 + b % 2)
        key = self.key_of(keeper, c)
        if key is not None and keeper is not other:
            others_key = self._next = self._next + 1
            ray.get(keeper.handle.pass_on.remote(key, other.handle, others_key), timeout=SECONDS)
            other.kept[others_key] = Kept(keeper.kept[key].things)

    def forget(self, a: int, b: int, c: int) -> None:
        keeper = self.keeper(a)
        if keeper.kept:
            key = sorted(keeper.kept)[b % len(keeper.kept)]
            self.ordered(keeper, keeper.handle.forget.remote(key))
            del keeper.kept[key]

    def leave(self, a: int, b: int, c: int) -> None:
        """Drop the handle, or kill the actor: what it borrows goes with it. Not one that owns what others need."""
        keeper = self.keeper(a)
        if not keeper.owns:
            self.keepers.remove(keeper)
            if b % 2:
                self.settle_calls()
                ray.kill(keeper.handle)

    # --- the driver's own ---

    def get(self, a: int, b: int, c: int) -> None:
        for ref, thing in self.some(a, b):
            value = ray.get(ref, timeout=SECONDS)
            self.see(thing)
            remote.check(value, thing)
            if c % 2:
                self.loaded.append((value, thing))

    def see(self, thing: Thing) -> None:
        self.seen.add(thing.number)
        for part in thing.parts:
            self.see(part)

    def wait(self, a: int, b: int, c: int) -> None:
        whole = {ref: thing for ref, thing in self.held if not self.is_lost(thing)}
        refs = list(whole)
        if refs:
            count = 1 + a % len(refs)
            ready, others = ray.wait(refs, num_returns=count, timeout=SECONDS)
            assert len(ready) == count
            assert set(ready) | set(others) == set(refs)
            for thing in whole.values():  # all of them were asked for
                self.seen.add(thing.number)

    def read_loaded(self, a: int, b: int, c: int) -> None:
        if self.loaded:
            value, thing = self.loaded[a % len(self.loaded)]
            if self.is_lost(thing):
                remote.check_alone(value, thing)
            else:
                remote.check(value, thing)

    def drop(self, a: int, b: int, c: int) -> None:
        place = a % (len(self.held) + len(self.loaded) + 1)
        if place < len(self.held):
            del self.held[place]
        elif place < len(self.held) + len(self.loaded):
            del self.loaded[place - len(self.held)]

    # --- killing ---

    def kill_keeper(self, a: int, b: int, c: int) -> None:
        """``kill -9`` an actor: what it owned is lost to all, what it borrowed only to itself."""
        keeper = self.keeper(a)
        self.settle_calls()
        self.await_constructors()  # which may read what is about to be lost
        pid = ray.get(keeper.handle.pid.remote(), timeout=SECONDS)
        self.keepers.remove(keeper)
        call = keeper.handle.pid.remote() if b % 2 else None
        os.kill(pid, signal.SIGKILL)
        if call is not None:
            self.end_of(call)
        self.end_of(keeper.handle.pid.remote())
        self.lost |= {number for number, owner in self.owner.items() if owner is keeper}

    def end_of(self, call: Any) -> None:
        try:
            ray.get(call, timeout=SECONDS)
        except ActorDiedError:
            return

    def kill_task(self, a: int, b: int, c: int) -> None:
        """A task's worker ends while it borrows, and after it has lent what it owns to an actor."""
        keeper = self.keeper(a)
        some = self.some(b, c)
        orphan = self.thing(c, b)
        key = self._next = self._next + 1
        refs, things = [ref for ref, _ in some], [thing for _, thing in some]
        died = remote.die_with.remote(refs, things, keeper.handle, key, orphan)
        try:
            ray.get(died, timeout=SECONDS)
            raise AssertionError("a task that ended by force has a result")
        except WorkerCrashedError:
            self.lost.add(orphan.number)
        keeper.kept[key] = Kept((orphan,))
        try:
            ray.get(keeper.handle.read.remote(key, [orphan]), timeout=SECONDS)
            raise AssertionError("the keeper reads what nobody owns")
        except OwnerDiedError:
            pass

    def read_lost(self, a: int, b: int, c: int) -> None:
        """Reading what a killed process owned, and nobody here has read before, fails here and in a task."""
        lost = [(ref, thing) for ref, thing in self.held if thing.number in self.lost - self.seen]
        if not lost:
            return
        ref, thing = lost[a % len(lost)]
        for reading in (ref, remote.read.remote([ref], [thing])):
            try:
                ray.get(reading, timeout=SECONDS)
                raise AssertionError(f"{ref} has a value, though its owner died before anybody read it")
            except OwnerDiedError:
                pass

    # --- the end ---

    def settle_calls(self) -> None:
        """All calls that the driver has not waited for have ended well."""
        calls, self.calls = self.calls, []
        ray.get(calls, timeout=SECONDS)

    def drop_everything(self, rng: random.Random) -> None:
        """In any order."""
        self.settle_calls()
        parts: list[list[Any]] = [self.held, self.loaded, self.keepers]
        while any(parts):
            part = rng.choice([part for part in parts if part])
            del part[rng.randrange(len(part))]


def nothing_is_left(*, out_of_band: bool) -> None:
    """Wait until the store and the driver's books are empty, but for what functions have `captured`.

    With ``out_of_band`` all pickles of the driver's references are gone too, which only this function's caller knows.
    """
    core = core_worker()
    assert core is not None
    if out_of_band:
        core.references._out_of_band.clear()
    total = ray.cluster_resources()["object_store_memory"]

    def is_empty() -> bool:
        gc.collect()
        left.clear()
        books = remote.books_of_this_process()
        left["store"] = total - ray.available_resources().get("object_store_memory", 0)
        left["known"] = {ref.hex() for ref in core.references.known.values()} - captured
        left["lent"] = set(books["lent"]) - captured
        left["pending"], left["owned segments"] = books["pending"], books["owned segments"]
        return not any(left.values())

    left: dict[str, Any] = {}
    try:
        eventually(is_empty, SECONDS_UNTIL_EMPTY)
    except AssertionError:
        raise AssertionError(f"left: {left}") from None
