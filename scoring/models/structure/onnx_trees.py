"""Tree ensembles of ONNX: every index that their nodes name exists, and every walk down a tree ends at a leaf.

ONNX Runtime builds its trees by recursion and, depending on its version, reads features, children and targets at
whatever place a file names.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.structure.onnx_graph import node_place, walk_graphs

DOMAIN = "ai.onnx.ml"
OPERATORS = ("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor")
MAX_DEPTH = 2_000
"""Levels of a tree: it is built by recursion."""
MAX_FEATURES, MAX_TARGETS = 1_000_000, 100_000
_MODES = {b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ"}
_LEAF = b"LEAF"
_N_MODES = 7
_MEMBER = 6
_KEEPS_WIDTH = {
    ("", "Cast"), ("", "Identity"), (DOMAIN, "Binarizer"), (DOMAIN, "Imputer"), (DOMAIN, "Normalizer"),
    (DOMAIN, "Scaler"),
}  # fmt: skip
"""Operators whose output has as many columns as their input."""

Integers = npt.NDArray[np.int64]


def check_trees(model: Any, given_width: Callable[[str], int | None]) -> tuple[list[str], bool]:
    """What is wrong with the tree ensembles of a model, and whether its graph was changed.

    Where the number of columns that reach an ensemble is known only when the graph runs, the graph is changed so
    that too few are an error then.

    Args:
        model: A parsed file whose tensors were looked at.
        given_width: Columns of an input of the graph; None: not said.
    """
    inner = [(place, graph) for place, graph in walk_graphs(model) if place != "graph"]
    inner += [(f"function {function.name}", function) for function in model.functions]
    problems = [
        f"{node_place(place, i, node)}: a tree ensemble inside another graph or a function is not read"
        for place, graph in inner
        for i, node in enumerate(graph.node)
        if _is_ensemble(node)
    ]
    guarded: list[tuple[int, int]] = []
    widths = _Widths(model.graph, given_width)
    for i, node in enumerate(model.graph.node):
        if not _is_ensemble(node):
            continue
        place = node_place("graph", i, node)
        try:
            n_columns = _check(node)
        except _BrokenError as error:
            problems.append(f"{place}: {error}")
            continue
        width = widths.of(node.input[0])
        if width is None:
            guarded.append((i, n_columns))
        elif n_columns > width:
            problems.append(
                f"{place}: looks at feature {n_columns - 1:,}, and there are {width:,} columns"
            )
    if guarded and not problems:
        _guard(model, guarded)
    return problems, bool(guarded)


class _BrokenError(Exception):
    """What is wrong with an ensemble."""


def _is_ensemble(node: Any) -> bool:
    return node.domain == DOMAIN and node.op_type in OPERATORS


class _Widths:
    """Columns of the graph's values, where they follow from its inputs."""

    def __init__(self, graph: Any, given_width: Callable[[str], int | None]) -> None:
        self._given = given_width
        self._inputs = {part.name for part in graph.input} - {
            tensor.name for tensor in graph.initializer
        }
        self._makers = {output: node for node in graph.node for output in node.output}

    def of(self, name: str) -> int | None:
        seen: set[str] = set()
        while name not in seen:
            seen.add(name)
            if name in self._inputs:
                return self._given(name)
            node = self._makers.get(name)
            if node is None or (node.domain, node.op_type) not in _KEEPS_WIDTH or not node.input:
                return None
            name = node.input[0]
        return None


