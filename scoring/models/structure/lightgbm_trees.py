"""Whether a LightGBM model file is whole: checked before LightGBM gets it.

LightGBM believes what it reads. Its parser follows `tree_sizes` into the text, reads each line of a
tree up to its `=`, and stops at the first blank line. Predicting follows features, children and
sets of categories. Source: `GBDT::LoadModelFromString`, `Tree::Tree`.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.structure.lightgbm_file import LightgbmFile, numbers, read_lightgbm
from nightscore.models.structure.tree_nodes import (
    MAX_FEATURES,
    MAX_GROUPS,
    Ints,
    TreeNodes,
    refuse,
    tree_problems,
)

CATEGORICAL = 1
"""Bit of a node's `decision_type`."""
BY_CLASS = ("multiclass", "multiclassova")
"""Objectives that make one array of a row's sums, as long as they say themselves."""
END_OF_DECISIONS = 12
"""The two upper bits say what is missing: 0 nothing, 1 zeros, 2 NaN; 3 means nothing."""
OF_INNER_NODES = ("split_gain", "internal_value", "internal_weight", "internal_count")
OF_LEAVES = ("leaf_weight", "leaf_count")
"""Optional lines, whose length LightGBM does not look at."""
MAX_TREE_LINES = 22
"""Lines that LightGBM reads of a tree."""
_NUMBERS = re.compile(r"[-+0-9.eEinfaINFA ]*")
"""Python also reads 1_000 and digits of other scripts as numbers."""
_WRITTEN = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|inf|nan)")
"""A number as LightGBM writes it. Others raise in a thread of its own and end the process."""
_PARAMETER = re.compile(r"\[\w+: .*\]")
PARAMETERS, END_OF_PARAMETERS = "parameters:", "end of parameters"


def check_lightgbm(text: str, where: str) -> LightgbmFile:
    """The content of a model file, if it is whole.

    Args:
        text: The file, its lines ended by a line feed.
        where: The file, for the error.

    Raises:
        ModelStructureError: With every kind of fault. LightGBM must not get the file.
    """
    try:
        file = read_lightgbm(text)
        problems = _header_problems(file) + _size_problems(text, file) + _parameter_problems(text)
        problems = problems or _tree_problems(file)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        refuse([f"the file cannot be read: {type(error).__name__}: {str(error)[:300]}"], where)
        raise

    refuse(problems, where)
    return file


def _header_problems(file: LightgbmFile) -> list[str]:
    problems = []
    if "objective" in file.header and not file.objective:
        problems.append("objective: nothing, expected its name, or no such line")

    n_features, n_outputs = file.n_features, file.n_outputs
    n_classes = int(file.header["num_class"])

    if not 1 <= n_features <= MAX_FEATURES:
        problems.append(f"max_feature_idx {n_features - 1}, expected 0 to {MAX_FEATURES - 1}")

    if not 1 <= n_outputs <= MAX_GROUPS or n_outputs != n_classes:
        problems.append(
            f"num_tree_per_iteration {n_outputs}, expected num_class, which is {n_classes}"
        )
    elif len(file.trees) % n_outputs:
        problems.append(
            f"{len(file.trees)} trees, expected a multiple of num_tree_per_iteration, {n_outputs}"
        )

    return problems + _feature_problems(file) + _class_problems(file, n_classes)


def _feature_problems(file: LightgbmFile) -> list[str]:
    """Lines of the header that have one word for each feature."""
    words = {
        "feature_names": file.feature_names,
        "feature_infos": _words(file, "feature_infos"),
    }
    return [
        f"{name}: {len(listed):,} words, expected {file.n_features:,}, one for each feature"
        for name, listed in words.items()
        if len(listed) != file.n_features
    ]


def _class_problems(file: LightgbmFile, n_classes: int) -> list[str]:
    """The objective's own number of classes."""
    name, *options = file.objective or ("",)
    stated = dict(option.partition(":")[::2] for option in options)
    if name not in BY_CLASS or stated.get("num_class") == str(n_classes):
        return []
    return [
        f"objective {name}: num_class {stated.get('num_class', 'none')}, expected {n_classes}, "
        "as many as trees an iteration"
    ]


def _words(file: LightgbmFile, name: str) -> list[str]:
    return file.header.get(name, "").split()


def _size_problems(text: str, file: LightgbmFile) -> list[str]:
    """Where LightGBM would look for each tree."""
    if "tree_sizes" not in file.header:
        return []  # LightGBM then reads one tree after another

    sizes = [int(word) for word in _words(file, "tree_sizes")]
    if len(sizes) != len(file.trees):
        n_sizes, n_trees = len(sizes), len(file.trees)
        return [f"tree_sizes: {n_sizes:,} sizes, expected {n_trees:,}, one for each tree"]

    content = text.encode()
    starts = [match.start() for match in re.finditer(rb"(?m)^Tree=", content)]

    for tree, (start, end) in enumerate(itertools.pairwise(starts)):
        if sizes[tree] != end - start:
            return [
                f"tree_sizes: {sizes[tree]} bytes of tree {tree}, expected {end - start}, "
                "as far as the next one"
            ]

    if sizes and not 0 <= sizes[-1] <= len(content) - starts[-1]:
        rest = len(content) - starts[-1]
        return [f"tree_sizes: {sizes[-1]} bytes of the last tree, expected at most {rest}"]

    return []


