"""Asynchronous actors: asyncio and Trio code in the methods of one actor, and what each of the two may rely on."""

import asyncio
import contextvars
import time

import pytest
import trio


class Methods:
    """One method for each thing that users await."""

    def __init__(self):
        self.seen = []
        self.event = asyncio.Event()
        self.queue = asyncio.Queue()
        self.lock = asyncio.Lock()
        self.variable = contextvars.ContextVar("variable", default="unset")

    async def call(self, function, *args):
        """Run test code inside the actor."""
        return await function(self, *args)

    def plain(self, value):
        self.seen.append(value)
        return value

    async def note(self, value):
        self.seen.append(value)

    async def all_seen(self):
        return self.seen


@pytest.fixture(scope="module")
def actor_class(ray):
    return ray.remote(Methods)


@pytest.fixture
def run(ray, actor_class):
    """Runs ``async def function(actor, *args)`` in an asynchronous actor of its own and returns its result."""
    actor = actor_class.remote()

    def call(function, *args):
        return ray.get(actor.call.remote(function, *args), timeout=20)

    return call


@pytest.fixture
def actor(actor_class):
    return actor_class.remote()


# ---------------------------------------------------------------- asyncio


def test_asyncio_timeout_expires_and_the_method_goes_on(run):
    async def method(_):
        try:
            async with asyncio.timeout(0.02):
                await asyncio.sleep(30)
        except TimeoutError:
            await asyncio.sleep(0)
            return asyncio.current_task().cancelling()

    assert run(method) == 0


def test_asyncio_timeout_that_is_not_reached_changes_nothing(run):
    async def method(_):
        async with asyncio.timeout(30) as timeout:
            await asyncio.sleep(0.001)
        return timeout.expired()

    assert run(method) is False


def test_nested_timeouts_only_the_inner_one_expires(run):
    async def method(_):
        async with asyncio.timeout(30) as outer:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(30)
            except TimeoutError:
                await asyncio.sleep(0.001)
                return outer.expired()

    assert run(method) is False


def test_wait_for(run):
    async def method(_):
        async def slow():
            await asyncio.sleep(30)

        async def quick():
            return "quick"

        first = await asyncio.wait_for(quick(), 10)
        try:
            await asyncio.wait_for(slow(), 0.01)
        except TimeoutError:
            return first, "timed out"

    assert run(method) == ("quick", "timed out")


def test_task_group(run):
    async def method(_):
        async def double(x):
            await asyncio.sleep(0.001)
            return 2 * x

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double(i)) for i in range(5)]
        return [task.result() for task in tasks]

    assert run(method) == [0, 2, 4, 6, 8]


def test_task_group_with_a_failing_task_cancels_the_body(run):
    async def method(actor):
        async def fail():
            await asyncio.sleep(0.001)
            raise KeyError("inner")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    actor.seen.append("cancelled")
                    raise
        except* KeyError as group:
            errors = group.exceptions
        await asyncio.sleep(0)
        return actor.seen, [str(error) for error in errors], asyncio.current_task().cancelling()

    assert run(method) == (["cancelled"], ["'inner'"], 0)


def test_task_group_fails_while_it_waits_for_its_tasks(run):
    async def method(_):
        async def fail():
            await asyncio.sleep(0.001)
            raise ValueError("late")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(asyncio.sleep(30))
        except* ValueError as group:
            errors = group.exceptions
        return [str(error) for error in errors]

    assert run(method) == ["late"]


def test_gather_create_task_and_shield(run):
    async def method(_):
        async def value(x):
            await asyncio.sleep(0)
            return x

        task = asyncio.create_task(value("task"), name="mine")
        results = await asyncio.gather(value(1), value(2), task, asyncio.shield(value(3)))
        return results, task.get_name()

    assert run(method) == ([1, 2, "task", 3], "mine")


def test_gather_with_exceptions(run):
    async def method(_):
        async def fail():
            raise OSError("no")

        async def fine():
            return 1

        results = await asyncio.gather(fine(), fail(), return_exceptions=True)
        return results[0], type(results[1])

    assert run(method) == (1, OSError)


def test_current_task_is_the_call(run):
    async def method(_):
        first = asyncio.current_task()
        await asyncio.sleep(0)
        other = await asyncio.create_task(_current_task())
        return first is asyncio.current_task(), other is not first, first.get_name(), first.done()

    async def _current_task():
        return asyncio.current_task()

    assert run(method) == (True, True, "Methods.call", False)


