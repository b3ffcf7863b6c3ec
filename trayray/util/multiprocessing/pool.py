"""``Pool``: the interface of ``multiprocessing.Pool``, on processes of a cluster, which may be on any of its machines.

Functions and arguments are pickled by cloudpickle, so lambdas and closures will do. Not here: who gets which chunk
(``dispatch``), results (``results``).
"""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from multiprocessing import TimeoutError as TimeoutError  # noqa: A004 -- found here too in multiprocessing and in Ray
from typing import Any, NoReturn, Self, TypeVar

from trayray.api.blocking import cluster_resources, put
from trayray.api.decorators import remote
from trayray.api.initialize import init, is_initialized
from trayray.util.multiprocessing.dispatch import Chunk, Dispatcher, PoolActor, gone
from trayray.util.multiprocessing.results import (
    AsyncResult,
    IMapIterator,
    MapResult,
    OrderedIMapIterator,
    UnorderedIMapIterator,
)

S = TypeVar("S")
T = TypeVar("T")

#: ``map`` makes so many chunks for each process when nothing is said: few messages, and yet an even end.
_CHUNKS_PER_PROCESS = 4


class Pool:
    """A pool of processes in the cluster.

    Starts or joins a cluster if this process belongs to none. Leaving it as a context manager terminates it, and so
    does the end of the program, or of the last reference to it and its results.

    Args:
        processes: how many; as many as the cluster has CPUs by default, and not more.
        initializer, initargs: each process calls ``initializer(*initargs)`` before its first work.
        maxtasksperchild: a process is replaced by a fresh one after so many chunks of work.
        context: without effect; for programs that give one to ``multiprocessing``.
        ray_address: of the cluster to join, as for ``init``, if this process belongs to none.
        ray_remote_args: options of the processes, which are actors: ``num_cpus``, ``resources``, ``runtime_env`` and
            so on. They need no CPU by default.

    Raises:
        ValueError: an impossible number, or more processes than CPUs.
        TypeError: something of another type.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: object = None,
        ray_address: str | None = None,
        ray_remote_args: Mapping[str, Any] | None = None,
    ) -> None:
        _check("processes", processes)
        _check("maxtasksperchild", maxtasksperchild)
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, not {type(initializer).__name__}")
        if context is not None:
            warnings.warn("the 'context' of a Pool has no effect: its processes are actors", stacklevel=2)
        self._processes = _connect(processes, ray_address)
        options = {"num_cpus": 0, **(ray_remote_args or {})}
        actor_class: Any = remote(PoolActor)
        arguments = initializer, tuple(initargs or ())
        self._state = "RUN"
        self._iterators: weakref.WeakSet[IMapIterator[Any]] = weakref.WeakSet()
        self._dispatcher = dispatcher = Dispatcher(
            self._processes, lambda: actor_class.options(**options).remote(*arguments), maxtasksperchild
        )
        # At the program's end the dispatcher sees to itself.
        weakref.finalize(self, dispatcher.terminate).atexit = False

    # --- one call ---

    def apply(
        self,
        func: Callable[..., T],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
    ) -> T:
        """``func(*args, **kwargs)`` in one of the processes; waits for the result.

        ``kwds`` is what the standard library calls ``kwargs``.
        """
        return self.apply_async(func, args, kwargs, kwds=kwds).get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        kwds: Mapping[str, Any] | None = None,
    ) -> AsyncResult[T]:
        """As `apply`, without waiting. ``callback`` gets the result, ``error_callback`` the exception.

        Raises:
            ValueError: the pool was closed or terminated.
        """
        self._check_running()
        result = AsyncResult[T](self, 1, callback, error_callback)
        self.send([Chunk(result, 0, "call", (func, tuple(args or ()), {**(kwargs or {}), **(kwds or {})}))])
        return result

    # --- a list of results ---

    def map(self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int | None = None) -> list[T]:
        """``func`` of each item, in their order.

        Args:
            chunksize: so many items go to a process at once.

        Raises:
            Exception: what ``func`` raised, for the first item if for several; everything else has been done too.
        """
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """As `map`, without waiting. ``callback`` gets the list, ``error_callback`` the first exception."""
        return self._map_async(func, iterable, chunksize, callback, error_callback, unpack=False)

    def starmap(
        self, func: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[T]:
        """As `map`, with each item unpacked into arguments."""
        return self.starmap_async(func, iterable, chunksize=chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        chunksize: int | None = None,
    ) -> AsyncResult[list[T]]:
        """As `map_async`, with each item unpacked into arguments. As in Ray, ``chunksize`` comes last."""
        return self._map_async(func, iterable, chunksize, callback, error_callback, unpack=True)

    def _map_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callable[[list[T]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        *,
        unpack: bool,
    ) -> AsyncResult[list[T]]:
        self._check_running()
        _check("chunksize", chunksize)
        items = list(iterable)
        size = chunksize or max(1, -(-len(items) // (_CHUNKS_PER_PROCESS * self._processes)))
        chunks = list(_chunks(iter(items), size))
        result = MapResult[T](self, len(chunks), callback, error_callback)
        if chunks:
            function = put(func)  # pickled once
            self.send([Chunk(result, i, "run", (function, chunk, unpack)) for i, chunk in enumerate(chunks)])
        else:
            self._dispatcher.call_soon(result.settle)
        return result

    # --- results one by one ---

    def imap(self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int = 1) -> IMapIterator[T]:
        """An iterator of the results, in order. ``iterable`` is read as they are taken, so it may be endless."""
        return self._imap(OrderedIMapIterator[T], func, iterable, chunksize)

    def imap_unordered(self, func: Callable[[S], T], iterable: Iterable[S], chunksize: int = 1) -> IMapIterator[T]:
        """As `imap`, each result as soon as it is there."""
        return self._imap(UnorderedIMapIterator[T], func, iterable, chunksize)

    def _imap(
        self, kind: Callable[..., IMapIterator[T]], func: Callable[[S], T], iterable: Iterable[S], chunksize: int
    ) -> IMapIterator[T]:
        self._check_running()
        _check("chunksize", chunksize)
        iterator = kind(self, put(func), _chunks(iter(iterable), chunksize), 2 * self._processes)
        self._iterators.add(iterator)
        iterator.read_input()
        return iterator

    # --- for results ---

    @property
    def is_callback_running(self) -> bool:
        """Whether the calling thread is the pool's own, in which callbacks run."""
        return self._dispatcher.is_own_thread

    def send(self, chunks: list[Chunk]) -> None:
        """Have chunks done by the processes."""
        self._dispatcher.submit(chunks)

    # --- the end ---

    def close(self) -> None:
        """Take no more work; processes end once they have done what there is.

        Iterators of `imap` that are not finished read the rest of their input now.
        """
        if self._state == "RUN":
            self._state = "CLOSE"
            for iterator in list(self._iterators):
                iterator.read_input(to_its_end=True)
            self._dispatcher.close()

    def terminate(self) -> None:
        """Kill the processes now; what is not done fails with a RuntimeError."""
        self._state = "TERMINATE"
        self._dispatcher.terminate()

    def join(self) -> None:
        """Wait until the processes have ended, after `close` or `terminate`.

        Raises:
            ValueError: neither was called.
        """
        if self._state == "RUN":
            raise ValueError("Pool is still running: call close() or terminate() first")
        self._dispatcher.join()

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        return f"<Pool state={self._state} processes={self._processes}>"

    def _check_running(self) -> None:
        if self._state != "RUN":
            raise ValueError("Pool not running: it was closed or terminated")
        if not self._dispatcher.is_connected:
            raise gone()


def _check(name: str, number: int | None) -> None:
    if number is None:
        return
    if not isinstance(number, int):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
        raise TypeError(f"{name} must be an int, not {type(number).__name__}")
    if number < 1:
        raise ValueError(f"{name} must be at least 1, not {number}")


def _connect(processes: int | None, address: str | None) -> int:
    """See to it that this process belongs to a cluster; the number of processes."""
    if not is_initialized():
        named = address or os.environ.get("TRAYRAY_ADDRESS") or os.environ.get("RAY_ADDRESS")
        if processes is None or named not in (None, "local"):
            init(address=named)
        else:
            try:
                init(address=named, num_cpus=processes)
            except ValueError:  # there is a cluster already, which has the CPUs that it has
                init(address=named)
    cpus = int(cluster_resources().get("CPU", 0))
    if processes is None:
        processes = cpus
    if processes < 1 or processes > cpus:
        raise ValueError(
            f"Tried to start a pool with {processes} processes, but the cluster has {cpus} CPUs. Ask for 1 to {cpus} "
            "processes, or start a cluster with more."
        )
    return processes


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(islice(items, size)):
        yield chunk
