"""`trayray.worker.cancelling`: an interrupt lands in user code of exactly its call, in the main thread and others."""

import asyncio
import itertools
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from tests.processes.waiting import eventually
from trayray.worker import cancelling
from trayray.worker.cancelling import MainRegion, Steps, ThreadRegion, is_interruption
from trayray.worker.references import ThreadWaiter

no_debugger = pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger has the only trace function")


@pytest.fixture
def region() -> Iterator[MainRegion]:
    region = MainRegion()
    before = signal.getsignal(cancelling.SIGNAL)
    region.install()
    yield region
    signal.signal(cancelling.SIGNAL, before)


@contextmanager
def interrupting(region: MainRegion, task: bytes, after: threading.Event | None = None) -> Iterator[None]:
    """While the block runs, a loop in another thread interrupts call ``task``, once ``after`` is set."""
    ended = threading.Lock()

    def run() -> None:
        if after is not None:
            after.wait()
        with ended:  # as the executor's lock does, which guards what is known to be in execution
            if over:
                return
            region.want(task)
        trio.run(region.interrupt, task)

    over: list[bool] = []
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        with ended:
            over.append(True)
            region.ended(task)
        thread.join()


def test_a_call_that_waits_for_a_lock_is_interrupted(region: MainRegion) -> None:
    inside = threading.Event()

    def wait() -> None:
        inside.set()
        threading.Event().wait()

    with interrupting(region, b"a", inside), pytest.raises(KeyboardInterrupt):
        region.run(b"a", wait, (), {})
    assert region.interrupted == b"a"


def test_a_request_that_comes_first_is_met_at_the_entry(region: MainRegion) -> None:
    ran: list[int] = []
    with interrupting(region, b"a"):
        eventually(lambda: region._wanted)
        with pytest.raises(KeyboardInterrupt):
            region.run(b"a", ran.append, (1,), {})
    assert ran == []


def test_another_call_is_not_touched(region: MainRegion) -> None:
    def work() -> int:
        eventually(lambda: region._wanted)
        return sum(1 for _ in range(200_000))

    with interrupting(region, b"a"):
        assert region.run(b"b", work, (), {}) == 200_000
    assert region.interrupted == b""


@no_debugger
def test_what_the_runtime_does_for_user_code_is_not_torn(region: MainRegion) -> None:
    inside = threading.Event()
    runtime = runtime_function()
    finished: list[bool] = []

    def work() -> None:
        inside.set()
        eventually(sys.gettrace)  # the signal has come, and the interrupt waits for the function to return
        finished.append(True)

    with interrupting(region, b"a", inside), pytest.raises(KeyboardInterrupt):
        region.run(b"a", lambda: runtime(work), (), {})
    assert finished == [True]


def test_user_code_may_be_interrupted_where_it_waits_in_the_runtime(region: MainRegion) -> None:
    waiter = ThreadWaiter(1, eager=False)
    runtime = runtime_function()
    with interrupting(region, b"a"), pytest.raises(KeyboardInterrupt):
        region.run(b"a", lambda: runtime(waiter.wait, None), (), {})


def runtime_function() -> Callable[..., Any]:
    """A function that calls its argument, in a file of the package."""
    names: dict[str, Any] = {}
    source = compile("def run(function, *args): return function(*args)", cancelling.__file__, "exec")
    exec(source, names)
    return names["run"]


@no_debugger
def test_a_loop_of_calls_of_the_runtime_is_interrupted_when_one_returns(region: MainRegion) -> None:
    """Such a loop is hardly ever found in user code itself."""
    inside = threading.Event()
    runtime = runtime_function()
    begun = ended = 0

    def work() -> None:
        nonlocal begun, ended
        while True:
            inside.set()
            begun += 1
            runtime(sum, range(20_000))
            ended += 1

    with interrupting(region, b"a", inside), pytest.raises(KeyboardInterrupt):
        region.run(b"a", work, (), {})
    assert begun - ended in (0, 1)
    assert sys.gettrace() is None


def test_an_interrupt_lands_nowhere_else(region: MainRegion) -> None:
    """Thousands of short calls, some interrupted at any moment: what comes between them never is."""
    chance = random.Random(7)
    outside = 0
    interrupted = 0
    for number in itertools.count():
        task = number.to_bytes(4, "little")
        length = chance.randrange(2000)
        with interrupting(region, task):
            try:
                region.run(task, lambda: sum(range(length)), (), {})  # noqa: B023 -- called at once
            except KeyboardInterrupt:
                interrupted += 1
            outside += sum(1 for _ in range(100))  # an interrupt here fails the test
        assert region._inside is None
        if number >= 300 and interrupted:
            break
    assert outside == (number + 1) * 100


