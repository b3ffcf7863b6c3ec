"""What the random programs of references are about: objects that follow from their numbers, and who reads them.

The remote functions and the actor run in workers; they check each value that they meet against its description. Not
here: which programs there are, and what a program believes (``reference_program``).
"""

import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np

import trayray as ray
from trayray.worker.current import core_worker

#: For any answer of a healthy cluster on a slow machine.
SECONDS = 60.0


@attrs.frozen
class Thing:
    """What an object must contain."""

    number: int
    #: Bytes of its array; 0: the value is inline.
    size: int
    #: Whether the references inside are a dict's values; else a list's elements.
    mapping: bool
    parts: tuple["Thing", ...] = ()


class Carrying(Exception):
    """An exception with references inside."""

    def __init__(self, refs: list[Any]) -> None:
        super().__init__(refs)
        self.refs = refs


def value_of(thing: Thing, refs: Sequence[Any]) -> dict[str, Any]:
    """The value of ``thing``; ``refs`` are the references to its parts."""
    inside = dict(enumerate(refs)) if thing.mapping else list(refs)
    return {"number": thing.number, "payload": _payload(thing), "parts": inside}


def _payload(thing: Thing) -> Any:
    return np.arange(thing.size // 8) * 7 + thing.number if thing.size else f"small {thing.number}"


def references_in(value: dict[str, Any]) -> list[Any]:
    """The references to the parts of a value, in order."""
    inside = value["parts"]
    return list(inside.values()) if isinstance(inside, dict) else inside


def check(value: dict[str, Any], thing: Thing) -> None:
    """The value, and that of every reference below it, is what ``thing`` says."""
    check_alone(value, thing)
    for ref, part in zip(references_in(value), thing.parts, strict=True):
        check(ray.get(ref, timeout=SECONDS), part)


def check_alone(value: dict[str, Any], thing: Thing) -> None:
    """`check` without what the references inside refer to."""
    assert value["number"] == thing.number, (value["number"], thing)
    assert isinstance(value["parts"], dict) == thing.mapping, thing
    expected = _payload(thing)
    if thing.size:
        assert np.array_equal(value["payload"], expected), (value["payload"][:3], expected[:3])
    else:
        assert value["payload"] == expected


def check_all(refs: Sequence[Any], things: Sequence[Thing]) -> None:
    for ref, thing in zip(refs, things, strict=True):
        check(ray.get(ref, timeout=SECONDS), thing)


def build(thing: Thing) -> Any:
    """A reference to a fresh ``thing``, all of it put by the calling process."""
    return ray.put(value_of(thing, [build(part) for part in thing.parts]))


@ray.remote
def make(thing: Thing, refs: list[Any]) -> Any:
    """``thing`` around parts that exist."""
    return value_of(thing, refs)


@ray.remote
def make_parts(thing: Thing) -> Any:
    """``thing`` around parts that the worker puts and owns."""
    return value_of(thing, [build(part) for part in thing.parts])


@ray.remote
def make_several(things: Sequence[Thing], refs: list[Any]) -> Any:
    """One value for each reference; each has all of ``refs`` inside."""
    return tuple(value_of(thing, refs) for thing in things)


@ray.remote
def stream(things: Sequence[Thing], refs: list[Any]) -> Iterator[Any]:
    """The same one after the other."""
    for thing in things:
        yield value_of(thing, refs)


@ray.remote
def read(refs: list[Any], things: Sequence[Thing]) -> list[Any]:
    """Read them, check them and give them back."""
    check_all(refs, things)
    return refs


@ray.remote
def read_values(thing: Thing, value: Any, *, other: Thing, again: Any) -> int:
    """Top-level references, of which values arrive."""
    check(value, thing)
    check(again, other)
    return thing.number


@ray.remote
def read_pickled(pickled: bytes, thing: Thing) -> int:
    """A reference that came out of band."""
    check(ray.get(pickle.loads(pickled), timeout=SECONDS), thing)
    return thing.number


@ray.remote
def forward(refs: list[Any], things: Sequence[Thing], depth: int) -> list[Any]:
    """Through so many further processes, each of which waits for the next."""
    if depth:
        return ray.get(forward.remote(refs, things, depth - 1), timeout=SECONDS)
    check_all(refs, things)
    return refs


@ray.remote
def spawn(thing: Thing, refs: list[Any]) -> list[Any]:
    """A reference to the result of a child that the worker does not wait for."""
    return [make.remote(thing, refs)]


@ray.remote
def fail(refs: list[Any]) -> None:
    """Carries the references home in an exception."""
    raise Carrying(refs)


@ray.remote
def ask(handle_inside: dict[str, Any], key: int, things: Sequence[Thing]) -> list[Any]:
    """Have the actor whose handle came inside a value check what it keeps, and take it along."""
    keeper = handle_inside["keeper"]
    ray.get(keeper.read.remote(key, things), timeout=SECONDS)
    return ray.get(keeper.give.remote(key), timeout=SECONDS)


@ray.remote(max_retries=0)
def die_with(refs: list[Any], things: Sequence[Thing], keeper: Any, key: int, orphan: Thing) -> None:
    """Borrow, let ``keeper`` borrow what this process owns, and end by force."""
    check_all(refs, things)
    ray.get(keeper.hold.remote(key, [build(orphan)]), timeout=SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


@ray.remote
def books() -> dict[str, Any]:
    """What this worker still knows about references, apart from this call's own."""
    return books_of_this_process()


def books_of_this_process() -> dict[str, Any]:
    core = core_worker()
    assert core is not None
    return {
        "pid": os.getpid(),
        "lent": [ref.hex() for ref in core.references.lent.values()],
        "owned segments": len(core.objects.owned),
        "pending": len(core.tasks.pending) + len(core.actors.pending),
    }


class Keeping:
    """An actor that keeps references, and values with everything that these keep."""

    def __init__(self, refs: list[Any], things: Sequence[Thing]) -> None:
        check_all(refs, things)
        self.kept: dict[int, list[Any]] = {}

    def pid(self) -> int:
        return os.getpid()

    def hold(self, key: int, refs: list[Any]) -> None:
        self.kept[key] = refs

    def hold_values(self, key: int, refs: list[Any]) -> None:
        self.kept[key] = ray.get(refs, timeout=SECONDS)

    def read_values(self, key: int, things: Sequence[Thing]) -> None:
        for value, thing in zip(self.kept[key], things, strict=True):
            check(value, thing)

    def read(self, key: int, things: Sequence[Thing]) -> None:
        check_all(self.kept[key], things)

    def give(self, key: int) -> list[Any]:
        return self.kept[key]

    def put(self, key: int, thing: Thing) -> list[Any]:
        """The actor owns it."""
        self.kept[key] = [build(thing)]
        return self.kept[key]

    def pass_on(self, key: int, other: Any, others_key: int) -> None:
        ray.get(other.hold.remote(others_key, self.kept[key]), timeout=SECONDS)

    def forget(self, key: int) -> None:
        del self.kept[key]


class KeepingAsync(Keeping):
    """The same with an event loop."""

    async def hold_values(self, key: int, refs: list[Any]) -> None:
        self.kept[key] = [await ref for ref in refs]

    async def pass_on(self, key: int, other: Any, others_key: int) -> None:
        await other.hold.remote(others_key, self.kept[key])


@ray.remote(num_cpus=0)
class Keeper(Keeping):
    """One call at a time."""


@ray.remote(num_cpus=0, max_concurrency=3)
class ThreadedKeeper(Keeping):
    """Calls in threads."""


@ray.remote(num_cpus=0)
class AsyncKeeper(KeepingAsync):
    """Calls in an event loop."""


KEEPERS = (Keeper, ThreadedKeeper, AsyncKeeper)
