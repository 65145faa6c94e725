"""Whether what the nodes of an ONNX tree ensemble name exists, and each walk ends at a leaf."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.structure.onnx_attributes import (
    DOUBLE,
    FLOAT,
    FLOAT16,
    UINT8,
    Attributes,
    BrokenError,
    Integers,
    integer,
    integers,
    numbers,
    required_tensor,
    tensor,
)

MAX_DEPTH = 2_000
"""Most levels of a tree: ONNX Runtime builds it by recursion."""
MAX_FEATURES, MAX_TARGETS = 1_000_000, 100_000
_MODES = {b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ"}
_LEAF = b"LEAF"
_N_MODES = 7
_MEMBER = 6
_SIDES = ("true", "false")
_FLOATS = (FLOAT, FLOAT16, DOUBLE)
_LABELS = ("classlabels_int64s", "classlabels_strings")
_END = 1 << 31
"""Trees and nodes are numbered below this."""


def needed_columns(node: Any) -> int:
    """Columns that an ensemble needs.

    Raises:
        BrokenError: A part of it names what does not exist, or a walk does not end.
    """
    if len(node.input) != 1 or not node.input[0]:
        raise BrokenError("expected one input")
    if any(attribute.ref_attr_name for attribute in node.attribute):
        raise BrokenError("an attribute stands for that of a function")

    attributes = {attribute.name: attribute for attribute in node.attribute}

    if node.op_type == "TreeEnsemble":
        return _check_5(attributes)

    return _check_3(attributes, node.op_type)


def _check_3(attributes: Attributes, operator: str) -> int:
    """The ensembles of versions 1 to 4, which name nodes by tree and number."""
    trees, node_ids = integers(attributes, "nodes_treeids"), integers(attributes, "nodes_nodeids")
    features = integers(attributes, "nodes_featureids")
    children = [integers(attributes, f"nodes_{side}nodeids") for side in _SIDES]
    modes = attributes.get("nodes_modes")
    texts = list(modes.strings) if modes is not None else []

    n = len(trees)
    if not n:
        raise BrokenError("has no nodes")

    lengths = {
        "nodes_nodeids": len(node_ids),
        "nodes_featureids": len(features),
        "nodes_modes": len(texts),
        "nodes_truenodeids": len(children[0]),
        "nodes_falsenodeids": len(children[1]),
        "nodes_values": len(numbers(attributes, "nodes_values")),
        "nodes_hitrates": len(numbers(attributes, "nodes_hitrates")) or n,
        "nodes_missing_value_tracks_true": _n_tracks(attributes) or n,
    }

    _check_lengths(lengths, n)

    unknown = {*texts} - _MODES - {_LEAF}
    if unknown:
        raise BrokenError(f"nodes_modes: {min(unknown)[:50]!r} is not a mode")

    is_leaf = np.array([text == _LEAF for text in texts])

    keys = _Keys(trees, node_ids)
    places = []

    for side, child in zip(_SIDES, children, strict=True):
        place = np.full(n, -1, np.int64)
        place[~is_leaf] = keys.find(trees[~is_leaf], child[~is_leaf], f"nodes_{side}nodeids")
        places.append(place)

    _check_walks(trees, *places)
    _check_weights(attributes, operator, keys)

    return _n_columns(features[~is_leaf])


def _n_tracks(attributes: Attributes) -> int:
    return len(integers(attributes, "nodes_missing_value_tracks_true"))


def _check_lengths(lengths: Mapping[str, int], n: int) -> None:
    wrong = [f"{name} {length:,}" for name, length in lengths.items() if length != n]
    if wrong:
        raise BrokenError(f"expected {n:,} values each, found {', '.join(wrong)}")


class _Keys:
    """Nodes by tree and number."""

    def __init__(self, trees: Integers, node_ids: Integers) -> None:
        if _outside(trees).any() or _outside(node_ids).any():
            raise BrokenError("nodes_treeids, nodes_nodeids: a number is negative or too great")

        key = (trees << 31) | node_ids
        self._order = np.argsort(key, kind="stable")
        self._sorted = key[self._order]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            raise BrokenError("nodes_nodeids: two nodes of a tree have the same number")

    def find(self, trees: Integers, node_ids: Integers, name: str) -> Integers:
        """Where nodes are in the ensemble's lists."""
        is_unknown = _outside(trees) | _outside(node_ids)
        key = (np.where(is_unknown, 0, trees) << 31) | np.where(is_unknown, 0, node_ids)
        place = np.minimum(np.searchsorted(self._sorted, key), len(self._sorted) - 1)
        is_unknown |= self._sorted[place] != key

        if is_unknown.any():
            first = int(np.flatnonzero(is_unknown)[0])
            raise BrokenError(f"{name}: tree {trees[first]} has no node {node_ids[first]}")

        places: Integers = self._order[place]
        return places


