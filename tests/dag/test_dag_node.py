import copy
import pickle
import re
from typing import Any

import pytest

from tests.dag.local_calls import LocalClass, LocalFunction
from trayray.dag import DAGNode, FunctionNode, InputNode, MultiOutputNode
from trayray.dag.class_node import ClassMethodNode, ClassNode
from trayray.dag.dag_node import DAGNode as SamePlace
from trayray.dag.function_node import FunctionNode as SameFunctionNode
from trayray.dag.output_node import MultiOutputNode as SameOutput


def add(a: Any, b: Any = 1) -> Any:
    return a + b


class Account:
    def __init__(self, balance: Any = 0) -> None:
        self.balance = balance

    def deposit(self, amount: Any) -> Any:
        self.balance += amount
        return self.balance

    def total(self) -> Any:
        return self.balance

    def execute(self) -> str:
        return "hidden by the node's own"


def account_graph() -> DAGNode[Any]:
    account = LocalClass(Account).bind(10)
    deposited = account.deposit.bind(LocalFunction(add).bind(2, b=3))
    return MultiOutputNode([deposited, account.total.bind()])


def test_names_are_where_ray_has_them() -> None:
    assert (SamePlace, SameFunctionNode, SameOutput) == (DAGNode, FunctionNode, MultiOutputNode)


def test_text_lists_the_graph_inputs_first() -> None:
    assert str(account_graph()).splitlines() == [
        "#0 ClassNode(Account)",
        "#1 FunctionNode(add)",
        "#2 ClassMethodNode(Account.deposit) <- self=#0, amount=#1",
        "#3 ClassMethodNode(Account.total) <- self=#0, after #2",
        "#4 MultiOutputNode(output) <- 0=#2, 1=#3",
    ]


def test_executing_a_call_executes_those_bound_before_it() -> None:
    account = LocalClass(Account).bind(balance=10)
    first = account.deposit.bind(1)
    total = account.total.bind()
    account.deposit.bind(100)

    assert total.execute() == 11
    assert first.execute() == 11
    assert account.total.bind().execute() == 111


@pytest.mark.parametrize("again", [copy.deepcopy, lambda node: pickle.loads(pickle.dumps(node))])
def test_graphs_travel_whole(again: Any) -> None:
    graph = account_graph()

    arrived = again(graph)

    assert arrived is not graph
    assert arrived.execute() == graph.execute() == [15, 15]
    assert arrived.get_stable_uuid() == graph.get_stable_uuid()
    assert str(arrived) == str(graph)


def test_calls_go_on_after_those_of_a_copied_class() -> None:
    account = LocalClass(Account).bind(1)
    dag = account.deposit.bind(2).apply_recursive(lambda node: node)

    (parent,) = [node for node in dag._order() if isinstance(node, ClassNode)]

    assert parent is not account
    assert parent.total.bind().execute() == 3


def test_apply_recursive_hands_on_what_was_made_of_inputs() -> None:
    node = LocalFunction(add).bind([LocalFunction(add).bind(1)], b={"k": LocalFunction(add).bind(2)})

    assert node.apply_recursive(lambda node: (node.get_args(), node.get_kwargs())) == (
        ([((1,), {})],),
        {"b": {"k": ((2,), {})}},
    )


async def test_results_of_the_latest_execution_are_kept_when_asked_for() -> None:
    inner = LocalFunction(add).bind(1)
    outer = LocalFunction(add).bind(inner, 5)

    outer.execute()
    assert await outer.get_object_refs_from_last_execute() == {}
    outer.execute(_ray_cache_refs=True)
    assert await outer.get_object_refs_from_last_execute() == {inner.get_stable_uuid(): 2, outer.get_stable_uuid(): 7}
    outer.clear_cache()
    assert await outer.get_object_refs_from_last_execute() == {}


def test_arguments_are_told_as_they_were_bound() -> None:
    inner = LocalFunction(add).bind(1)
    node = LocalFunction(add).bind(inner, b=2)

    assert node.get_args() == (inner,)
    assert node.get_kwargs() == {"b": 2}
    assert node.get_options() == {}
    assert node == node
    assert node != LocalFunction(add).bind(inner, b=2)


def test_what_nodes_are_not() -> None:
    node, account = LocalFunction(add).bind(1), LocalClass(Account).bind()

    with pytest.raises(AttributeError, match="execute"):
        node.remote()
    with pytest.raises(AttributeError, match="cannot be used again"):
        node.bind()
    with pytest.raises(AttributeError, match="'FunctionNode' object has no attribute 'other'"):
        _ = node.other
    with pytest.raises(AttributeError, match="execute"):
        account.remote()
    with pytest.raises(AttributeError, match="cannot be used again"):
        account.bind()
    with pytest.raises(
        AttributeError, match=r"Account has no method 'withdraw' to bind; it has deposit, execute, total"
    ):
        account.withdraw.bind()
    with pytest.raises(AttributeError, match=re.escape("ClassNode(Account).total: its actor exists in executions")):
        account.total.remote()
    with pytest.raises(TypeError, match="cannot be called directly"):
        account.total()


def test_there_are_no_compiled_graphs() -> None:
    with pytest.raises(NotImplementedError, match=re.escape("Use .execute()")):
        LocalFunction(add).bind(1).experimental_compile(enable_asyncio=True)


def test_options_of_calls_are_checked_when_they_are_bound() -> None:
    account = LocalClass(Account).bind()

    with pytest.raises(TypeError, match="no option 'nme'"):
        account.total.options(nme="x").bind()
    node = account.total.options(name="x").bind()
    assert isinstance(node, ClassMethodNode)
    assert node.get_method_name() == "total"
    assert node.get_options() == {"name": "x"}


def test_outputs_are_a_list_or_tuple() -> None:
    node = LocalFunction(add).bind(1)
    with InputNode() as given:
        assert MultiOutputNode((node, 7, given, [node])).execute(3) == [2, 7, 3, [2]]
    assert MultiOutputNode(args=[]).execute() == []
    assert MultiOutputNode([MultiOutputNode([node]), node]).execute() == [[2], 2]
    with pytest.raises(ValueError, match="list or tuple"):
        MultiOutputNode(node)  # pyright: ignore[reportArgumentType]: what is refused
