"""Awaiting a reference: under Trio, under asyncio, and as a ``concurrent.futures`` future.

Not here: blocking calls (``objects``), the reference itself (``references``).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from trayray.exceptions import RayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trayray.worker.core_worker import CoreWorker
    from trayray.worker.reading import ReadPin
    from trayray.worker.references import ObjectRef

    #: Starts to watch for something, whose coming calls what it is given; yields whether it has yet to come.
    _Watch = Callable[[Callable[[], object]], contextlib.AbstractContextManager[bool]]


async def await_value(core: CoreWorker, ref: ObjectRef[Any]) -> Any:
    """The value of ``ref``, awaited in whatever loop the caller runs in."""
    await await_ready(core, ref)
    pin = core.objects.pin_if_away(ref._value, ref)
    if pin is not None:
        await bring(core, pin)
    return core.objects.load(ref)


async def bring(core: CoreWorker, pin: ReadPin) -> None:
    """Wait until bytes that were spilled can be read, in whatever loop the caller runs in."""
    wait = _await_in_trio if _in_trio() else _await_in_asyncio
    await wait(lambda wake: core.objects.reading.locating(pin, wake), None)


async def await_ready(core: CoreWorker, ref: ObjectRef[Any], timeout: float | None = None) -> bool:
    """Wait until ``ref`` has a value, in whatever loop the caller runs in; False if not within ``timeout`` seconds."""
    wait = _await_in_trio if _in_trio() else _await_in_asyncio
    await wait(lambda wake: core.objects.watching(ref, wake), timeout)
    return ref._value is not None


def _in_trio() -> bool:
    """Whether the caller is a Trio task. An asyncio task on a trio-asyncio loop is none, though Trio runs it."""
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    try:
        return asyncio.current_task() is None
    except RuntimeError:  # no asyncio loop here at all
        return True


def trio_is_awaited() -> bool:
    """Whether Trio's functions can be awaited here: in its tasks and in calls of this runtime, not in asyncio's tasks,
    which may run on Trio too."""
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        return False
    try:
        return not isinstance(asyncio.current_task(), asyncio.Task)
    except RuntimeError:  # no asyncio loop here at all
        return True


async def _await_in_trio(watch: _Watch, timeout: float | None) -> None:
    import trio

    from trayray.worker.wake import Wake

    arrived = Wake()
    with watch(arrived.set) as waiting:
        if waiting:
            if timeout is None:
                await arrived.wait()
            else:
                with trio.move_on_after(max(0.0, timeout)):
                    await arrived.wait()
        else:
            await trio.lowlevel.checkpoint()


async def _await_in_asyncio(watch: _Watch, timeout: float | None) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def ready() -> None:
        if not future.done():
            future.set_result(None)

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the waiting loop has been closed meanwhile
            loop.call_soon_threadsafe(ready)

    with watch(wake) as waiting:
        if waiting:
            if timeout is None:
                await future
            else:
                await asyncio.wait([future], timeout=max(0.0, timeout))


def future_of(core: CoreWorker, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
    """A future of the value; cancelling it does not cancel the task."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def resolve() -> None:
        if future.set_running_or_notify_cancel():
            try:
                value = core.objects.load(ref)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)

    def arrived() -> None:
        try:
            pin = core.objects.pin_if_away(ref._value, ref)
            if pin is not None:
                core.objects.reading.ask(pin, partial(answered, pin))
                return
        except RayError as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        resolve()

    def answered(pin: ReadPin) -> None:  # which is held until the value was loaded
        resolve()

    core.objects.when_ready(ref, arrived)
    return future


def asyncio_future_of(core: CoreWorker, ref: ObjectRef[Any]) -> asyncio.Future[Any]:
    """An asyncio future of the value, in the running loop."""
    return asyncio.wrap_future(future_of(core, ref))
