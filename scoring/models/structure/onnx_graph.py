"""What an ONNX file must be before ONNX Runtime gets it: its nodes, its functions and its weights.

ONNX Runtime trusts much of what a file says. It follows offsets into files of weights, copies
functions into each other until they are written out, and unpacks sparse weights to their full size.
All of that is checked here first, in time that grows with the file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nightscore.models.structure.onnx_tensors import sparse_problems, tensor_problems
from nightscore.models.structure.onnx_walk import (
    inner_graphs,
    walk_graphs,
    walk_nodes,
    walk_tensors,
)

MAX_NODES = 200_000
"""Most nodes of a graph, with the graphs inside it and its functions written out."""
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
MICROSOFT = "com.microsoft"
MICROSOFT_OPERATORS = frozenset(
    (
        "CDist",
        "DequantizeLinear",
        "DynamicQuantizeMatMul",
        "FusedGemm",
        "FusedMatMul",
        "Gelu",
        "QGemm",
        "MatMulIntegerToFloat",
        "QLinearAdd",
        "QLinearConcat",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QuantizeLinear",
        "QuickGelu",
    )
)
"""What converters and quantizers of tabular models write.

Other operators of that domain open files or run other code.
"""

Name = tuple[str, str]
"""Domain and name of an operator or a function."""


def graph_problems(model: Any, folder: Path) -> list[str]:
    """What is wrong with the structure of a model file. Nothing of it is computed.

    Args:
        model: The parsed file. Its weights in other files are not read.
        folder: Where these are.
    """
    problems = _function_problems(model)
    if problems:
        return problems

    functions = {(function.domain, function.name) for function in model.functions}

    for place, node in walk_nodes(model):
        problems += _operator_problems(place, node, functions)

    for place, tensor in walk_tensors(model):
        problems += [f"{place}: {problem}" for problem in tensor_problems(tensor, folder)]

    for place, graph in walk_graphs(model):
        for sparse in graph.sparse_initializer:
            problems += [f"{place}: {problem}" for problem in sparse_problems(sparse)]

    return problems


def _function_problems(model: Any) -> list[str]:
    """Functions that call themselves, and calls that are too many nodes once written out."""
    bodies = {(function.domain, function.name): function for function in model.functions}
    if len(bodies) < len(model.functions):
        return ["functions: two have the same name"]

    sizes: dict[Name, int] = {}
    circular = _measure(bodies, sizes)
    if circular is not None:
        return [f"function {circular[1]}: calls itself, directly or by way of others"]

    n_nodes = sum(sizes.get(call, 1) for call in _calls(model.graph))
    if n_nodes > MAX_NODES:
        return [
            f"graph: expected at most {MAX_NODES:,} nodes, functions written out, found {n_nodes:,}"
        ]

    return []


def _measure(bodies: dict[Name, Any], sizes: dict[Name, int]) -> Name | None:
    """Count the nodes of each function, written out.

    It goes depth first without recursion: a function is left once all that it calls is measured.

    Args:
        bodies: All functions.
        sizes: Gets their numbers of nodes.

    Returns:
        A function that calls itself, or None.
    """
    active: set[Name] = set()
    waiting = [*bodies]

    while waiting:
        name = waiting[-1]
        calls = _calls(bodies[name])
        missing = [call for call in calls if call in bodies and call not in sizes]

        if name in sizes or not missing:
            sizes.setdefault(name, sum(sizes.get(call, 1) for call in calls))
            active.discard(waiting.pop())
            continue

        active.add(name)

        if any(call in active for call in missing):
            return name

        waiting += missing

    return None


def _calls(body: Any) -> list[Name]:
    """What each node computes, those of inner graphs included."""
    calls: list[Name] = []
    waiting = [body]
    while waiting:
        for node in waiting.pop().node:
            calls.append((node.domain, node.op_type))
            for attribute in node.attribute:
                waiting += inner_graphs(attribute)
    return calls


def _operator_problems(place: str, node: Any, functions: set[Name]) -> Iterator[str]:
    names = [attribute.name for attribute in node.attribute]
    if len({*names}) < len(names):
        yield f"{place}: an attribute is given twice"

    is_standard = node.domain in DOMAINS or (node.domain, node.op_type) in functions
    is_listed = node.domain == MICROSOFT and node.op_type in MICROSOFT_OPERATORS
    if not is_standard and not is_listed:
        yield f"{place}: {node.op_type} of the domain {node.domain} is not an operator of ONNX"
