"""A pool of threads whose program may end while they are busy.

The threads of ``concurrent.futures`` are waited for at a program's end, however long what they execute takes. A worker
process can be killed with them; a worker that shares its process with the driver cannot.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class DaemonPool(ThreadPoolExecutor):
    """At most ``size`` threads, started as they are needed. They run in the context in which the pool was made."""

    def __init__(self, size: int, name: str) -> None:
        super().__init__(size, thread_name_prefix=name)
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._context = contextvars.copy_context()
        self._guard = threading.Lock()
        self._started: set[threading.Thread] = set()
        self._threads = self._started
        self._idle = 0
        self._over = False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a thread call ``function``.

        Raises:
            RuntimeError: the pool takes no more.
        """
        future: Future[Any] = Future()
        with self._guard:
            if self._over:
                raise RuntimeError("the actor is ending: it takes no further calls")
            self._work.put((future, lambda: function(*args, **kwargs)))
            if self._idle:
                self._idle -= 1
            elif len(self._started) < self._max_workers:
                name = f"{self._thread_name_prefix}_{len(self._started)}"
                thread = threading.Thread(target=self._context.copy().run, args=(self._run,), name=name, daemon=True)
                self._started.add(thread)
                thread.start()
        return future

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001 -- as in every pool: whoever has the future is told
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del item, future, call
            with self._guard:
                self._idle += 1
        self._work.put(None)  # for the next thread

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; what waits is still done, or dropped."""
        with self._guard:
            self._over = True
            if cancel_futures:
                self._drop()
            self._work.put(None)
        if wait:
            for thread in list(self._started):
                thread.join()

    def _drop(self) -> None:
        while True:
            try:
                item = self._work.get_nowait()
            except queue.Empty:
                return
            if item is not None:
                item[0].cancel()
