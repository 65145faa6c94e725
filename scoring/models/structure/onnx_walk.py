"""All graphs, nodes and tensors of an ONNX file, each with its place."""

from collections.abc import Iterator
from typing import Any


def node_place(place: str, i: int, node: Any) -> str:
    """Where a node is, as a person finds it."""
    return f"{place}: node {i} {node.name or node.op_type}"


def inner_graphs(attribute: Any) -> list[Any]:
    """The graphs that an attribute of a node holds."""
    own = [attribute.g] if attribute.HasField("g") else []
    return [*own, *attribute.graphs]


def walk_graphs(model: Any) -> Iterator[tuple[str, Any]]:
    """Each graph of nodes: the model's own, those inside it, and those inside functions."""
    waiting = [("graph", model.graph)]
    waiting += [(f"function {function.name}", function) for function in model.functions]
    while waiting:
        place, graph = waiting.pop()
        if graph.DESCRIPTOR.name == "GraphProto":
            yield place, graph

        for i, node in enumerate(graph.node):
            for attribute in node.attribute:
                inner_place = f"{node_place(place, i, node)}, {attribute.name}"
                waiting += [(inner_place, inner) for inner in inner_graphs(attribute)]


def walk_nodes(model: Any) -> Iterator[tuple[str, Any]]:
    """Each node of all graphs and functions."""
    bodies = [*walk_graphs(model)]
    bodies += [(f"function {function.name}", function) for function in model.functions]
    for place, body in bodies:
        for i, node in enumerate(body.node):
            yield node_place(place, i, node), node


def walk_tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """Each tensor of graphs and attributes; for sparse ones their two parts."""
    for place, graph in walk_graphs(model):
        for tensor in graph.initializer:
            yield f"{place}: {tensor.name}", tensor
        for sparse in graph.sparse_initializer:
            yield f"{place}: {sparse.values.name}", sparse.values
            yield f"{place}: {sparse.values.name}", sparse.indices

    for place, node in walk_nodes(model):
        for attribute in node.attribute:
            for tensor in _attribute_tensors(attribute):
                yield f"{place}, {attribute.name}", tensor


def _attribute_tensors(attribute: Any) -> list[Any]:
    tensors = [attribute.t] if attribute.HasField("t") else []
    tensors += attribute.tensors

    sparse_tensors = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    sparse_tensors += attribute.sparse_tensors
    for sparse in sparse_tensors:
        tensors += [sparse.values, sparse.indices]
    return tensors


def has_outside_weights(model: Any) -> bool:
    """Whether there are weights in other files."""
    return any(len(tensor.external_data) for _, tensor in walk_tensors(model))