def test_a_signal_without_a_request_means_nothing(region: MainRegion) -> None:
    signal.raise_signal(cancelling.SIGNAL)
    assert region.run(b"a", lambda: signal.raise_signal(cancelling.SIGNAL), (), {}) is None


@pytest.mark.parametrize("run", [trio.run, lambda sleep, seconds: asyncio.run(_sleep(seconds))])
def test_an_event_loop_of_the_users_is_interrupted_in_its_own_way(region: MainRegion, run: Any) -> None:
    cleaned: list[str] = []
    inside = threading.Event()

    async def sleep(seconds: float) -> None:
        try:
            inside.set()
            await trio.sleep(seconds)
        finally:
            cleaned.append("up")

    def work() -> None:
        run(sleep, 30)

    if run is not trio.run:
        inside.set()
        cleaned.append("up")
    with interrupting(region, b"a", inside), pytest.raises(KeyboardInterrupt):
        region.run(b"a", work, (), {})
    assert cleaned == ["up"]


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_a_user_who_ignores_sigint_is_not_interrupted(region: MainRegion) -> None:
    inside = threading.Event()

    def work() -> str:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            inside.set()
            return "done" if sum(1 for _ in range(500_000)) else ""
        finally:
            signal.signal(signal.SIGINT, before)

    with interrupting(region, b"a", inside):
        assert region.run(b"a", work, (), {}) == "done"


# ---------------------------------------------------------------- other threads


def run_in_thread(region: ThreadRegion, task: bytes, work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """What the region gave, or raised, and after it "outside" when the thread came through undisturbed."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(region.run(task, work, (), {}))
        except KeyboardInterrupt as error:
            results.append(type(error))
        for _ in range(1000):  # a late exception would come here
            pass
        results.append("outside")

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_a_loop_in_another_thread_is_interrupted() -> None:
    region = ThreadRegion()
    inside = threading.Event()

    def spin() -> None:
        inside.set()
        while True:
            pass

    thread, results = run_in_thread(region, b"a", spin)
    inside.wait()
    region.want()
    trio.run(region.interrupt)
    thread.join()
    assert results == [KeyboardInterrupt, "outside"]
    assert region.interrupted == b"a"


def test_an_exception_that_came_too_late_is_withdrawn() -> None:
    for _ in range(300):
        region = ThreadRegion()
        thread, results = run_in_thread(region, b"a", lambda: sum(range(3000)))
        region.want()
        interrupter = threading.Thread(target=trio.run, args=(region.interrupt,))
        interrupter.start()
        thread.join()
        region.ended()
        interrupter.join()
        assert results in ([KeyboardInterrupt, "outside"], [sum(range(3000)), "outside"])
        assert (region.interrupted == b"a") == (results[0] is KeyboardInterrupt)


# ---------------------------------------------------------------- generators


class AnyCall:
    """A call, as far as `Steps` needs it."""

    class push:  # noqa: N801 -- an attribute of calls
        task = b"a"


def test_each_step_of_a_generator_is_user_code(region: MainRegion) -> None:
    def endless() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.append(region._inside)

    closed: list[bytes | None] = []
    steps: Steps = Steps(region, AnyCall(), endless(), lambda call: None)  # type: ignore[arg-type]  # it is one here
    assert [next(steps), next(steps)] == [0, 1]
    with interrupting(region, b"a"):
        eventually(lambda: region._wanted)
        assert region._inside is None  # between two steps, where the runtime sends what was yielded
        with pytest.raises(KeyboardInterrupt):
            next(steps)
    steps.close()
    assert closed == [b"a"]


def test_a_checkpoint_comes_before_each_step(region: MainRegion) -> None:
    def check(call: object) -> None:
        if stop:
            raise RuntimeError("no further")

    stop: list[bool] = []
    steps: Steps = Steps(region, AnyCall(), iter("ab"), check)  # type: ignore[arg-type]  # it is one here
    assert next(steps) == "a"
    stop.append(True)
    with pytest.raises(RuntimeError, match="no further"):
        next(steps)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), True),
        (BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [KeyboardInterrupt()])]), True),
        (ExceptionGroup("", [ValueError()]), False),
        (ValueError(), False),
    ],
)
def test_interruptions_are_told_from_other_errors(error: BaseException, expected: bool) -> None:
    assert is_interruption(error) is expected
