"""What an ONNX file must be before ONNX Runtime is given it: its nodes, its weights, and the files they are in.

ONNX Runtime trusts much of what a file says: it follows offsets into files of weights, copies functions into each
other until they are written out, and unpacks sparse weights to their full size. All of that is looked at here first,
in time that grows with the file.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MAX_NODES = 200_000
"""Of a graph, with the graphs inside it and its functions written out."""
MAX_DENSE_BYTES = 1 << 31
"""Of a sparse weight, unpacked."""
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
MICROSOFT = "com.microsoft"
MICROSOFT_OPERATORS = frozenset(
    (
        "CDist", "DequantizeLinear", "DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "Gelu", "QGemm",
        "MatMulIntegerToFloat", "QLinearAdd", "QLinearConcat", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid",
        "QLinearSoftmax", "QuantizeLinear", "QuickGelu",
    )
)  # fmt: skip
"""What converters and quantizers of models of tables write; others of that domain open files or run other code."""
_BITS: Mapping[int, int] = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8,
}  # fmt: skip
"""Of an element, by ONNX's number of the type."""
_TEXT = 8
_FIELDS: Mapping[str, tuple[int, ...]] = {
    "float_data": (1, 14),
    "int32_data": (2, 3, 4, 5, 6, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24),
    "int64_data": (7,),
    "double_data": (11, 15),
    "uint64_data": (12, 13),
    "string_data": (_TEXT,),
}
"""Where a tensor's elements may be, besides `raw_data`."""
_PLACE_KEYS = {"location", "offset", "length", "checksum", "basepath"}


def graph_problems(model: Any, folder: Path) -> list[str]:
    """What is wrong with the structure of a model file; nothing of it is computed.

    Args:
        model: The parsed file, its weights in other files not read.
        folder: Where these are.
    """
    problems = _function_problems(model)
    if problems:
        return problems
    functions = {(function.domain, function.name) for function in model.functions}
    for place, node in walk_nodes(model):
        problems += _operator_problems(place, node, functions)
    for place, tensor in walk_tensors(model):
        problems += [f"{place}: {problem}" for problem in _tensor_problems(tensor, folder)]
    for place, graph in walk_graphs(model):
        for sparse in graph.sparse_initializer:
            problems += [f"{place}: {problem}" for problem in _sparse_problems(sparse)]
    return problems


