"""``Queue``: a first-in, first-out queue that tasks, actors and drivers share, held by an asynchronous actor.

The interface is that of ``queue.Queue`` and ``asyncio.Queue``. A queue may be passed anywhere; all copies are the same
queue. Not here: streams between a caller and one actor.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic

from trayray.api.blocking import cancel, get, kill, wait
from trayray.api.decorators import remote
from trayray.api.session import session
from trayray.exceptions import ActorDiedError
from trayray.native.calls import call as native_call
from trayray.worker.awaiting import await_ready
from trayray.worker.parking import Loop
from trayray.worker.references import ObjectRef

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)  #: so that checkers take a plain ``Queue()``, which holds anything
else:
    from typing import TypeVar

    T = TypeVar("T")

#: Calls of the actor that may wait at once. Each waiting ``get`` and ``put`` is one: were they limited as other actors'
#: are, a thousand waiting consumers would keep every producer out.
_MOST_WAITING = 1_000_000


class Empty(queue.Empty):
    """There are not so many items in the queue, or none came in time."""


class Full(queue.Full):
    """There is no room for so many items in the queue, or none came in time."""


class _QueueActor:
    """The items. Its methods raise Empty and Full."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    def qsize(self) -> int:
        return self.queue.qsize()

    def empty(self) -> bool:
        return self.queue.empty()

    def full(self) -> bool:
        return self.queue.full()

    async def put(self, item: Any, timeout: float | None = None) -> None:
        if not self.queue.full():
            self.queue.put_nowait(item)
            return
        try:
            async with asyncio.timeout(timeout):
                await self.queue.put(item)
        except TimeoutError:
            raise Full(f"no room within {timeout} s: the queue has its {self.maxsize} items") from None

    async def get(self, timeout: float | None = None) -> Any:
        if not self.queue.empty():
            return self.queue.get_nowait()
        try:
            async with asyncio.timeout(timeout):
                return await self.queue.get()
        except TimeoutError:
            raise Empty(f"no item within {timeout} s") from None

    def put_nowait(self, item: Any) -> None:
        self.put_nowait_batch([item])

    def put_nowait_batch(self, items: list[Any]) -> None:
        size = self.queue.qsize()
        if 0 < self.maxsize < size + len(items):
            raise Full(f"no room for {len(items)} items: the queue has {size} of at most {self.maxsize}")
        for item in items:
            self.queue.put_nowait(item)

    def get_nowait(self) -> Any:
        return self.get_nowait_batch(1)[0]

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        size = self.queue.qsize()
        if num_items > size:
            raise Empty(f"there are not {num_items} items: the queue has {size}")
        return [self.queue.get_nowait() for _ in range(num_items)]


