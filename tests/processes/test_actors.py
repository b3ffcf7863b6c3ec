"""Actors in real processes: order, ends, restarts, names and handles."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.processes.waiting import eventually


@pytest.fixture(scope="module")
def recorder_class(ray):
    @ray.remote
    class Recorder:
        def __init__(self):
            self.calls = []

        def note(self, source, number):
            self.calls.append((source, number))
            return number

        def all(self):
            return self.calls

        def pid(self):
            return os.getpid()

        def leave(self):
            ray.actor.exit_actor()

        def crash(self):
            os._exit(1)

        def nap(self, seconds):
            time.sleep(seconds)
            return seconds

    return Recorder


def test_a_thousand_calls_from_each_of_four_submitters_keep_their_order(ray, recorder_class):
    recorder = recorder_class.remote()

    @ray.remote
    def submit(recorder, source):
        refs = [recorder.note.remote(source, i) for i in range(1000)]
        return ray.get(refs) == list(range(1000))

    assert all(ray.get([submit.remote(recorder, source) for source in range(4)], timeout=60))
    calls = ray.get(recorder.all.remote(), timeout=20)
    assert len(calls) == 4000
    for source in range(4):
        assert [number for who, number in calls if who == source] == list(range(1000))


def test_calls_with_pending_arguments_keep_their_place(ray, recorder_class):
    @ray.remote
    def later(x):
        time.sleep(0.05)
        return x

    recorder = recorder_class.remote()
    for i in range(20):
        recorder.note.remote("driver", later.remote(i) if i % 7 == 3 else i)
    assert [number for _, number in ray.get(recorder.all.remote(), timeout=20)] == list(range(20))


@pytest.mark.parametrize("end", ["leave", "crash"])
def test_results_of_calls_before_the_end_arrive(ray, recorder_class, end):
    for _ in range(3):
        recorder = recorder_class.remote()
        early = [recorder.note.remote("driver", i) for i in range(100)]
        last = getattr(recorder, end).remote()
        assert ray.get(early, timeout=20) == list(range(100))
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(last, timeout=20)
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(recorder.note.remote("driver", 0), timeout=20)


def test_large_results_before_exit_actor_arrive(ray):
    @ray.remote
    class Big:
        def make(self, i):
            return bytes([i]) * 90_000

        def leave(self):
            ray.actor.exit_actor()

    big = Big.remote()
    early = [big.make.remote(i) for i in range(100)]
    big.leave.remote()
    assert [value[0] for value in ray.get(early, timeout=20)] == list(range(100))


def test_kill_while_calls_queue(ray, recorder_class):
    recorder = recorder_class.remote()
    ray.get(recorder.pid.remote(), timeout=20)
    refs = [recorder.nap.remote(30)] + [recorder.note.remote("driver", i) for i in range(50)]
    ray.kill(recorder)
    for ref in refs:
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(ref, timeout=20)


def test_kill_before_the_actor_has_started(ray, recorder_class):
    recorder = recorder_class.remote()
    ref = recorder.note.remote("driver", 1)
    ray.kill(recorder)
    try:
        assert ray.get(ref, timeout=20) == 1  # it was quicker
    except ray.exceptions.ActorDiedError:
        pass
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(recorder.note.remote("driver", 2), timeout=20)


def test_restarts_and_retried_calls(ray, tmp_path):
    @ray.remote(max_restarts=2, max_task_retries=2)
    class Fragile:
        def __init__(self):
            self.numbers = []

        def pid(self):
            return os.getpid()

        def crash_once(self, path):
            if not os.path.exists(path):
                open(path, "w").close()
                os._exit(1)
            return "survived"

        def note(self, number):
            self.numbers.append(number)
            return list(self.numbers)

    fragile = Fragile.remote()
    before = ray.get(fragile.pid.remote(), timeout=20)
    crash = fragile.crash_once.remote(str(tmp_path / "crashed"))
    after = [fragile.note.remote(i) for i in range(5)]
    assert ray.get(crash, timeout=20) == "survived"
    assert ray.get(after[-1], timeout=20) == list(range(5))
    assert ray.get(fragile.pid.remote(), timeout=20) != before


def test_restarts_are_used_up(ray):
    @ray.remote(max_restarts=1)
    class Fragile:
        def crash(self):
            os._exit(1)

        def ok(self):
            return "ok"

    fragile = Fragile.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(fragile.crash.remote(), timeout=20)

    def answers():
        try:
            return ray.get(fragile.ok.remote(), timeout=20)
        except ray.exceptions.ActorUnavailableError:  # it is restarting
            return None

    assert eventually(answers) == "ok"
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(fragile.crash.remote(), timeout=20)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(fragile.ok.remote(), timeout=20)


def test_get_if_exists_from_many_threads_makes_one(ray, recorder_class):
    barrier = threading.Barrier(8)

    def use(_):
        barrier.wait(20)
        actor = recorder_class.options(name="the one", get_if_exists=True).remote()
        return actor, ray.get(actor.pid.remote(), timeout=20)

    with ThreadPoolExecutor(8) as pool:
        assert len({pid for _, pid in pool.map(use, range(8))}) == 1


def test_a_name_from_many_threads_is_given_once(ray, recorder_class):
    barrier = threading.Barrier(8)

    def use(_):
        barrier.wait(20)
        try:
            return recorder_class.options(name="contested").remote()
        except ValueError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(use, range(8)))
    actors = [outcome for outcome in outcomes if not isinstance(outcome, ValueError)]
    assert (len(outcomes), len(actors)) == (8, 1)
    assert ray.get(ray.get_actor("contested").pid.remote(), timeout=20) == ray.get(actors[0].pid.remote(), timeout=20)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_actor_ends_with_its_last_handle_wherever_that_is(ray, recorder_class):
    @ray.remote
    class Keeper:
        def __init__(self):
            self.kept = None

        def keep(self, handles):
            self.kept = handles

        def use(self):
            return ray.get(self.kept[0].pid.remote())

    @ray.remote
    def use(handle):
        return ray.get(handle.pid.remote())

    recorder = recorder_class.remote()
    pid = ray.get(recorder.pid.remote(), timeout=20)
    assert ray.get(use.remote(recorder), timeout=20) == pid
    keeper = Keeper.remote()
    ray.get(keeper.keep.remote([recorder]), timeout=20)
    boxed = ray.put({"handle": recorder})
    del recorder
    assert ray.get(keeper.use.remote(), timeout=20) == pid
    ray.get(keeper.keep.remote(None), timeout=20)
    assert ray.get(ray.get(boxed)["handle"].pid.remote(), timeout=20) == pid
    del boxed
    eventually(lambda: not _alive(pid))


def test_pending_calls_finish_after_the_handle_is_gone(ray, recorder_class):
    recorder = recorder_class.remote()
    refs = [recorder.nap.remote(0.05) for _ in range(5)]
    del recorder
    assert ray.get(refs, timeout=20) == [0.05] * 5


def test_an_actor_made_in_a_task_lives_as_long_as_its_handle(ray, recorder_class):
    @ray.remote
    def make():
        actor = recorder_class.remote()
        return actor, ray.get(actor.pid.remote())

    actor, pid = ray.get(make.remote(), timeout=20)
    assert ray.get(actor.note.remote("driver", 1), timeout=20) == 1
    del actor
    eventually(lambda: not _alive(pid))


def test_an_actor_dies_with_the_worker_that_made_it(ray, recorder_class):
    @ray.remote
    class Maker:
        def make(self):
            self.actor = recorder_class.remote()
            return self.actor, ray.get(self.actor.pid.remote())

    maker = Maker.remote()
    actor, pid = ray.get(maker.make.remote(), timeout=20)
    ray.kill(maker)
    eventually(lambda: not _alive(pid))
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.pid.remote(), timeout=20)


def test_a_constructor_error_reaches_every_call(ray):
    @ray.remote
    class Broken:
        def __init__(self, value):
            raise RuntimeError(f"cannot make it from {value}")

        def method(self):
            return 1

    broken = Broken.remote("this")
    for ref in [broken.method.remote() for _ in range(3)]:
        with pytest.raises(ray.exceptions.ActorDiedError, match="cannot make it from this"):
            ray.get(ref, timeout=20)


def test_what_a_constructor_is_given_stays_until_it_has_run(ray):
    """References inside of arguments, though nothing else holds them and other actors are created meanwhile."""

    @ray.remote
    class Reader:
        def __init__(self, refs):
            self.value = ray.get(refs[0])

        def read(self):
            return self.value

    @ray.remote(num_cpus=4)
    class Everything:
        def ready(self):
            return True

    everything = Everything.remote()
    ray.get(everything.ready.remote())
    reader = Reader.options(num_cpus=1).remote([ray.put("kept")])
    other = Reader.options(num_cpus=0).remote([ray.put("other")])
    assert ray.get(other.read.remote(), timeout=20) == "other"
    ray.kill(everything)

    assert ray.get(reader.read.remote(), timeout=20) == "kept"


def test_constructor_arguments_may_be_references(ray):
    @ray.remote
    def slow():
        time.sleep(0.05)
        return "value"

    @ray.remote
    class Holder:
        def __init__(self, value, refs, *, option):
            self.result = value, ray.get(refs[0]), option

        def get(self):
            return self.result

    holder = Holder.remote(slow.remote(), [ray.put("nested")], option=ray.put("option"))
    assert ray.get(holder.get.remote(), timeout=20) == ("value", "nested", "option")


def test_threads_run_at_once_and_errors_stay_with_their_call(ray):
    @ray.remote(max_concurrency=4)
    class Threaded:
        def __init__(self):
            self.barrier = threading.Barrier(4)

        def meet(self, number):
            self.barrier.wait(20)
            if number == 2:
                raise LookupError("only two")
            return number

        def leave(self):
            ray.actor.exit_actor()

    threaded = Threaded.remote()
    refs = [threaded.meet.remote(i) for i in range(4)]
    assert ray.get([refs[0], refs[1], refs[3]], timeout=20) == [0, 1, 3]
    with pytest.raises(LookupError, match="only two"):
        ray.get(refs[2], timeout=20)
    with pytest.raises(ray.exceptions.ActorDiedError, match="exit_actor"):
        ray.get(threaded.leave.remote(), timeout=20)


def test_concurrency_groups_do_not_block_each_other(ray):
    @ray.remote(concurrency_groups={"io": 2, "compute": 1})
    class Grouped:
        def __init__(self):
            self.event = threading.Event()

        @ray.method(concurrency_group="io")
        def wait(self):
            return self.event.wait(20)

        @ray.method(concurrency_group="compute")
        def release(self):
            self.event.set()
            return threading.current_thread().name

        def default(self):
            return "default"

    grouped = Grouped.remote()
    waiting = [grouped.wait.remote() for _ in range(2)]
    assert ray.get(grouped.default.remote(), timeout=20) == "default"
    ray.get(grouped.release.remote(), timeout=20)
    assert ray.get(waiting, timeout=20) == [True, True]


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}, {"concurrency_groups": {"io": 1}}])
def test_an_unknown_concurrency_group_fails_the_call_only(ray, options):
    class Plain:
        def work(self):
            return "done"

    actor = (ray.remote(**options)(Plain) if options else ray.remote(Plain)).remote()
    with pytest.raises(ValueError, match="'unknown'"):
        ray.get(actor.work.options(concurrency_group="unknown").remote(), timeout=20)
    assert ray.get(actor.work.remote(), timeout=20) == "done"


def test_actors_call_each_other_in_a_ring(ray):
    @ray.remote
    class Node:
        def set_next(self, node):
            self.next = node

        def forward(self, hops):
            return hops if hops == 0 else ray.get(self.next.forward.remote(hops - 1))

    nodes = [Node.remote() for _ in range(4)]
    ray.get([node.set_next.remote(nodes[(i + 1) % 4]) for i, node in enumerate(nodes)], timeout=20)
    assert ray.get(nodes[0].forward.remote(3), timeout=20) == 0


def test_a_nested_class_may_create_actors_of_itself(ray):
    @ray.remote(num_cpus=0)
    class Chain:
        def __init__(self, length, left=2):
            self.next = Chain.remote(length + 1, left - 1) if left else None
            self.length = length

        def last(self):
            return self.length if self.next is None else ray.get(self.next.last.remote())

    assert ray.get(Chain.remote(1).last.remote(), timeout=30) == 3