def test_a_method_may_cancel_itself(run):
    async def method(_):
        asyncio.current_task().cancel()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            await asyncio.sleep(0)
            return "went on"

    assert run(method) == "went on"


def test_queue_event_and_lock_join_calls_of_one_actor(ray, actor):
    async def produce(actor):
        async with actor.lock:
            for value in range(3):
                await actor.queue.put(value)
        actor.event.set()

    async def consume(actor):
        await actor.event.wait()
        async with actor.lock:
            return [await actor.queue.get() for _ in range(3)]

    consumed = actor.call.remote(consume)
    ray.get(actor.call.remote(produce), timeout=20)
    assert ray.get(consumed, timeout=20) == [0, 1, 2]


def test_run_in_executor_and_to_thread(run):
    async def method(_):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, sum, [1, 2]), await asyncio.to_thread(max, 3, 4)

    assert run(method) == (3, 4)


def test_async_generators_inside_a_method(run):
    async def method(_):
        closed = []

        async def numbers():
            try:
                for number in range(10):
                    await asyncio.sleep(0)
                    await trio.lowlevel.checkpoint()
                    yield number
            finally:
                await asyncio.sleep(0)
                closed.append(True)

        generator = numbers()
        taken = [number async for number in generator if number < 3]
        partly = numbers()
        first = await anext(partly)
        await partly.aclose()
        return taken, first, closed

    assert run(method) == ([0, 1, 2], 0, [True, True])


# ---------------------------------------------------------------- Trio


def test_trio_sleep_nursery_and_move_on_after(run):
    async def method(_):
        done = []

        async def child(value):
            await trio.sleep(0.001 * value)
            done.append(value)

        async with trio.open_nursery() as nursery:
            for value in (3, 1, 2):
                nursery.start_soon(child, value)
        with trio.move_on_after(0.01) as scope:
            await trio.sleep(30)
        return sorted(done), scope.cancelled_caught

    assert run(method) == ([1, 2, 3], True)


def test_trio_channels_and_locks(run):
    async def method(_):
        send, receive = trio.open_memory_channel(0)
        lock = trio.Lock()

        async def produce():
            async with send, lock:
                for value in range(3):
                    await send.send(value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce)
            return [value async for value in receive]

    assert run(method) == [0, 1, 2]


def test_to_thread_of_trio(run):
    async def method(_):
        return await trio.to_thread.run_sync(sum, [1, 2, 3])

    assert run(method) == 6


# ---------------------------------------------------------------- both


def test_both_in_one_method(run):
    async def method(_):
        await asyncio.sleep(0.001)
        await trio.sleep(0.001)
        async with asyncio.timeout(10):
            with trio.fail_after(10):
                await asyncio.sleep(0.001)
                await trio.sleep(0.001)
        return "both"

    assert run(method) == "both"


def test_an_asyncio_timeout_ends_a_wait_in_trio_once(run):
    async def method(_):
        try:
            async with asyncio.timeout(0.02):
                await trio.sleep(30)
        except TimeoutError:
            await trio.sleep(0.001)
            await asyncio.sleep(0.001)
            return "went on in both"

    assert run(method) == "went on in both"


def test_a_trio_deadline_ends_a_wait_in_asyncio(run):
    async def method(_):
        with trio.move_on_after(0.02) as scope:
            await asyncio.sleep(30)
        await asyncio.sleep(0.001)
        await trio.sleep(0.001)
        return scope.cancelled_caught

    assert run(method) is True


def test_a_trio_deadline_cancels_gathered_asyncio_tasks(run):
    async def method(actor):
        async def note_cancellation():
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                actor.seen.append("cancelled")
                raise

        with trio.move_on_after(0.02):
            await asyncio.gather(note_cancellation(), note_cancellation())
        await asyncio.sleep(0)
        return actor.seen

    assert run(method) == ["cancelled", "cancelled"]


def test_a_task_group_failure_ends_a_wait_in_trio(run):
    async def method(_):
        async def fail():
            await asyncio.sleep(0.001)
            raise ValueError("child")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await trio.sleep(30)
        except* ValueError:
            pass
        await trio.lowlevel.checkpoint()
        return "went on"

    assert run(method) == "went on"