def _guard(model: Any, guarded: list[tuple[int, int]]) -> None:
    """Take the columns that an ensemble looks at by operators that check that there are so many.

    Args:
        model: The parsed file.
        guarded: Places of ensembles among the graph's nodes, and how many columns each looks at.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    if not {opset.domain for opset in model.opset_import} & {"", "ai.onnx"}:
        model.opset_import.append(helper.make_opsetid("", 13))
    needed = dict(guarded)
    nodes = []
    for i, node in enumerate(graph.node):
        copy = type(node).FromString(node.SerializeToString())
        if i in needed:
            prefix, n = f"nightscore_columns_{i}", needed[i]
            indices = helper.make_tensor(f"{prefix}_indices", TensorProto.INT64, [n], np.arange(n))
            shape = helper.make_tensor(f"{prefix}_shape", TensorProto.INT64, [2], [0, n])
            graph.initializer.extend([indices, shape])
            nodes.append(
                helper.make_node(
                    "Gather", [node.input[0], indices.name], [f"{prefix}_taken"], axis=1
                )
            )
            # Of two dimensions, whatever it was.
            nodes.append(
                helper.make_node("Reshape", [f"{prefix}_taken", shape.name], [f"{prefix}_matrix"])
            )
            copy.input[0] = f"{prefix}_matrix"
        nodes.append(copy)
    del graph.node[:]
    graph.node.extend(nodes)


def _check(node: Any) -> int:
    """Columns that an ensemble needs.

    Raises:
        _BrokenError: A part of it names what does not exist, or a walk does not end.
    """
    if len(node.input) != 1 or not node.input[0]:
        raise _BrokenError("expected one input")
    if any(attribute.ref_attr_name for attribute in node.attribute):
        raise _BrokenError("an attribute stands for that of a function")
    attributes = {attribute.name: attribute for attribute in node.attribute}
    return (
        _check_5(attributes)
        if node.op_type == "TreeEnsemble"
        else _check_3(attributes, node.op_type)
    )


def _integers(attributes: Mapping[str, Any], name: str) -> Integers:
    attribute = attributes.get(name)
    if attribute is None:
        return np.empty(0, np.int64)
    if attribute.type != attribute.INTS:
        raise _BrokenError(f"{name}: expected whole numbers")
    return np.asarray(attribute.ints, np.int64)


def _integer(attributes: Mapping[str, Any], name: str, default: int) -> int:
    attribute = attributes.get(name)
    if attribute is None:
        return default
    if attribute.type != attribute.INT:
        raise _BrokenError(f"{name}: expected a whole number")
    return int(attribute.i)


def _numbers(attributes: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    """Of a list, or of the tensor that may take its place."""
    plain, tensor = attributes.get(name), attributes.get(f"{name}_as_tensor")
    if plain is not None and tensor is not None:
        raise _BrokenError(f"{name}: is given twice")
    if tensor is not None:
        return _tensor(tensor, f"{name}_as_tensor", (1, 11))
    if plain is None:
        return np.empty(0)
    if plain.type != plain.FLOATS:
        raise _BrokenError(f"{name}: expected numbers")
    return np.asarray(plain.floats)


def _tensor(attribute: Any, name: str, kinds: tuple[int, ...]) -> npt.NDArray[Any]:
    from onnx import numpy_helper

    if (
        attribute.type != attribute.TENSOR
        or len(attribute.t.dims) != 1
        or len(attribute.t.external_data)
    ):
        raise _BrokenError(f"{name}: expected a tensor of one dimension")
    if attribute.t.data_type not in kinds:
        raise _BrokenError(
            f"{name}: a tensor of the type {attribute.t.data_type} is none of numbers for this"
        )
    return np.asarray(numpy_helper.to_array(attribute.t))


def _check_3(attributes: Mapping[str, Any], operator: str) -> int:
    """The ensembles of versions 1 to 4, which name nodes by tree and number."""
    trees, numbers = _integers(attributes, "nodes_treeids"), _integers(attributes, "nodes_nodeids")
    features = _integers(attributes, "nodes_featureids")
    children = [_integers(attributes, f"nodes_{side}nodeids") for side in ("true", "false")]
    modes = attributes.get("nodes_modes")
    texts = list(modes.strings) if modes is not None else []
    n = len(trees)
    if not n:
        raise _BrokenError("has no nodes")
    lengths = {
        "nodes_nodeids": len(numbers),
        "nodes_featureids": len(features),
        "nodes_modes": len(texts),
        "nodes_truenodeids": len(children[0]),
        "nodes_falsenodeids": len(children[1]),
        "nodes_values": len(_numbers(attributes, "nodes_values")),
        "nodes_hitrates": len(_numbers(attributes, "nodes_hitrates")) or n,
        "nodes_missing_value_tracks_true": len(
            _integers(attributes, "nodes_missing_value_tracks_true")
        )
        or n,
    }
    _check_lengths(lengths, n)
    if odd := {*texts} - _MODES - {_LEAF}:
        raise _BrokenError(f"nodes_modes: {min(odd)[:50]!r} is no mode")
    is_leaf = np.array([text == _LEAF for text in texts])

    keys = _Keys(trees, numbers)
    places = [np.full(n, -1, np.int64) for _ in children]
    for side, place, child in zip(("true", "false"), places, children, strict=True):
        place[~is_leaf] = keys.find(trees[~is_leaf], child[~is_leaf], f"nodes_{side}nodeids")
    _check_walks(trees, *places)
    _check_weights(attributes, operator, keys)
    return _columns(features[~is_leaf])


def _check_lengths(lengths: Mapping[str, int], n: int) -> None:
    odd = [f"{name} {length:,}" for name, length in lengths.items() if length != n]
    if odd:
        raise _BrokenError(f"expected {n:,} values each, found {', '.join(odd)}")


class _Keys:
    """Nodes by tree and number."""

    def __init__(self, trees: Integers, numbers: Integers) -> None:
        limit = 1 << 31
        if trees.min() < 0 or numbers.min() < 0 or trees.max() >= limit or numbers.max() >= limit:
            raise _BrokenError("nodes_treeids, nodes_nodeids: a number is negative or too great")
        key = (trees << 31) | numbers
        self._order = np.argsort(key, kind="stable")
        self._sorted = key[self._order]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            raise _BrokenError("nodes_nodeids: two nodes of a tree have the same number")

    def find(self, trees: Integers, numbers: Integers, name: str) -> Integers:
        """Where the nodes are in the ensemble's lists."""
        limit = 1 << 31
        is_odd = (trees < 0) | (numbers < 0) | (trees >= limit) | (numbers >= limit)
        key = (np.where(is_odd, 0, trees) << 31) | np.where(is_odd, 0, numbers)
        place = np.minimum(np.searchsorted(self._sorted, key), len(self._sorted) - 1)
        is_odd |= self._sorted[place] != key
        if is_odd.any():
            first = int(np.flatnonzero(is_odd)[0])
            raise _BrokenError(f"{name}: tree {trees[first]} has no node {numbers[first]}")
        found: Integers = self._order[place]
        return found


