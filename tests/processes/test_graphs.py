"""Lazy graphs on a cluster: what `bind` makes is run as tasks and actors, which end when they should."""

import asyncio
import gc
import pathlib
import pickle
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.processes.waiting import eventually
from trayray.dag import ClassMethodNode, InputNode, MultiOutputNode


@pytest.fixture(scope="module")
def add(ray: ModuleType) -> Any:
    @ray.remote
    def add(a: Any, b: Any = 1) -> Any:
        return a + b

    return add


@pytest.fixture(scope="module")
def account(ray: ModuleType) -> Any:
    @ray.remote(num_cpus=0)
    class Account:
        def __init__(self, balance: int = 0) -> None:
            self.balance = balance

        def deposit(self, amount: int) -> int:
            self.balance += amount
            return self.balance

        def large(self) -> bytes:
            return bytes(3_000_000)

        def pair(self) -> tuple[int, int]:
            return self.balance, -self.balance

        def steps(self, count: int) -> Any:
            yield from range(count)

        def fail(self) -> None:
            raise RuntimeError("no money")

    return Account


def exists(ray: ModuleType, name: str) -> bool:
    try:
        ray.get_actor(name)
    except ValueError:
        return False
    return True


def test_references_and_nodes_anywhere_in_the_arguments(ray: ModuleType, add: Any) -> None:
    @ray.remote
    def total(values: dict[str, list[Any]], last: int) -> int:
        return sum(ray.get(values["refs"])) + last

    dag = total.bind({"refs": [add.bind(1), ray.put(10)]}, last=add.bind(ray.put(100), b=add.bind(1000)))

    assert ray.get(dag.execute()) == 2 + 10 + 1101


def test_options_are_kept(ray: ModuleType) -> None:
    @ray.remote
    def two() -> tuple[int, int]:
        return 1, 2

    node = two.options(num_returns=2, num_cpus=0.5).bind()

    assert node.get_options() == {"num_returns": 2, "num_cpus": 0.5}
    first, second = node.execute()
    assert ray.get([first, second]) == [1, 2]


def test_a_generator_is_executed_alone(ray: ModuleType, add: Any, account: Any) -> None:
    @ray.remote
    def count(n: int) -> Any:
        yield from range(n)

    with InputNode() as n:
        counted = count.bind(add.bind(n))
    assert [ray.get(ref) for ref in counted.execute(2)] == [0, 1, 2]
    assert [ray.get(ref) for ref in account.bind().steps.bind(2).execute()] == [0, 1]
    (stream,) = MultiOutputNode([counted]).execute(1)
    assert [ray.get(ref) for ref in stream] == [0, 1]
    with pytest.raises(TypeError, match=r"FunctionNode\(count\) is a generator.* FunctionNode\(add\)"):
        add.bind(count.bind(2)).execute()


def test_bound_actors_end_with_their_execution_though_results_stay(ray: ModuleType, account: Any) -> None:
    dag = account.options(name="of a graph").bind(3).large.bind()
    ref = dag.execute()

    assert len(ray.get(ref)) == 3_000_000
    eventually(lambda: not exists(ray, "of a graph"))
    assert len(ray.get(ref)) == 3_000_000


def test_actors_wait_for_all_calls_of_their_graph(ray: ModuleType, add: Any, account: Any) -> None:
    """The last call waits for a task long after `execute` has returned."""

    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self) -> None:
            self.opened = asyncio.Event()

        async def push(self) -> None:
            self.opened.set()

        async def passed(self) -> int:
            await self.opened.wait()
            return 5

    gate = Gate.remote()
    bound = account.options(name="waiting").bind(1)
    first = bound.deposit.bind(2)
    last = bound.deposit.bind(gate.passed.bind())
    one, other = MultiOutputNode([first, last]).execute()
    gc.collect()

    assert ray.get(one) == 3
    assert exists(ray, "waiting")
    ray.get(gate.push.remote())
    assert ray.get(other) == 8
    eventually(lambda: not exists(ray, "waiting"))


def test_actors_end_when_the_execution_fails(ray: ModuleType, add: Any, account: Any) -> None:
    bound = account.options(name="failing").bind()
    bound.deposit.bind(1)

    with pytest.raises(TypeError, match="too many positional arguments"):
        bound.deposit.bind(1, 2).execute()

    gc.collect()  # the exception refers to itself, and to the frames that hold the handle
    eventually(lambda: not exists(ray, "failing"))
    with pytest.raises(RuntimeError, match="no money"):
        ray.get(account.bind().fail.bind().execute())


def test_an_executed_class_is_its_handle_and_lives_with_it(ray: ModuleType, account: Any) -> None:
    handle = account.options(name="root").bind(4).execute()

    assert ray.get(handle.deposit.remote(1)) == 5
    del handle
    eventually(lambda: not exists(ray, "root"))


def test_a_bound_actor_is_passed_as_its_handle(ray: ModuleType, account: Any) -> None:
    @ray.remote
    def pay(handle: Any, amount: int) -> int:
        return ray.get(handle.deposit.remote(amount))

    bound = account.options(name="passed").bind(1)

    assert ray.get(pay.bind(bound, 2).execute()) == 3
    eventually(lambda: not exists(ray, "passed"))


def test_detached_actors_stay(ray: ModuleType, account: Any) -> None:
    account.options(name="stays", lifetime="detached", get_if_exists=True).bind(1).deposit.bind(1).execute()
    dag = account.options(name="stays", lifetime="detached", get_if_exists=True).bind(1).deposit.bind(1)

    assert ray.get(dag.execute()) == 3
    ray.kill(ray.get_actor("stays"))


def test_methods_of_live_actors(ray: ModuleType, add: Any, account: Any) -> None:
    handle = account.remote(1)
    node = handle.deposit.options(name="named").bind(add.bind(1))
    several = handle.pair.options(num_returns=2).bind()

    assert isinstance(node, ClassMethodNode)
    assert ray.get(node.execute()) == 3
    assert isinstance(several, tuple)
    assert ray.get(add.bind(*several).execute()) == 0
    assert ray.get([one.execute() for one in several]) == [3, -3]
    assert ray.get(account.bind(7).pair.options(num_returns=2).bind().execute()) == [7, -7]
    with pytest.raises(TypeError, match="no option 'nme'"):
        handle.deposit.options(nme="x").bind(1)


def test_a_graph_is_executed_in_a_task(ray: ModuleType, add: Any, account: Any) -> None:
    @ray.remote
    def run(dag: Any, value: int) -> int:
        return ray.get(dag.execute(value))

    with InputNode() as given:
        dag = account.bind(1).deposit.bind(add.bind(given))

    assert ray.get(run.remote(dag, 2)) == 4
    assert ray.get(pickle.loads(ray.cloudpickle.dumps(dag)).execute(3)) == 5


def test_the_example_checks_itself(tmp_path: pathlib.Path) -> None:
    picture = tmp_path / "graph.svg"
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, "-m", "trayray", "run", root / "examples" / "graph.py", "--points=1000", "--folds=2"]

    done = subprocess.run([*command, f"--picture={picture}"], cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert picture.read_text().startswith("<svg")


def test_arguments_have_names_in_pictures(ray: ModuleType, account: Any) -> None:
    @ray.remote
    def gather(first: Any, *others: Any, key: Any = None) -> None: ...

    one = account.bind(balance=2).deposit.bind(1)
    text = str(gather.bind(one, one, [one], key=one))

    assert text.splitlines()[-1].endswith("first=#1, others[0]=#1, others[1][0]=#1, key=#1")
