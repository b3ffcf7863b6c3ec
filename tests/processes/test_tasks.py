"""Tasks in real processes: fairness, deadlock freedom, loss of workers, cancellation before the start."""

import os
import pathlib
import sys
import textwrap
import time

import pytest

from tests.conftest import init_arguments


@pytest.fixture
def one_cpu(fresh_ray):
    fresh_ray.init(**init_arguments(num_cpus=1))
    return fresh_ray


def test_many_functions_at_once(ray):
    def make(number):
        @ray.remote
        def function(x):
            return number, x

        return function

    functions = [make(number) for number in range(30)]
    refs = [function.remote(x) for x in range(5) for function in functions]
    assert ray.get(refs, timeout=60) == [(number, x) for x in range(5) for number in range(30)]


def test_a_class_with_few_tasks_is_not_starved_by_one_with_many(one_cpu):
    ray = one_cpu

    @ray.remote
    def busy():
        time.sleep(0.01)

    @ray.remote
    def other():
        return "served"

    many = [busy.remote() for _ in range(200)]
    few = [other.options(num_cpus=0.5).remote() for _ in range(2)]
    assert ray.get(few, timeout=20) == ["served"] * 2
    _, unfinished = ray.wait(many, num_returns=len(many), timeout=0)
    assert unfinished, "every task of the large class ran before the small one had its turn"
    ray.get(many, timeout=60)


def test_nested_fan_out_over_three_levels_on_two_cpus(fresh_ray):
    ray = fresh_ray
    ray.init(**init_arguments(num_cpus=2))

    @ray.remote
    def tree(depth):
        if depth == 0:
            return 1
        return sum(ray.get([tree.remote(depth - 1) for _ in range(3)]))

    assert ray.get(tree.remote(3), timeout=60) == 27


def test_mutual_recursion(ray):
    class Both:
        pass

    both = Both()

    @ray.remote
    def even(functions, n):
        return True if n == 0 else ray.get(functions["odd"].remote(functions, n - 1))

    @ray.remote
    def odd(functions, n):
        return False if n == 0 else ray.get(functions["even"].remote(functions, n - 1))

    both.functions = {"even": even, "odd": odd}
    assert ray.get(even.remote(both.functions, 7), timeout=60) is False


def test_a_task_waits_for_one_that_is_queued_behind_it(one_cpu):
    """The second task is of the same class and may have been sent to the same worker: it must be able to overtake."""
    ray = one_cpu

    @ray.remote
    class Mailbox:
        def __init__(self):
            self.refs = []

        def put(self, refs):
            self.refs = refs

        def get(self):
            return self.refs

    @ray.remote
    def work(mailbox, waits):
        if not waits:
            return "b"
        while not (refs := ray.get(mailbox.get.remote())):
            time.sleep(0.001)
        return ray.get(refs[0])

    mailbox = Mailbox.remote()
    ray.get([work.remote(mailbox, False) for _ in range(50)], timeout=20)  # the class counts as quick: it is pipelined
    first = work.remote(mailbox, True)
    second = work.remote(mailbox, False)
    ray.get(mailbox.put.remote([second]), timeout=20)
    assert ray.get(first, timeout=20) == "b"


def test_a_long_task_does_not_hold_up_short_ones_of_its_function(fresh_ray, tmp_path):
    ray = fresh_ray
    ray.init(**init_arguments(num_cpus=2))
    gate = tmp_path / "gate"

    @ray.remote
    def work(path):
        while path is not None and not os.path.exists(path):
            time.sleep(0.005)
        return path is None

    ray.get([work.remote(None) for _ in range(200)], timeout=20)
    refs = [work.remote(str(gate) if i == 100 else None) for i in range(300)]
    ready, waiting = ray.wait(refs, num_returns=299, timeout=30)
    assert (len(ready), waiting) == (299, [refs[100]])
    gate.touch()
    assert ray.get(refs[100], timeout=20) is False


def test_ten_thousand_tasks(ray):
    @ray.remote
    def double(x):
        return 2 * x

    assert ray.get([double.remote(i) for i in range(10_000)], timeout=90) == [2 * i for i in range(10_000)]


def test_refs_given_by_keyword_only(ray):
    @ray.remote
    def join(*, left, right=10, **more):
        return left, right, more

    ref = ray.put("value")
    assert ray.get(join.remote(left=ref, other=ref), timeout=20) == ("value", 10, {"other": "value"})
    assert ray.get(join.remote(right=ref, left=1), timeout=20) == (1, "value", {})


def test_a_function_whose_module_the_worker_lacks(ray, tmp_path, monkeypatch):
    source = "def answer():\n    return 42\n"
    directory = tmp_path / "only_here"
    directory.mkdir()
    (directory / "module_of_the_driver.py").write_text(source)
    monkeypatch.syspath_prepend(str(directory))
    import module_of_the_driver

    remote = ray.remote(module_of_the_driver.answer)
    (directory / "module_of_the_driver.py").unlink()
    with pytest.raises(Exception, match=r"(?s)could not be loaded in the worker.*module_of_the_driver"):
        ray.get(remote.remote(), timeout=20)


def test_a_definition_that_fails_to_load_leaves_the_worker_usable(one_cpu):
    ray = one_cpu

    class Poison:
        def __reduce__(self):
            return sys.exit, (3,)

    poison = Poison()

    @ray.remote(max_retries=0)
    def bad():
        return poison

    @ray.remote
    def good():
        return "good"

    with pytest.raises((ray.exceptions.RayError, SystemExit)):
        ray.get(bad.remote(), timeout=20)
    assert ray.get(good.remote(), timeout=20) == "good"