def _check_walks(trees: Integers, left: Integers, right: Integers) -> None:
    """Each node but one of a tree is the child of one other, and all are reached from that one.

    Args:
        trees: Number of each node's tree.
        left: Place of each node's child; -1: it is a leaf.
        right: The same.
    """
    n = len(trees)
    children = np.concatenate([left, right])
    n_parents = np.bincount(children[children >= 0], minlength=n)
    if (n_parents > 1).any():
        node = int(np.flatnonzero(n_parents > 1)[0])
        raise _BrokenError(f"tree {trees[node]}: a node is the child of two others")
    roots = np.flatnonzero(n_parents == 0)
    known, counts = np.unique(trees[roots], return_counts=True)
    if len(known) < len(np.unique(trees)) or (counts > 1).any():
        raise _BrokenError("expected one node of each tree that is no other's child")
    _walk_down(roots, left, right)


def _walk_down(roots: Integers, left: Integers, right: Integers) -> None:
    """All nodes, none of which has two parents, are reached, within so many levels."""
    level, n_reached = roots, 0
    for _ in range(MAX_DEPTH):
        n_reached += len(level)
        level = np.concatenate([left[level], right[level]])
        level = level[level >= 0]
        if not len(level):
            break
    else:
        raise _BrokenError(f"a tree has more than {MAX_DEPTH:,} levels")
    if n_reached != len(left):
        raise _BrokenError("the children of a tree's nodes go round in a circle")


def _columns(features: Integers) -> int:
    """How many columns are looked at."""
    odd = features[(features < 0) | (features >= MAX_FEATURES)]
    if len(odd):
        raise _BrokenError(f"nodes_featureids: there is no feature {odd[0]}")
    return int(features.max(initial=0)) + 1


def _check_weights(attributes: Mapping[str, Any], operator: str, keys: _Keys) -> None:
    """What a leaf adds to which target or class."""
    if operator == "TreeEnsembleClassifier":
        kind = "class"
        labels = [
            attributes[name]
            for name in ("classlabels_int64s", "classlabels_strings")
            if name in attributes
        ]
        if len(labels) != 1:
            raise _BrokenError("expected classlabels_int64s or classlabels_strings")
        n_targets = max(len(labels[0].ints), len(labels[0].strings))
    else:
        kind = "target"
        n_targets = _integer(attributes, "n_targets", 1)
    _check_n_targets(n_targets)
    targets = _integers(attributes, f"{kind}_ids")
    nodes, trees = (
        _integers(attributes, f"{kind}_nodeids"),
        _integers(attributes, f"{kind}_treeids"),
    )
    lengths = {
        f"{kind}_nodeids": len(nodes),
        f"{kind}_treeids": len(trees),
        f"{kind}_weights": len(_numbers(attributes, f"{kind}_weights")),
    }
    _check_lengths(lengths, len(targets))
    _check_targets(targets, n_targets, f"{kind}_ids")
    keys.find(trees, nodes, f"{kind}_nodeids")
    n_base = len(_numbers(attributes, "base_values"))
    allowed = {0, n_targets} | ({1} if kind == "class" and n_targets <= 2 else set())
    if n_base not in allowed:
        raise _BrokenError(f"base_values: expected {n_targets} or none, found {n_base}")