def test_a_shielded_trio_wait_is_finished_before_asyncio_cancels(run):
    async def method(actor):
        task = asyncio.current_task()
        with trio.CancelScope(shield=True):
            task.cancel()
            await trio.lowlevel.checkpoint()
            actor.seen.append("shielded part")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            task.uncancel()
            return actor.seen

    result = run(method)
    assert result in (["shielded part"], [])


# ---------------------------------------------------------------- references


def test_references_awaited_by_the_method_by_asyncio_tasks_and_by_trio_tasks(ray, run):
    @ray.remote
    def square(x):
        return x * x

    async def method(_, square):
        direct = await square.remote(2)
        async with asyncio.timeout(20):
            gathered = await asyncio.gather(*[square.remote(i) for i in range(4)])
        with trio.fail_after(20):
            again = await square.remote(5)
        found = []

        async def child(ref):
            found.append(await ref)

        async def awaiting(ref):
            return await ref

        task = await asyncio.create_task(awaiting(square.remote(6)))
        async with trio.open_nursery() as nursery:
            for i in (7, 8):
                nursery.start_soon(child, square.remote(i))
        return direct, gathered, again, task, sorted(found)

    assert run(method, square) == (4, [0, 1, 4, 9], 25, 36, [49, 64])


def test_errors_of_awaited_references(ray, run):
    @ray.remote
    def fail():
        raise LookupError("remote")

    async def method(_, fail):
        try:
            await fail.remote()
        except LookupError as error:
            return str(error.args)

    assert "remote" in run(method, fail)


def test_timeout_of_an_awaited_reference(ray, run):
    @ray.remote
    class Gate:
        def __init__(self):
            self.event = asyncio.Event()

        async def wait(self):
            await self.event.wait()

    gate = Gate.remote()

    async def method(_, gate):
        outcomes = []
        try:
            async with asyncio.timeout(0.02):
                await gate.wait.remote()
        except TimeoutError:
            outcomes.append("asyncio")
        with trio.move_on_after(0.02):
            await gate.wait.remote()
            outcomes.append("not reached")
        outcomes.append("trio")
        return outcomes

    assert run(method, gate) == ["asyncio", "trio"]
    ray.kill(gate)


# ---------------------------------------------------------------- calls


def test_calls_start_in_the_order_of_submission(ray, actor):
    for value in range(500):
        (actor.note if value % 2 else actor.plain).remote(value)
    assert ray.get(actor.all_seen.remote(), timeout=20) == list(range(500))


def test_calls_beyond_max_concurrency_start_in_order_and_never_more_at_once(ray):
    @ray.remote(max_concurrency=3)
    class Limited:
        def __init__(self):
            self.running = self.most = 0
            self.order = []

        async def step(self, value):
            self.order.append(value)
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.001)
            self.running -= 1

        async def report(self):
            return self.most, self.order

    limited = Limited.remote()
    ray.get([limited.step.remote(i) for i in range(60)], timeout=20)
    assert ray.get(limited.report.remote(), timeout=20) == (3, list(range(60)))


def test_a_thousand_calls_sleep_at_once(ray, actor):
    async def nap(_):
        await asyncio.sleep(0.2)

    async def trio_nap(_):
        await trio.sleep(0.2)

    ray.get(actor.plain.remote(0), timeout=20)
    started = time.monotonic()
    ray.get([actor.call.remote(trio_nap if i % 2 else nap) for i in range(1000)], timeout=20)
    assert time.monotonic() - started < 2


def test_context_variables_belong_to_a_call(ray, actor):
    async def set_and_read(actor, value):
        actor.variable.set(value)
        await asyncio.sleep(0.001)
        await trio.sleep(0.001)
        return actor.variable.get(), await asyncio.create_task(only_read(actor))

    async def only_read(actor):
        return actor.variable.get()

    results = ray.get([actor.call.remote(set_and_read, f"v{i}") for i in range(20)], timeout=20)
    assert results == [(f"v{i}", f"v{i}") for i in range(20)]
    assert ray.get(actor.call.remote(only_read), timeout=20) == "unset"


def test_context_variables_do_not_leak_into_the_next_waiting_call(ray):
    @ray.remote(max_concurrency=1)
    class One:
        def __init__(self):
            self.variable = contextvars.ContextVar("variable", default="unset")

        async def swap(self, value):
            before = self.variable.get()
            self.variable.set(value)
            await asyncio.sleep(0)
            return before

    one = One.remote()
    assert ray.get([one.swap.remote(str(i)) for i in range(10)], timeout=20) == ["unset"] * 10