def _outside(ids: Integers) -> npt.NDArray[np.bool_]:
    return np.asarray((ids < 0) | (ids >= _END))


def _check_walks(trees: Integers, left: Integers, right: Integers) -> None:
    """Each node but one of a tree is the child of one other, and all are reached from that one.

    Args:
        trees: Number of each node's tree.
        left: Place of each node's child; -1: the node is a leaf.
        right: The same.
    """
    n = len(trees)
    children = np.concatenate([left, right])
    n_parents = np.bincount(children[children >= 0], minlength=n)

    if (n_parents > 1).any():
        node = int(np.flatnonzero(n_parents > 1)[0])
        raise BrokenError(f"tree {trees[node]}: a node is the child of two others")

    roots = np.flatnonzero(n_parents == 0)
    known, counts = np.unique(trees[roots], return_counts=True)
    if len(known) < len(np.unique(trees)) or (counts > 1).any():
        raise BrokenError("expected one node of each tree that is no other's child")

    _walk_down(roots, left, right)


def _walk_down(roots: Integers, left: Integers, right: Integers) -> None:
    """All nodes, none of which has two parents, are reached within `MAX_DEPTH` levels."""
    level, n_reached = roots, 0

    for _ in range(MAX_DEPTH):
        n_reached += len(level)
        level = np.concatenate([left[level], right[level]])
        level = level[level >= 0]
        if not len(level):
            break
    else:
        raise BrokenError(f"a tree has more than {MAX_DEPTH:,} levels")

    if n_reached != len(left):
        raise BrokenError("the children of a tree's nodes go round in a circle")


def _n_columns(features: Integers) -> int:
    """How many columns are looked at."""
    unknown = features[(features < 0) | (features >= MAX_FEATURES)]
    if len(unknown):
        raise BrokenError(f"nodes_featureids: there is no feature {unknown[0]}")
    return int(features.max(initial=0)) + 1


def _check_weights(attributes: Attributes, operator: str, keys: _Keys) -> None:
    """What a leaf adds to which target or class."""
    is_classifier = operator == "TreeEnsembleClassifier"
    kind = "class" if is_classifier else "target"
    n_targets = _n_labels(attributes) if is_classifier else integer(attributes, "n_targets", 1)
    _check_n_targets(n_targets)

    targets = integers(attributes, f"{kind}_ids")
    nodes = integers(attributes, f"{kind}_nodeids")
    trees = integers(attributes, f"{kind}_treeids")

    lengths = {
        f"{kind}_nodeids": len(nodes),
        f"{kind}_treeids": len(trees),
        f"{kind}_weights": len(numbers(attributes, f"{kind}_weights")),
    }

    _check_lengths(lengths, len(targets))
    _check_targets(targets, n_targets, f"{kind}_ids")
    keys.find(trees, nodes, f"{kind}_nodeids")

    n_base = len(numbers(attributes, "base_values"))

    allowed = {0, n_targets}
    if is_classifier and n_targets <= 2:
        allowed.add(1)
    if n_base not in allowed:
        raise BrokenError(f"base_values: expected {n_targets} or none, found {n_base}")


def _n_labels(attributes: Attributes) -> int:
    labels = [attributes[name] for name in _LABELS if name in attributes]
    if len(labels) != 1:
        raise BrokenError("expected classlabels_int64s or classlabels_strings")
    return max(len(labels[0].ints), len(labels[0].strings))


def _check_n_targets(n_targets: int) -> None:
    if not 1 <= n_targets <= MAX_TARGETS:
        raise BrokenError(f"expected 1 to {MAX_TARGETS:,} targets or classes, found {n_targets:,}")