def _parameter_problems(text: str) -> list[str]:
    """The list after the trees: LightGBM runs past its end if the end is not marked."""
    lines = text.split("\n")
    if PARAMETERS not in lines:
        return [f"the line {PARAMETERS!r} is missing"] if END_OF_PARAMETERS in lines else []

    start = lines.index(PARAMETERS)
    if END_OF_PARAMETERS not in lines[start:]:
        return [f"the line {END_OF_PARAMETERS!r} is missing"]

    stated = lines[start + 1 : lines.index(END_OF_PARAMETERS, start)]
    for line in stated:
        if line and not _PARAMETER.fullmatch(line):
            return [f"parameters: expected a name and a value in brackets, found {line[:60]!r}"]

    return []


def _tree_problems(file: LightgbmFile) -> list[str]:
    problems: list[str] = []
    trees: list[_Arrays] = []
    for index, lines in enumerate(file.trees):
        try:
            tree = _Arrays(lines)
            problems += [f"tree {index}: {problem}" for problem in tree.problems(file.n_features)]
            trees.append(tree)
        except (ValueError, KeyError, OverflowError) as error:
            problems.append(f"tree {index}: {type(error).__name__}: {str(error)[:200]}")

    if problems or not trees:
        return problems

    return _node_problems(trees, file.n_features)