def test_sync_methods_between_async_ones(ray, actor):
    refs = [actor.plain.remote(i) for i in range(10)]
    assert ray.get(refs, timeout=20) == list(range(10))


# ---------------------------------------------------------------- errors, cancellation, the end


def test_exceptions_and_exception_groups_arrive(ray, run):
    async def plain(_):
        raise LookupError("plain")

    async def group(_):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    async def fail():
        raise ValueError("in a nursery")

    with pytest.raises(LookupError, match="plain"):
        run(plain)
    with pytest.raises(ExceptionGroup) as caught:
        run(group)
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


@pytest.mark.parametrize("kind", ["group of cancellations", "KeyboardInterrupt", "GeneratorExit"])
def test_an_exception_that_is_none_ends_the_call_and_not_the_actor(ray, actor, kind):
    async def method(_):
        if kind == "KeyboardInterrupt":
            raise KeyboardInterrupt
        if kind == "GeneratorExit":
            raise GeneratorExit
        raise BaseExceptionGroup("odd", [asyncio.CancelledError(), ValueError()])

    ref = actor.call.remote(method)
    with pytest.raises(ray.exceptions.RayTaskError):
        ray.get(ref, timeout=20)
    assert ray.get(actor.plain.remote(1), timeout=20) == 1


def _cancelled_call(ray, actor, wait):
    async def method(actor):
        actor.event.set()
        try:
            await wait()
        finally:
            actor.seen.append("cleaned up")

    async def started(actor):
        await actor.event.wait()

    ref = actor.call.remote(method)
    ray.get(actor.call.remote(started), timeout=20)
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=20)
    assert ray.get(actor.all_seen.remote(), timeout=20) == ["cleaned up"]


def test_cancel_of_a_call_that_awaits_asyncio(ray, actor):
    async def wait():
        await asyncio.sleep(30)

    _cancelled_call(ray, actor, wait)


def test_cancel_of_a_call_that_awaits_trio(ray, actor):
    async def wait():
        await trio.sleep(30)

    _cancelled_call(ray, actor, wait)


def test_cancel_of_a_call_with_a_nursery_of_children(ray, actor):
    async def wait():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    _cancelled_call(ray, actor, wait)


def test_cancel_of_a_call_with_a_task_group(ray, actor):
    async def wait():
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(30))

    _cancelled_call(ray, actor, wait)


def test_cancel_of_a_call_that_waits_for_its_turn(ray):
    @ray.remote(max_concurrency=1)
    class One:
        def __init__(self):
            self.event = asyncio.Event()
            self.ran = []

        async def hold(self):
            await asyncio.sleep(0.2)

        async def work(self, value):
            self.ran.append(value)
            return self.ran

    one = One.remote()
    held = one.hold.remote()
    first, second = one.work.remote("first"), one.work.remote("second")
    ray.cancel(first)
    assert ray.get([held, second], timeout=20) == [None, ["second"]]
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(first, timeout=20)


def test_a_constructor_error_is_told(ray):
    @ray.remote
    class Broken:
        def __init__(self):
            raise RuntimeError("no such thing")

        async def method(self):
            return 1

    with pytest.raises(ray.exceptions.ActorDiedError, match="no such thing"):
        ray.get(Broken.remote().method.remote(), timeout=20)


def test_results_before_exit_actor_arrive(ray, actor):
    async def leave(_):
        ray.actor.exit_actor()

    early = [actor.plain.remote(bytes([i]) * 60_000) for i in range(50)]
    last = actor.call.remote(leave)
    assert [value[0] for value in ray.get(early, timeout=20)] == list(range(50))
    with pytest.raises(ray.exceptions.ActorDiedError, match="exit_actor"):
        ray.get(last, timeout=20)


def test_an_unknown_concurrency_group_fails_the_call_only(ray):
    @ray.remote(concurrency_groups={"io": 2})
    class Grouped:
        async def work(self):
            return "done"

    grouped = Grouped.remote()
    with pytest.raises(ValueError, match="'io'"):
        ray.get(grouped.work.options(concurrency_group="oi").remote(), timeout=20)
    assert ray.get(grouped.work.options(concurrency_group="io").remote(), timeout=20) == "done"


def test_async_tasks_await_both(ray):
    @ray.task
    async def task(x):
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await trio.lowlevel.checkpoint()
        return x + 1

    assert ray.get([task.remote(i) for i in range(20)], timeout=20) == list(range(1, 21))