def _check_n_targets(n_targets: int) -> None:
    if not 1 <= n_targets <= MAX_TARGETS:
        raise _BrokenError(f"expected 1 to {MAX_TARGETS:,} targets or classes, found {n_targets:,}")


def _check_targets(targets: Integers, n_targets: int, name: str) -> None:
    if len(targets) and (targets.min() < 0 or targets.max() >= n_targets):
        odd = targets[(targets < 0) | (targets >= n_targets)][0]
        raise _BrokenError(f"{name}: there is no target or class {odd}, there are {n_targets}")


def _check_5(attributes: Mapping[str, Any]) -> int:
    """The ensemble of version 5, which names nodes and leaves by their place."""
    features = _integers(attributes, "nodes_featureids")
    n = len(features)
    if not n:
        raise _BrokenError("has no nodes")
    children = [_integers(attributes, f"nodes_{side}nodeids") for side in ("true", "false")]
    flags = [_integers(attributes, f"nodes_{side}leafs") for side in ("true", "false")]
    modes = _required_tensor(attributes, "nodes_modes", (2,))
    splits = _required_tensor(attributes, "nodes_splits", (1, 10, 11))
    weights = _required_tensor(attributes, "leaf_weights", (1, 10, 11))
    leaf_targets = _integers(attributes, "leaf_targetids")
    n_leaves = len(leaf_targets)
    hitrates = attributes.get("nodes_hitrates")
    n_hitrates = n if hitrates is None else len(_tensor(hitrates, "nodes_hitrates", (1, 10, 11)))
    lengths = {
        "nodes_truenodeids": len(children[0]),
        "nodes_falsenodeids": len(children[1]),
        "nodes_trueleafs": len(flags[0]),
        "nodes_falseleafs": len(flags[1]),
        "nodes_modes": len(modes),
        "nodes_splits": len(splits),
        "nodes_hitrates": n_hitrates,
        "nodes_missing_value_tracks_true": len(
            _integers(attributes, "nodes_missing_value_tracks_true")
        )
        or n,
    }
    _check_lengths(lengths, n)
    _check_lengths({"leaf_weights": len(weights)}, n_leaves)
    if modes.max() >= _N_MODES:
        raise _BrokenError(f"nodes_modes: {modes.max()} is no mode")
    _check_members(attributes, int((modes == _MEMBER).sum()))
    n_targets = _integer(attributes, "n_targets", 1)
    _check_n_targets(n_targets)
    _check_targets(leaf_targets, n_targets, "leaf_targetids")

    places = []
    for side, child, flag in zip(("true", "false"), children, flags, strict=True):
        if not np.isin(flag, (0, 1)).all():
            raise _BrokenError(f"nodes_{side}leafs: expected 0 or 1")
        is_odd = (child < 0) | (child >= np.where(flag == 1, n_leaves, n))
        if is_odd.any():
            raise _BrokenError(f"nodes_{side}nodeids: there is no node or leaf {child[is_odd][0]}")
        places.append(np.where(flag == 1, -1, child))
    roots = _integers(attributes, "tree_roots")
    if not len(roots) or roots.min() < 0 or roots.max() >= n:
        raise _BrokenError(f"tree_roots: expected nodes of the {n:,} that there are")
    starts = np.concatenate([roots, *places])
    if (np.bincount(starts[starts >= 0], minlength=n) != 1).any():
        raise _BrokenError("expected each node to be the root of a tree or the child of one other")
    _walk_down(roots, *places)
    return _columns(features)


def _required_tensor(
    attributes: Mapping[str, Any], name: str, kinds: tuple[int, ...]
) -> npt.NDArray[Any]:
    if name not in attributes:
        raise _BrokenError(f"{name}: is missing")
    return _tensor(attributes[name], name, kinds)


def _check_members(attributes: Mapping[str, Any], n_nodes: int) -> None:
    """Each node that asks for membership has its values, which NaN ends."""
    values = attributes.get("membership_values")
    found = np.empty(0) if values is None else _tensor(values, "membership_values", (1, 10, 11))
    n_sets = int(np.isnan(found.astype(np.float64)).sum())
    if n_sets != n_nodes or (len(found) and not np.isnan(float(found[-1]))):
        raise _BrokenError(
            f"membership_values: expected {n_nodes:,} sets that NaN ends, found {n_sets:,}"
        )
