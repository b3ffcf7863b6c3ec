import pathlib
from xml.etree import ElementTree as ET

import pytest

from tests.dag.local_calls import LocalClass, LocalFunction
from trayray.dag import DAGNode, InputNode, MultiOutputNode, plot


def clean(text: str, limit: int = 3) -> str:
    return text[:limit]


def join(left: str, right: str) -> str:
    return left + right


class Store:
    def __init__(self, name: str = "") -> None:
        self.name = name

    def save(self, text: str) -> str:
        return text

    def close(self) -> None: ...


def graph() -> DAGNode[list[str]]:
    store = LocalClass(Store).bind("disk")
    with InputNode() as given:
        joined = LocalFunction(join).bind(LocalFunction(clean).bind(given["a<b"], given.limit), right=given["a<b"])
        store.save.bind(joined)
    return MultiOutputNode([joined, store.close.bind()])


MERMAID = """\
flowchart TD
    n0(["input"])
    n1(["input['a#lt;b']"])
    n2(["input.limit"])
    n3["clean"]
    n4(["input['a#lt;b']"])
    n5["join"]
    n6[["Store"]]
    n7("Store.save")
    n8("Store.close")
    n9(["output"])
    n0 --> n1
    n0 --> n2
    n1 -->|"text"| n3
    n2 -->|"limit"| n3
    n0 --> n4
    n3 -->|"left"| n5
    n4 -->|"right"| n5
    n6 -->|"self"| n7
    n5 -->|"text"| n7
    n7 -.-> n8
    n5 -->|"0"| n9
    n8 -->|"1"| n9
"""

GRAPHVIZ = """\
digraph {
    node [fontname=sans]
    edge [fontname=sans, fontsize=10]
    n0 [label="clean", shape=box]
    n1 [label="join", shape=box]
    n0 -> n1 [label="left, right['\\"']"]
}
"""


def test_mermaid_numbers_nodes_in_the_order_of_execution() -> None:
    assert graph().to_mermaid() == MERMAID
    assert graph().to_mermaid() == graph().to_mermaid()


def test_graphviz_escapes_what_it_must_and_joins_arrows() -> None:
    inner = LocalFunction(clean).bind("text")

    assert LocalFunction(join).bind(inner, {'"': inner}).to_graphviz() == GRAPHVIZ


def test_notebooks_show_the_picture() -> None:
    shown = graph()._repr_mimebundle_()

    assert set(shown) == {"image/svg+xml", "text/plain"}
    drawn = ET.fromstring(shown["image/svg+xml"])
    texts = [text.text for text in drawn.findall("{*}text")]
    assert {"clean", "join", "Store", "Store.save", "input['a<b']", "output", "left", "right", "self"} <= set(texts)


def test_a_single_node_has_a_picture() -> None:
    drawn = ET.fromstring(plot(LocalFunction(clean).bind("a")))

    assert len(drawn.findall("{*}rect")) == 1


def test_plots_are_written_as_their_suffix_says(tmp_path: pathlib.Path) -> None:
    dag = graph()
    for suffix, text in ((".mmd", dag.to_mermaid()), (".dot", dag.to_graphviz()), (".gv", dag.to_graphviz())):
        assert plot(dag, tmp_path / f"dag{suffix}") == text
        assert (tmp_path / f"dag{suffix}").read_text() == text
    assert plot(dag, str(tmp_path / "dag.svg")) == plot(dag)
    assert (tmp_path / "dag.svg").read_text() == plot(dag)

    with pytest.raises(ValueError, match=r"'dag.png'.*\.svg, \.dot"):
        plot(dag, tmp_path / "dag.png")