def _check_targets(targets: Integers, n_targets: int, name: str) -> None:
    unknown = targets[(targets < 0) | (targets >= n_targets)]
    if len(unknown):
        raise BrokenError(
            f"{name}: there is no target or class {unknown[0]}, there are {n_targets}"
        )


def _check_5(attributes: Attributes) -> int:
    """The ensemble of version 5, which names nodes and leaves by their place."""
    features = integers(attributes, "nodes_featureids")
    leaf_targets = integers(attributes, "leaf_targetids")
    n, n_leaves = len(features), len(leaf_targets)

    if not n:
        raise BrokenError("has no nodes")

    children = [integers(attributes, f"nodes_{side}nodeids") for side in _SIDES]
    flags = [integers(attributes, f"nodes_{side}leafs") for side in _SIDES]
    modes = required_tensor(attributes, "nodes_modes", (UINT8,))

    lengths = {
        "nodes_truenodeids": len(children[0]),
        "nodes_falsenodeids": len(children[1]),
        "nodes_trueleafs": len(flags[0]),
        "nodes_falseleafs": len(flags[1]),
        "nodes_modes": len(modes),
        "nodes_splits": len(required_tensor(attributes, "nodes_splits", _FLOATS)),
        "nodes_hitrates": _n_hitrates(attributes, n),
        "nodes_missing_value_tracks_true": _n_tracks(attributes) or n,
    }

    weights = required_tensor(attributes, "leaf_weights", _FLOATS)
    _check_lengths(lengths, n)
    _check_lengths({"leaf_weights": len(weights)}, n_leaves)

    if modes.max() >= _N_MODES:
        raise BrokenError(f"nodes_modes: {modes.max()} is not a mode")

    _check_members(attributes, int((modes == _MEMBER).sum()))
    n_targets = integer(attributes, "n_targets", 1)
    _check_n_targets(n_targets)
    _check_targets(leaf_targets, n_targets, "leaf_targetids")

    left, right = (
        _inner_children(side, child, flag, n_leaves)
        for side, child, flag in zip(_SIDES, children, flags, strict=True)
    )

    _check_roots(integers(attributes, "tree_roots"), left, right)
    return _n_columns(features)


def _n_hitrates(attributes: Attributes, n: int) -> int:
    hitrates = attributes.get("nodes_hitrates")
    return n if hitrates is None else len(tensor(hitrates, "nodes_hitrates", _FLOATS))


def _inner_children(side: str, child: Integers, flag: Integers, n_leaves: int) -> Integers:
    """Places of children that are nodes; -1 for leaves."""
    if not np.isin(flag, (0, 1)).all():
        raise BrokenError(f"nodes_{side}leafs: expected 0 or 1")

    is_unknown = (child < 0) | (child >= np.where(flag == 1, n_leaves, len(child)))
    if is_unknown.any():
        raise BrokenError(f"nodes_{side}nodeids: there is no node or leaf {child[is_unknown][0]}")
    return np.where(flag == 1, -1, child)


def _check_roots(roots: Integers, left: Integers, right: Integers) -> None:
    n = len(left)
    if not len(roots) or roots.min() < 0 or roots.max() >= n:
        raise BrokenError(f"tree_roots: expected nodes of the {n:,} that there are")

    starts = np.concatenate([roots, left, right])
    if (np.bincount(starts[starts >= 0], minlength=n) != 1).any():
        raise BrokenError("expected each node to be the root of a tree or the child of one other")
    _walk_down(roots, left, right)


def _check_members(attributes: Attributes, n_nodes: int) -> None:
    """Each node that asks for membership has its values, which NaN ends."""
    attribute = attributes.get("membership_values")
    values = np.empty(0) if attribute is None else tensor(attribute, "membership_values", _FLOATS)
    n_sets = int(np.isnan(values.astype(np.float64)).sum())
    is_ended = not len(values) or bool(np.isnan(float(values[-1])))
    if n_sets != n_nodes or not is_ended:
        raise BrokenError(
            f"membership_values: expected {n_nodes:,} sets that NaN ends, found {n_sets:,}"
        )