def walk_graphs(model: Any) -> Iterator[tuple[str, Any]]:
    """Each graph of nodes, with its place: the model's own, those inside it, and the functions."""
    waiting = [("graph", model.graph)]
    waiting += [(f"function {function.name}", function) for function in model.functions]
    while waiting:
        place, graph = waiting.pop()
        if graph.DESCRIPTOR.name == "GraphProto":
            yield place, graph
        for i, node in enumerate(graph.node):
            for attribute in node.attribute:
                inner = [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
                waiting += [
                    (f"{node_place(place, i, node)}, {attribute.name}", part) for part in inner
                ]


def walk_nodes(model: Any) -> Iterator[tuple[str, Any]]:
    """Each node with its place; see `walk_graphs`."""
    for place, graph in walk_graphs(model):
        yield from ((node_place(place, i, node), node) for i, node in enumerate(graph.node))
    for function in model.functions:
        place = f"function {function.name}"
        yield from ((node_place(place, i, node), node) for i, node in enumerate(function.node))


def walk_tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """Each tensor with its place; of sparse ones their parts."""
    for place, graph in walk_graphs(model):
        yield from ((f"{place}: {tensor.name}", tensor) for tensor in graph.initializer)
        for sparse in graph.sparse_initializer:
            yield from (
                (f"{place}: {sparse.values.name}", part) for part in (sparse.values, sparse.indices)
            )
    for place, node in walk_nodes(model):
        for attribute in node.attribute:
            tensors = [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
            sparse_tensors = [
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                *attribute.sparse_tensors,
            ]
            tensors += [
                part for sparse in sparse_tensors for part in (sparse.values, sparse.indices)
            ]
            yield from ((f"{place}, {attribute.name}", tensor) for tensor in tensors)


def node_place(place: str, i: int, node: Any) -> str:
    """Where a node is, as a person finds it."""
    return f"{place}: node {i} {node.name or node.op_type}"


def has_outside_weights(model: Any) -> bool:
    """Whether there are weights in other files."""
    return any(len(tensor.external_data) for _, tensor in walk_tensors(model))


def _function_problems(model: Any) -> list[str]:
    """Functions that call themselves, and calls that written out are more nodes than there may be."""
    bodies = {(function.domain, function.name): function for function in model.functions}
    if len(bodies) < len(model.functions):
        return ["functions: two have the same name"]
    sizes: dict[tuple[str, str], int] = {}
    active: set[tuple[str, str]] = set()
    # Depth first without recursion: a function is left once all that it calls is measured.
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
            return [f"function {name[1]}: calls itself, by way of others or at once"]
        waiting += missing
    n_nodes = sum(sizes.get(call, 1) for call in _calls(model.graph))
    if n_nodes > MAX_NODES:
        return [
            f"graph: expected at most {MAX_NODES:,} nodes, functions written out, found {n_nodes:,}"
        ]
    return []


def _calls(body: Any) -> list[tuple[str, str]]:
    """Of each node what it computes, those of inner graphs included."""
    calls, waiting = [], [body]
    while waiting:
        part = waiting.pop()
        for node in part.node:
            calls.append((node.domain, node.op_type))
            for attribute in node.attribute:
                waiting += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
    return calls


def _operator_problems(place: str, node: Any, functions: set[tuple[str, str]]) -> Iterator[str]:
    names = [attribute.name for attribute in node.attribute]
    if len({*names}) < len(names):
        yield f"{place}: an attribute is given twice"
    if node.domain in DOMAINS or (node.domain, node.op_type) in functions:
        return
    if node.domain == MICROSOFT and node.op_type in MICROSOFT_OPERATORS:
        return
    yield f"{place}: {node.op_type} of the domain {node.domain} is no operator of ONNX"


def _tensor_problems(tensor: Any, folder: Path) -> Iterator[str]:
    dims = list(tensor.dims)
    if any(size < 0 for size in dims):
        yield f"expected sizes of 0 or more, found {dims[:20]}"
        return
    n = math.prod(dims)
    bits = _BITS.get(tensor.data_type)
    is_outside = len(tensor.external_data) > 0 or tensor.data_location == tensor.EXTERNAL
    if bits is None and (tensor.data_type != _TEXT or is_outside or tensor.HasField("raw_data")):
        yield f"its type, {tensor.data_type}, is none that can be stored so"
    elif is_outside:
        yield from _outside_problems(tensor, -(-n * (bits or 0) // 8), folder)
    elif tensor.HasField("raw_data"):
        expected = -(-n * (bits or 0) // 8)
        if len(tensor.raw_data) != expected:
            yield f"expected {expected:,} bytes for the sizes {dims[:20]}, found {len(tensor.raw_data):,}"
    else:
        yield from _field_problems(tensor, n, bits or 0)


def _field_problems(tensor: Any, n: int, bits: int) -> Iterator[str]:
    """Of elements that are written one by one, in the field of their type."""
    for field, kinds in _FIELDS.items():
        found = len(getattr(tensor, field))
        if tensor.data_type not in kinds:
            if found:
                yield f"has {field}, which is not where its type is stored"
            continue
        expected = n
        if tensor.data_type in (14, 15):  # complex numbers are two
            expected = 2 * n
        if bits < 8 and tensor.data_type != _TEXT:
            expected = -(-n * bits // 8)
        if found != expected:
            yield f"expected {expected:,} values for the sizes {list(tensor.dims)[:20]}, found {found:,}"


def _outside_problems(tensor: Any, n_bytes: int, folder: Path) -> Iterator[str]:
    """Of weights in another file: it is one of the model's own, and long enough."""
    if tensor.ListFields() and any(len(getattr(tensor, field)) for field in (*_FIELDS, "raw_data")):
        yield "has values of its own besides those in another file"
        return
    keys = [entry.key for entry in tensor.external_data]
    stated = {entry.key: entry.value for entry in tensor.external_data}
    if len(stated) < len(keys) or "location" not in stated or {*stated} - _PLACE_KEYS:
        yield f"expected location, offset and length of its file once each, found {', '.join(keys)[:200]}"
        return
    location = stated["location"]
    path = _own_file(location, folder)
    if path is None:
        yield f"weights in {location[:200]!r}, which is no file below the model's folder"
        return
    texts = [stated.get("offset", "0"), stated.get("length", str(n_bytes))]
    if not all(text.isascii() and text.isdecimal() and len(text) < 19 for text in texts):
        yield f"expected whole numbers as offset and length, found {texts[0][:20]!r} and {texts[1][:20]!r}"
        return
    offset, length = (int(text) for text in texts)
    size = path.stat().st_size
    if length != n_bytes:
        yield f"expected {n_bytes:,} bytes for the sizes {list(tensor.dims)[:20]}, found a length of {length:,}"
    elif offset + length > size:
        yield f"expected bytes {offset:,} to {offset + length:,} of {location}, found {size:,} bytes"


def _own_file(location: str, folder: Path) -> Path | None:
    """The file; None: it leads outside, through a link, or is none."""
    parts = location.split("/")
    if not location or "\\" in location or location.startswith("/") or {"", ".."} & {*parts}:
        return None
    path = folder
    try:
        for part in parts:
            path = path / part
            if path.is_symlink():
                return None
        return path if path.is_file() else None
    except (OSError, ValueError):  # no name of a file: too long, or with a NUL in it
        return None


def _sparse_problems(sparse: Any) -> Iterator[str]:
    """Of weights of which only some are stored: places in order, inside the sizes, and no more than memory holds."""
    import numpy as np
    from onnx import numpy_helper

    name, dims = sparse.values.name, list(sparse.dims)
    n_bytes = math.prod(dims) * (_BITS.get(sparse.values.data_type) or 0) // 8
    if not dims or any(size < 1 for size in dims) or not 0 < n_bytes <= MAX_DENSE_BYTES:
        yield f"{name}: expected sizes of 1 or more, of {MAX_DENSE_BYTES:,} bytes at most, found {dims[:20]}"
        return
    indices, values = sparse.indices, sparse.values
    shapes = (
        [len(values.dims) and values.dims[0]],
        [len(values.dims) and values.dims[0], len(dims)],
    )
    if len(values.dims) != 1 or list(indices.dims) not in shapes or indices.data_type != 7:
        yield f"{name}: expected a place for each value, found {list(indices.dims)[:20]} for {list(values.dims)[:20]}"
        return
    if len(indices.external_data) or next(_tensor_problems(indices, Path()), None):
        yield f"{name}: its places cannot be read"
        return
    places = np.asarray(numpy_helper.to_array(indices))
    limits = np.asarray(dims if len(indices.dims) == 2 else math.prod(dims), np.int64)
    if ((places < 0) | (places >= limits)).any():
        yield f"{name}: a place is outside of the sizes {dims[:20]}"