class _Arrays:
    """The lines of one tree as arrays: inner nodes in order, leaves counted down from -1."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        for name in ("num_leaves", "num_cat"):
            if not lines[name].isascii() or not lines[name].strip().isdigit():
                raise ValueError(f"{name}: expected a number, found {lines[name][:40]!r}")

        if len(lines) > MAX_TREE_LINES:
            raise ValueError(f"{len(lines)} lines, expected at most {MAX_TREE_LINES}")

        self._lines = lines
        self.n_leaves, self.n_sets = int(lines["num_leaves"]), int(lines["num_cat"])
        self.left = self._integers("left_child")
        self.right = self._integers("right_child")
        self.feature = self._integers("split_feature")

        self.decision = self._integers("decision_type")
        self.threshold = self._floats("threshold")
        self.values = self._floats("leaf_value")
        self.bounds = self._integers("cat_boundaries")
        self.words = self._integers("cat_threshold")

        self._check_words()

    def _check_words(self) -> None:
        for name, text in self._lines.items():
            for word in text.split():
                if not _WRITTEN.fullmatch(word):
                    raise ValueError(
                        f"{name[:40]}: {word[:40]!r} is not a number as LightGBM writes it"
                    )

    def _checked(self, name: str) -> Mapping[str, str]:
        if not _NUMBERS.fullmatch(self._lines.get(name, "")):
            raise ValueError(f"{name}: expected numbers alone")
        return self._lines

    def _integers(self, name: str) -> Ints:
        return numbers(self._checked(name), name, np.int64)

    def _floats(self, name: str) -> npt.NDArray[np.float64]:
        return numbers(self._checked(name), name)

    @property
    def n_inner(self) -> int:
        """Inner nodes."""
        return self.n_leaves - 1

    @property
    def by_category(self) -> npt.NDArray[np.bool_]:
        """Inner nodes that ask for a category."""
        return np.asarray((self.decision & CATEGORICAL) != 0)

    def problems(self, n_features: int) -> Iterator[str]:
        """What is wrong with the arrays as such: lengths, children, categories, linear terms."""
        if self.n_leaves < 1:
            yield f"num_leaves {self.n_leaves}, expected at least 1"
            return

        wrong = self._wrong_lengths() + self._wrong_optional_lengths()
        for name, n_found, n_expected in wrong:
            yield f"{name}: {n_found:,} numbers, expected {n_expected:,}"

        if wrong:
            return

        yield from self._child_problems("left_child", self.left)
        yield from self._child_problems("right_child", self.right)

        if ((self.decision < 0) | (self.decision >= END_OF_DECISIONS)).any():
            yield f"decision_type: expected numbers from 0 to {END_OF_DECISIONS - 1}"

        yield from self._set_problems()
        yield from self._category_problems()
        yield from self._linear_problems(n_features)

    def _wrong_lengths(self) -> list[tuple[str, int, int]]:
        """Arrays of another length than their nodes: name, numbers, expected."""
        by_node = {
            "split_feature": self.feature,
            "threshold": self.threshold,
            "decision_type": self.decision,
            "left_child": self.left,
            "right_child": self.right,
        }

        lengths = [(name, len(values), self.n_inner) for name, values in by_node.items()]
        lengths.append(("leaf_value", len(self.values), self.n_leaves))

        return [
            (name, n_found, n_expected)
            for name, n_found, n_expected in lengths
            if n_found != n_expected
        ]

    def _wrong_optional_lengths(self) -> list[tuple[str, int, int]]:
        """The same for optional lines. A tree of one leaf has none of them."""
        if not self.n_inner:
            return []

        expected = dict.fromkeys(OF_INNER_NODES, self.n_inner)
        expected |= dict.fromkeys(OF_LEAVES, self.n_leaves)

        wrong = []
        for name, n_expected in expected.items():
            if name in self._lines:
                n_words = len(self._lines[name].split())
                if n_words != n_expected:
                    wrong.append((name, n_words, n_expected))

        return wrong

    def _child_problems(self, name: str, children: Ints) -> Iterator[str]:
        """Children before they are numbered anew."""
        outside = (children < -self.n_leaves) | (children >= self.n_inner)
        if outside.any():
            node = int(np.argmax(outside))
            expected = f"{-self.n_leaves} to {self.n_inner - 1}"
            yield f"node {node}: {name} {children[node]}, expected {expected}"

    def _set_problems(self) -> Iterator[str]:
        """Bounds and words of the sets of categories."""
        n_sets, bounds, n_words = self.n_sets, self.bounds, len(self.words)
        if n_sets and len(bounds) != n_sets + 1:
            yield f"cat_boundaries: {len(bounds):,} numbers, expected {n_sets + 1:,}"
            return

        is_rising = not n_sets or bool((np.diff(bounds) >= 0).all())
        if n_sets and (bounds[0] != 0 or not is_rising or bounds[-1] != n_words):
            yield (
                f"cat_boundaries: expected rising numbers from 0 to {n_words}, as many as "
                "cat_threshold has"
            )

        if ((self.words < 0) | (self.words >= 1 << 32)).any():
            yield "cat_threshold: expected words of 32 bits"

    def _category_problems(self) -> Iterator[str]:
        """Nodes that ask for a set that there is not."""
        asks, n_sets = self.by_category, self.n_sets
        sets = self.threshold[asks]
        outside = ~((sets >= 0) & (sets < n_sets) & (sets == np.trunc(sets)))
        if outside.any():
            node = int(np.flatnonzero(asks)[np.argmax(outside)])
            yield (
                f"node {node}: threshold {self.threshold[node]:g}, expected the number of one of "
                f"{n_sets} sets of categories"
            )

    def _linear_problems(self, n_features: int) -> Iterator[str]:
        """Linear models in the leaves."""
        if self._lines.get("is_linear", "0").strip() == "0":
            return

        counts, features = self._integers("num_features"), self._integers("leaf_features")
        n_terms = self._floats("leaf_coeff").size
        n_expected = counts.sum()

        if len(counts) != self.n_leaves or (counts < 0).any():
            yield f"num_features: expected {self.n_leaves} counts"
        elif len(features) != n_expected or n_terms != n_expected:
            yield (
                f"leaf_features: {len(features):,} and leaf_coeff: {n_terms:,}, expected "
                f"{n_expected:,} of each"
            )

        if ((features < 0) | (features >= n_features)).any():
            yield f"leaf_features: expected features from 0 to {n_features - 1}"
        if self._floats("leaf_const").size != self.n_leaves:
            yield f"leaf_const: expected {self.n_leaves} numbers"


def _node_problems(trees: Sequence[_Arrays], n_features: int) -> list[str]:
    """Inner nodes and, after them, leaves of each tree as nodes of one kind."""

    def joined(inner: list[npt.NDArray[Any]], leaf: Any) -> npt.NDArray[Any]:
        pieces: list[npt.NDArray[Any]] = []
        for tree, values in zip(trees, inner, strict=True):
            pieces += [values, np.full(tree.n_leaves, leaf, values.dtype)]
        return np.concatenate(pieces)

    nodes = TreeNodes(
        sizes=np.array([tree.n_inner + tree.n_leaves for tree in trees], np.int64),
        left=joined([_renumbered(tree, tree.left) for tree in trees], -1),
        right=joined([_renumbered(tree, tree.right) for tree in trees], -1),
        is_leaf=joined([np.zeros(tree.n_inner, np.bool_) for tree in trees], True),
        feature=joined([tree.feature for tree in trees], 0),
        threshold=joined([tree.threshold for tree in trees], 0.0),
        compares=joined([~tree.by_category for tree in trees], False),
        n_features=n_features,
        fields=("left_child", "right_child", "split_feature", "threshold"),
    )

    return tree_problems(nodes)


def _renumbered(tree: _Arrays, children: Ints) -> Ints:
    """Children with leaves numbered after the inner nodes."""
    return np.where(children < 0, tree.n_inner - 1 - children, children)
