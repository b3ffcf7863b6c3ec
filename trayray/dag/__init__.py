"""Ray's ``ray.dag``: lazy graphs of tasks and actor calls. ``bind`` makes their nodes, ``execute`` runs them."""

from trayray.dag.class_node import ClassMethodNode as ClassMethodNode
from trayray.dag.class_node import ClassNode as ClassNode
from trayray.dag.dag_node import DAGNode as DAGNode
from trayray.dag.function_node import FunctionNode as FunctionNode
from trayray.dag.input_node import DAGInputData as DAGInputData
from trayray.dag.input_node import InputAttributeNode as InputAttributeNode
from trayray.dag.input_node import InputNode as InputNode
from trayray.dag.output_node import MultiOutputNode as MultiOutputNode
from trayray.dag.picture import plot as plot

__all__ = (
    "ClassMethodNode",
    "ClassNode",
    "DAGInputData",
    "DAGNode",
    "FunctionNode",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
    "plot",
)