class Queue(Generic[T]):
    """A queue shared by processes.

    Args:
        maxsize: the number of items that it holds at most; none when 0 or less.
        actor_options: of the actor that holds the items, as for ``.options()`` of an actor class: ``name``,
            ``num_cpus``, ``max_concurrency`` and so on. It needs no CPU unless they say so.

    Attributes:
        actor: the handle of that actor; None after `shutdown`.
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        if not isinstance(maxsize, int):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
            raise TypeError(f"maxsize must be an int, not {type(maxsize).__name__}")
        self.maxsize = maxsize
        options: dict[str, Any] = {"max_concurrency": _MOST_WAITING, **(actor_options or {})}
        make: Any = remote(_QueueActor)
        self.actor: Any = make.options(**options).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def __repr__(self) -> str:
        return f"<Queue: maxsize {self.maxsize}, {self.actor or 'shut down'}>"

    # --- how many ---

    def size(self) -> int:
        """The number of items."""
        return self._call("qsize")

    def qsize(self) -> int:
        """The number of items."""
        return self._call("qsize")

    def empty(self) -> bool:
        """Whether there is no item."""
        return self._call("empty")

    def full(self) -> bool:
        """Whether there is no room."""
        return self._call("full")

    # --- one item ---

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, waiting for room if ``block``.

        Args:
            timeout: seconds to wait; None waits as long as it takes.

        Raises:
            Full: no room (in time).
            ValueError: a negative timeout.
            ActorDiedError: the queue was shut down, or its actor has died.
        """
        if block:
            self._call("put", item, _checked(timeout))
        else:
            self._call("put_nowait", item)

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the oldest item, waiting for one if ``block``.

        Args:
            timeout: seconds to wait; None waits as long as it takes.

        Raises:
            Empty: no item (in time).
            ValueError: a negative timeout.
            ActorDiedError: the queue was shut down, or its actor has died.
        """
        return self._call("get", _checked(timeout)) if block else self._call("get_nowait")

    async def put_async(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """As `put`, to be awaited under asyncio or Trio."""
        if block:
            await self._call_async("put", item, _checked(timeout))
        else:
            await self._call_async("put_nowait", item)

    async def get_async(self, block: bool = True, timeout: float | None = None) -> T:
        """As `get`, to be awaited under asyncio or Trio."""
        if block:
            return await self._call_async("get", _checked(timeout))
        return await self._call_async("get_nowait")

    def put_nowait(self, item: T) -> None:
        """``put(item, block=False)``."""
        self.put(item, block=False)

    def get_nowait(self) -> T:
        """``get(block=False)``."""
        return self.get(block=False)

    # --- several items ---

    def put_nowait_batch(self, items: Iterable[T]) -> None:
        """Add all of ``items``, in their order, or none of them.

        Raises:
            Full: there is no room for all.
            TypeError: not iterable.
        """
        if not isinstance(items, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
            raise TypeError(f"put_nowait_batch takes an iterable of items, not {type(items).__name__}")
        self._call("put_nowait_batch", list(items))

    def get_nowait_batch(self, num_items: int) -> list[T]:
        """Take the ``num_items`` oldest items, or none.

        Raises:
            Empty: there are fewer.
            TypeError, ValueError: not a number of items.
        """
        if not isinstance(num_items, int):  # pyright: ignore[reportUnnecessaryIsInstance] -- user input
            raise TypeError(f"num_items must be an int, not {type(num_items).__name__}")
        if num_items < 0:
            raise ValueError(f"num_items must be at least 0, not {num_items}")
        return self._call("get_nowait_batch", num_items)

    # --- the end ---

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """End the actor and with it the queue; whoever waits for it, anywhere, gets an ActorDiedError.

        Args:
            force: end it at once. Otherwise calls that have arrived before are answered first.
            grace_period_s: seconds after which it is ended by force.
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            ended = actor.__ray_terminate__.remote()
            if wait([ended], timeout=grace_period_s)[0]:
                return
        kill(actor)

    async def shutdown_async(self, force: bool = False, grace_period_s: float = 5) -> None:
        """As `shutdown`, to be awaited under asyncio or Trio."""
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            ended = actor.__ray_terminate__.remote()
            if await await_ready(session.core(), ended, grace_period_s):
                return
        kill(actor)

    # --- calls of the actor ---

    def _call(self, method: str, *arguments: Any) -> Any:
        if session.core().in_loop:  # told before the actor does anything: it might take an item for nobody
            raise RuntimeError(
                "a queue's blocking methods would block the Trio loop that this thread runs: use `await "
                "queue.put_async(item)` and `await queue.get_async()`, or `await trio.to_thread.run_sync(queue.size)`"
            )
        with _plain_errors(self):
            call = self._start(method, arguments)
            try:
                return get(call)
            except KeyboardInterrupt:
                cancel(call)
                raise

    async def _call_async(self, method: str, *arguments: Any) -> Any:
        with _plain_errors(self):
            if Loop.here() is Loop.TRIO:
                # Being cancelled waits for what becomes of the item: it is neither lost nor added behind one's back.
                return await native_call(self._method(method), *arguments)
            call = self._start(method, arguments)
            try:
                return await call
            except BaseException:
                cancel(call)  # nobody waits for the item any more; does nothing if the call has ended
                raise

    def _start(self, method: str, arguments: tuple[Any, ...]) -> ObjectRef[Any]:
        call: Callable[..., ObjectRef[Any]] = self._method(method).remote
        return call(*arguments)

    def _method(self, name: str) -> Any:
        if self.actor is None:
            raise ActorDiedError(error_msg="The queue has been shut down by shutdown(); make a new one.")
        return getattr(self.actor, name)


def _checked(timeout: float | None) -> float | None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"'timeout' must be None or a non-negative number of seconds, not {timeout}")
    return timeout


@contextmanager
def _plain_errors(where: Queue[Any]) -> Generator[None]:
    """Within the block, what the actor raises comes out as if the queue were here."""
    try:
        yield
    except Empty as error:
        raise Empty(_text(error)) from None
    except Full as error:
        raise Full(_text(error)) from None
    except ActorDiedError as error:
        if where.actor is None:
            raise
        raise ActorDiedError(
            actor_id=error.actor_id,
            error_msg=f"The queue and its items are gone, make a new one: the actor that held them has ended. {error}",
        ) from None


def _text(error: Exception) -> str:
    """The actor's own words, without the remote traceback."""
    return str(getattr(error, "cause", error))
