"""``as_completed`` and ``map_unordered``: results in the order in which they come.

Not here: waiting (``worker.arrivals``), the same with a bar (``progress_bar``), shared actors (``actor_pool``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, overload

from trayray.api.blocking import get
from trayray.api.session import session
from trayray.worker.arrivals import Arrivals
from trayray.worker.current import core_worker
from trayray.worker.references import ObjectRef

if TYPE_CHECKING:
    from trayray.api.shapes.calls import TakesOne

T = TypeVar("T")
V = TypeVar("V")


class WaitOptions(TypedDict, total=False):
    """Keywords of ``wait`` that programs for Ray hand over. Nothing depends on them: results come one by one."""

    timeout: float | None
    fetch_local: bool


@overload
def as_completed(
    refs: Iterable[ObjectRef[T]],
    *,
    chunk_size: int = 10,
    yield_obj_refs: Literal[False] = False,
    **kwargs: Unpack[WaitOptions],
) -> Iterator[T]: ...
@overload
def as_completed(
    refs: Iterable[ObjectRef[T]],
    *,
    chunk_size: int = 10,
    yield_obj_refs: Literal[True],
    **kwargs: Unpack[WaitOptions],
) -> Iterator[ObjectRef[T]]: ...
def as_completed(
    refs: Iterable[ObjectRef[Any]], *, chunk_size: int = 10, yield_obj_refs: bool = False, **kwargs: Any
) -> Iterator[Any]:
    """The values of ``refs`` as they come, the first that is there first.

    Args:
        refs: references. A generator that makes calls is run to its end first, so that all of them are under way.
        chunk_size: as in Ray, where so many values come at once; here each comes as soon as it is there.
        yield_obj_refs: give references that have values or errors, not the values; then an error does not end it.
        kwargs: ``timeout`` and ``fetch_local`` of ``wait``, without effect.

    Raises:
        TypeError: not references, or unknown keywords.
        ValueError: an impossible number.
        Exception: what a task raised, when its turn comes.
    """
    _check(chunk_size, kwargs)
    listed = list(refs)
    for ref in listed:
        _check_ref(ref, "as_completed() takes references of results, such as f.remote() gives")
    return _taken(listed, yield_obj_refs)


@overload
def map_unordered(
    fn: TakesOne[V, ObjectRef[T]],
    items: Iterable[V],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: Literal[False] = False,
    **kwargs: Unpack[WaitOptions],
) -> Iterator[T]: ...
@overload
def map_unordered(
    fn: TakesOne[V, ObjectRef[T]],
    items: Iterable[V],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: Literal[True],
    **kwargs: Unpack[WaitOptions],
) -> Iterator[ObjectRef[T]]: ...
def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """The results of ``fn.remote(item)`` for all items as they come; calls are made while results are taken.

    Args:
        fn: a remote function or an actor's method with one return.
        items: may be endless.
        backpressure_size: so many calls are under way at most, those whose result was not taken included; None for
            all at once.
        chunk_size, yield_obj_refs, kwargs: as of `as_completed`.

    Raises:
        TypeError: ``fn`` is not remote, or its calls have several returns; unknown keywords.
        ValueError: an impossible number.
        Exception: what a task raised, when its turn comes.
    """
    _check(chunk_size, kwargs)
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError(f"backpressure_size must be positive, or None for no limit, not {backpressure_size}")
    if not hasattr(fn, "remote"):
        raise TypeError(f"map_unordered() takes a remote function or an actor's method, which have .remote, not {fn!r}")
    return _mapped(fn, items, backpressure_size, yield_obj_refs)


def _taken(refs: list[ObjectRef[Any]], yield_refs: bool) -> Iterator[Any]:
    count = len(refs)
    arrivals = Arrivals(core_worker() or session.core(), refs)
    del refs  # what was taken can be freed
    try:
        for _ in range(count):
            yield _next(arrivals, yield_refs)
    finally:
        arrivals.close()


def _mapped(fn: Any, items: Iterable[Any], limit: int | None, yield_refs: bool) -> Iterator[Any]:
    arrivals = Arrivals(core_worker() or session.core(), [])
    under_way = 0
    try:
        for item in items:
            ref = fn.remote(item)
            _check_ref(ref, "map_unordered() takes functions and methods whose calls have one return")
            arrivals.add(ref)
            under_way += 1
            if under_way == limit:
                yield _next(arrivals, yield_refs)
                under_way -= 1
        for _ in range(under_way):
            yield _next(arrivals, yield_refs)
    finally:
        arrivals.close()


def _next(arrivals: Arrivals, yield_refs: bool) -> Any:
    ref = arrivals.take(None)
    return ref if yield_refs or ref is None else get(ref)


def _check(chunk_size: int, wait_options: dict[str, Any]) -> None:
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, not {chunk_size}")
    if "num_returns" in wait_options:
        raise ValueError("num_returns cannot be given here: results come one by one. Ray's name for it is chunk_size")
    unknown = sorted(set(wait_options) - WaitOptions.__optional_keys__)
    if unknown:
        raise TypeError(
            f"unexpected keywords: {', '.join(unknown)}; known are timeout and fetch_local, those of wait()"
        )


def _check_ref(value: object, expected: str) -> None:
    if type(value) is not ObjectRef:
        raise TypeError(f"{expected}, not {value!r}")


__all__ = ("as_completed", "map_unordered")