def test_a_task_that_kills_its_worker_takes_no_other_with_it(one_cpu):
    ray = one_cpu

    @ray.remote(max_retries=0)
    def work(i, directory):
        pathlib.Path(directory, f"{i}.{os.getpid()}.{time.monotonic_ns()}").touch()
        if i == 20:
            os._exit(1)
        return i

    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        ray.get([work.remote(i, directory) for i in range(100, 200)], timeout=20)
        refs = [work.remote(i, directory) for i in range(60)]
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(refs[20], timeout=20)
        del refs[20]
        assert ray.get(refs, timeout=20) == [i for i in range(60) if i != 20]
        runs = [int(name.split(".")[0]) for name in os.listdir(directory)]
        assert sorted(i for i in runs if i < 100) == list(range(60)), "a task with max_retries=0 ran twice"


def test_a_crashing_task_is_retried_without_repeating_its_neighbours_for_ever(one_cpu, tmp_path):
    ray = one_cpu
    marks = str(tmp_path)

    @ray.remote(max_retries=2)
    def work(i):
        if i == 5:
            attempt = len(os.listdir(marks))
            pathlib.Path(marks, str(attempt)).touch()
            if attempt < 2:
                os._exit(1)
        return i

    assert ray.get([work.remote(i) for i in range(30)], timeout=30) == list(range(30))
    assert len(os.listdir(marks)) == 3


def test_cancel_of_queued_tasks(one_cpu, tmp_path):
    ray = one_cpu
    gate = tmp_path / "gate"
    ran = tmp_path / "ran"
    ran.mkdir()

    @ray.remote
    def work(i):
        (ran / str(i)).touch()
        while i == 0 and not gate.exists():
            time.sleep(0.005)
        return i

    refs = [work.remote(i) for i in range(20)]
    for ref in refs[5:15]:
        ray.cancel(ref)
    gate.touch()
    assert ray.get(refs[:5] + refs[15:], timeout=20) == [0, 1, 2, 3, 4, 15, 16, 17, 18, 19]
    for ref in refs[5:15]:
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(ref, timeout=20)
    assert not {str(i) for i in range(5, 15)} & set(os.listdir(ran))


def test_cancel_of_tasks_that_a_worker_has_but_has_not_started(one_cpu, tmp_path):
    """The class is pipelined by then, so the tasks behind the long one are with its worker when they are cancelled."""
    ray = one_cpu
    gate = tmp_path / "gate"
    ran = tmp_path / "ran"
    ran.mkdir()

    @ray.remote
    def work(i):
        if i >= 0:
            (ran / str(i)).touch()
        while i == 0 and not gate.exists():
            time.sleep(0.005)
        return i

    ray.get([work.remote(-1) for _ in range(200)], timeout=20)
    refs = [work.remote(i) for i in range(12)]
    for ref in refs[6:]:
        ray.cancel(ref)
    cancelled, _ = ray.wait(refs[6:], num_returns=6, timeout=20)
    assert cancelled == refs[6:]
    gate.touch()
    assert ray.get(refs[:6], timeout=20) == list(range(6))
    for ref in cancelled:
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(ref, timeout=20)
    assert sorted(os.listdir(ran), key=int) == [str(i) for i in range(6)]


def test_cancel_of_a_task_that_waits_for_its_argument(ray, tmp_path):
    gate = tmp_path / "gate"

    @ray.remote
    def slow():
        while not gate.exists():
            time.sleep(0.005)
        return 1

    @ray.remote
    def after(x):
        return x + 1

    argument = slow.remote()
    cancelled, kept = after.remote(argument), after.remote(argument)
    ray.cancel(cancelled)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(cancelled, timeout=20)
    gate.touch()
    assert ray.get(kept, timeout=20) == 2


def test_submission_from_many_threads(ray):
    from concurrent.futures import ThreadPoolExecutor

    @ray.remote
    def add(x, y):
        return x + y

    def use(thread):
        return ray.get([add.remote(thread, i) for i in range(100)], timeout=60)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == [[thread + i for i in range(100)] for thread in range(8)]


def test_threads_inside_a_task_submit_and_wait(one_cpu):
    ray = one_cpu

    @ray.remote
    def child(x):
        return x

    @ray.remote
    def parent():
        from concurrent.futures import ThreadPoolExecutor

        refs = [child.remote(i) for i in range(4)]
        with ThreadPoolExecutor(4) as pool:
            values = pool.map(lambda ref: ray.wait([ref], timeout=0)[1], refs)
            list(values)
        return ray.get(refs)

    assert ray.get(parent.remote(), timeout=30) == [0, 1, 2, 3]


def test_a_program_whose_functions_are_in_main(tmp_path):
    import subprocess

    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            """
            import trayray as ray

            CONSTANT = 5

            class Point:
                def __init__(self, x):
                    self.x = x

            @ray.remote
            def shift(point):
                return Point(point.x + CONSTANT)

            if __name__ == "__main__":
                ray.init(address="local", num_cpus=1, object_store_memory=80 * 1024 * 1024)
                print(ray.get(shift.remote(Point(1))).x, isinstance(ray.get(shift.remote(Point(1))), Point))
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("6 True\n", 0), done.stderr


def test_a_nested_function_may_refer_to_itself_and_have_defaults(ray):
    @ray.remote
    def countdown(n, step=1, *, floor=0):
        return n if n <= floor else ray.get(countdown.remote(n - step))

    assert ray.get(countdown.remote(2), timeout=30) == 0
