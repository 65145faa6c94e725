"""Tree ensembles of ONNX models, checked before ONNX Runtime builds them.

ONNX Runtime builds its trees by recursion. Some versions read features, children and targets at
whatever place a file names.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nightscore.models.structure.onnx_attributes import BrokenError
from nightscore.models.structure.onnx_ensembles import needed_columns
from nightscore.models.structure.onnx_walk import node_place, walk_graphs

DOMAIN = "ai.onnx.ml"
OPERATORS = ("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor")
KEEPS_WIDTH = {
    ("", "Cast"),
    ("", "Identity"),
    (DOMAIN, "Binarizer"),
    (DOMAIN, "Imputer"),
    (DOMAIN, "Normalizer"),
    (DOMAIN, "Scaler"),
}
"""Operators whose output has as many columns as their input."""


def check_trees(model: Any, given_width: Callable[[str], int | None]) -> tuple[list[str], bool]:
    """What is wrong with the tree ensembles of a model, and whether its graph was changed.

    If it is unknown how many columns will reach an ensemble, the graph is changed so that too few
    are an error when it runs.

    Args:
        model: A parsed file whose tensors were checked.
        given_width: Columns of an input of the graph, or None if that is unknown.
    """
    problems = list(_hidden_ensembles(model))
    guarded: dict[int, int] = {}
    widths = _Widths(model.graph, given_width)

    for i, node in enumerate(model.graph.node):
        if not _is_ensemble(node):
            continue

        place = node_place("graph", i, node)

        try:
            n_columns = needed_columns(node)
        except BrokenError as error:
            problems.append(f"{place}: {error}")
            continue

        width = widths.find(node.input[0])
        if width is None:
            guarded[i] = n_columns
        elif n_columns > width:
            problems.append(
                f"{place}: looks at feature {n_columns - 1:,}, and there are {width:,} columns"
            )

    if guarded and not problems:
        _guard(model, guarded)

    return problems, bool(guarded)


def _is_ensemble(node: Any) -> bool:
    return node.domain == DOMAIN and node.op_type in OPERATORS


def _hidden_ensembles(model: Any) -> Iterator[str]:
    """Ensembles that the graph itself does not hold."""
    bodies = [(place, graph) for place, graph in walk_graphs(model) if place != "graph"]
    bodies += [(f"function {function.name}", function) for function in model.functions]
    for place, body in bodies:
        for i, node in enumerate(body.node):
            if _is_ensemble(node):
                yield (
                    f"{node_place(place, i, node)}: a tree ensemble inside another graph or a "
                    "function is not read"
                )


class _Widths:
    """Columns of the graph's values, as far as they follow from its inputs."""

    def __init__(self, graph: Any, given_width: Callable[[str], int | None]) -> None:
        self._given = given_width
        constants = {tensor.name for tensor in graph.initializer}
        self._inputs = {part.name for part in graph.input} - constants
        self._makers = {output: node for node in graph.node for output in node.output}

    def find(self, name: str) -> int | None:
        """Columns of a value, or None if that is unknown."""
        seen: set[str] = set()
        while name not in seen:
            seen.add(name)

            if name in self._inputs:
                return self._given(name)

            node = self._makers.get(name)
            if node is None or (node.domain, node.op_type) not in KEEPS_WIDTH or not node.input:
                return None

            name = node.input[0]

        return None


def _guard(model: Any, guarded: dict[int, int]) -> None:
    """Take an ensemble's columns by operators that check that there are so many.

    Args:
        model: The parsed file.
        guarded: How many columns ensembles look at, by their place among the graph's nodes.
    """
    from onnx import helper

    graph = model.graph

    if not {opset.domain for opset in model.opset_import} & {"", "ai.onnx"}:
        model.opset_import.append(helper.make_opsetid("", 13))

    nodes = []
    for i, node in enumerate(graph.node):
        copy = type(node).FromString(node.SerializeToString())
        if i in guarded:
            prefix = f"nightscore_columns_{i}"
            nodes += _taking_nodes(graph, node.input[0], prefix, guarded[i])
            copy.input[0] = f"{prefix}_matrix"

        nodes.append(copy)

    del graph.node[:]
    graph.node.extend(nodes)


def _taking_nodes(graph: Any, source: str, prefix: str, n_columns: int) -> list[Any]:
    """Nodes that take the first columns of a value, as a matrix."""
    from onnx import TensorProto, helper

    columns = np.arange(n_columns)
    indices = helper.make_tensor(f"{prefix}_indices", TensorProto.INT64, [n_columns], columns)
    shape = helper.make_tensor(f"{prefix}_shape", TensorProto.INT64, [2], [0, n_columns])
    graph.initializer.extend([indices, shape])

    taken = f"{prefix}_taken"
    return [
        helper.make_node("Gather", [source, indices.name], [taken], axis=1),
        # The result has two dimensions, whatever the value has.
        helper.make_node("Reshape", [taken, shape.name], [f"{prefix}_matrix"]),
    ]
