"""Whether a LightGBM model file is whole: looked at before LightGBM, which believes what it reads, is given it.

Its parser follows `tree_sizes` into the text, reads each line of a tree up to its `=`, and stops at the first blank
one; predicting follows features, children and sets of categories. Source: `GBDT::LoadModelFromString`, `Tree::Tree`.
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
"""Objectives that make one array of numbers, as long as they say, of a row's sums."""
END_OF_DECISIONS = 12
"""Its two upper bits say what is missing: 0 nothing, 1 zeros, 2 NaN; 3 means nothing."""
OF_INNER_NODES = ("split_gain", "internal_value", "internal_weight", "internal_count")
OF_LEAVES = ("leaf_weight", "leaf_count")
"""Lines that may be missing, and that LightGBM reads by a length of its own where they are there."""
MAX_TREE_LINES = 22
"""Lines that LightGBM reads of a tree."""
_NUMBERS = re.compile(r"[-+0-9.eEinfaINFA ]*")
"""Python reads 1_000 and digits of other scripts as numbers too."""
_WRITTEN = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|inf|nan)")
"""A number as LightGBM writes it: of another it makes an error in a thread of its own, which ends the process."""
_PARAMETER = re.compile(r"\[\w+: .*\]")
PARAMETERS, END_OF_PARAMETERS = "parameters:", "end of parameters"


def check_lightgbm(text: str, where: str) -> LightgbmFile:
    """The content of a model file, if it is whole.

    Args:
        text: Of the file, its lines ended by a line feed.
        where: The file, for the error.

    Raises:
        ModelStructureError: With every kind of fault; LightGBM must not be given it.
    """
    try:
        file = read_lightgbm(text)
        problems = [
            *_header_problems(file),
            *_size_problems(text, file),
            *_parameter_problems(text),
        ]
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
    n_features, n_outputs, n_classes = (
        file.n_features,
        file.n_outputs,
        int(file.header["num_class"]),
    )
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
    for name, words in (
        ("feature_names", file.feature_names),
        ("feature_infos", _words(file, "feature_infos")),
    ):
        if len(words) != n_features:
            problems.append(
                f"{name}: {len(words):,} words, expected {n_features:,}, one for each feature"
            )
    name, *options = file.objective or ("",)
    stated = dict(option.partition(":")[::2] for option in options)
    if name in BY_CLASS and stated.get("num_class") != str(n_classes):
        found = stated.get("num_class", "none")
        problems.append(
            f"objective {name}: num_class {found}, expected {n_classes}, as many as trees an iteration"
        )
    return problems


def _words(file: LightgbmFile, name: str) -> list[str]:
    return file.header.get(name, "").split()


def _size_problems(text: str, file: LightgbmFile) -> list[str]:
    """Where LightGBM would look for each tree."""
    if "tree_sizes" not in file.header:
        return []  # it reads one tree after another then
    sizes = [int(word) for word in _words(file, "tree_sizes")]
    content = text.encode()
    starts = [match.start() for match in re.finditer(rb"(?m)^Tree=", content)]
    if len(sizes) != len(file.trees):
        return [
            f"tree_sizes: {len(sizes):,} sizes, expected {len(file.trees):,}, one for each tree"
        ]
    for tree, (start, end) in enumerate(itertools.pairwise(starts)):
        if sizes[tree] != end - start:
            return [
                f"tree_sizes: {sizes[tree]} bytes of tree {tree}, expected {end - start}, as far as the next one"
            ]
    if sizes and not 0 <= sizes[-1] <= len(content) - starts[-1]:
        return [
            f"tree_sizes: {sizes[-1]} bytes of the last tree, expected at most {len(content) - starts[-1]}"
        ]
    return []


def _parameter_problems(text: str) -> list[str]:
    """What follows the trees: LightGBM looks for the ends of the list and of its lines, and goes on without them."""
    lines = text.split("\n")
    if PARAMETERS not in lines:
        return [] if END_OF_PARAMETERS not in lines else [f"the line {PARAMETERS!r} is missing"]
    start = lines.index(PARAMETERS)
    if END_OF_PARAMETERS not in lines[start:]:
        return [f"the line {END_OF_PARAMETERS!r} is missing"]
    stated = lines[start + 1 : lines.index(END_OF_PARAMETERS, start)]
    odd = [line for line in stated if line and not _PARAMETER.fullmatch(line)]
    return (
        [f"parameters: expected a name and a value in brackets, found {odd[0][:60]!r}"]
        if odd
        else []
    )


def _tree_problems(file: LightgbmFile) -> list[str]:
    problems: list[str] = []
    parts: list[_Arrays] = []
    for index, lines in enumerate(file.trees):
        try:
            part = _Arrays(lines)
            problems += [f"tree {index}: {problem}" for problem in part.problems(file.n_features)]
        except (ValueError, KeyError, OverflowError) as error:
            problems.append(f"tree {index}: {type(error).__name__}: {str(error)[:200]}")
            continue
        parts.append(part)
    if problems or not parts:
        return problems
    return _node_problems(parts, file.n_features)


class _Arrays:
    """The lines of one tree as arrays: inner nodes in their order; leaves are counted from -1 downwards."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        for name in ("num_leaves", "num_cat"):
            if not lines[name].isascii() or not lines[name].strip().isdigit():
                raise ValueError(f"{name}: expected a number, found {lines[name][:40]!r}")
        if len(lines) > MAX_TREE_LINES:
            raise ValueError(f"{len(lines)} lines, expected at most {MAX_TREE_LINES}")
        self.n_leaves, self.n_sets = int(lines["num_leaves"]), int(lines["num_cat"])
        self._lines = lines
        self.left, self.right = self._integers("left_child"), self._integers("right_child")
        self.feature, self.decision = (
            self._integers("split_feature"),
            self._integers("decision_type"),
        )
        self.threshold = numbers(self._checked("threshold"), "threshold")
        self.values = numbers(self._checked("leaf_value"), "leaf_value")
        self.bounds, self.words = self._integers("cat_boundaries"), self._integers("cat_threshold")
        odd = [
            (name, word)
            for name, text in lines.items()
            for word in text.split()
            if not _WRITTEN.fullmatch(word)
        ]
        if odd:
            raise ValueError(
                f"{odd[0][0][:40]}: {odd[0][1][:40]!r} is no number as LightGBM writes it"
            )

    def _checked(self, name: str) -> Mapping[str, str]:
        if not _NUMBERS.fullmatch(self._lines.get(name, "")):
            raise ValueError(f"{name}: expected numbers alone")
        return self._lines

    def _integers(self, name: str) -> Ints:
        return numbers(self._checked(name), name, np.int64)

    @property
    def n_inner(self) -> int:
        return self.n_leaves - 1

    @property
    def by_category(self) -> npt.NDArray[np.bool_]:
        return np.asarray((self.decision & CATEGORICAL) != 0)

    def problems(self, n_features: int) -> Iterator[str]:
        """What is wrong with the arrays as such: lengths, children before they are numbered anew, categories."""
        if self.n_leaves < 1:
            yield f"num_leaves {self.n_leaves}, expected at least 1"
            return
        n_inner = self.n_inner
        lengths = {
            "split_feature": self.feature,
            "threshold": self.threshold,
            "decision_type": self.decision,
            "left_child": self.left,
            "right_child": self.right,
        }
        wrong = [
            (name, len(found), n_inner) for name, found in lengths.items() if len(found) != n_inner
        ]
        if len(self.values) != self.n_leaves:
            wrong.append(("leaf_value", len(self.values), self.n_leaves))
        wrong += self._other_lengths()
        yield from (
            f"{name}: {n_found:,} numbers, expected {wanted:,}" for name, n_found, wanted in wrong
        )
        if wrong:
            return
        for name, children in (("left_child", self.left), ("right_child", self.right)):
            outside = (children < -self.n_leaves) | (children >= n_inner)
            if outside.any():
                node = int(np.argmax(outside))
                yield f"node {node}: {name} {children[node]}, expected {-self.n_leaves} to {n_inner - 1}"
        if ((self.decision < 0) | (self.decision >= END_OF_DECISIONS)).any():
            yield f"decision_type: expected numbers from 0 to {END_OF_DECISIONS - 1}"
        yield from self._category_problems()
        yield from self._linear_problems(n_features)

    def _other_lengths(self) -> list[tuple[str, int, int]]:
        """Lines of another length than their nodes: name, numbers, expected. A tree of one leaf has none."""
        if not self.n_inner:
            return []
        wanted = dict.fromkeys(OF_INNER_NODES, self.n_inner) | dict.fromkeys(
            OF_LEAVES, self.n_leaves
        )
        lengths = {name: len(self._lines[name].split()) for name in wanted if name in self._lines}
        return [
            (name, n_words, wanted[name])
            for name, n_words in lengths.items()
            if n_words != wanted[name]
        ]

    def _category_problems(self) -> Iterator[str]:
        n_sets, bounds = self.n_sets, self.bounds
        if n_sets and len(bounds) != n_sets + 1:
            yield f"cat_boundaries: {len(bounds):,} numbers, expected {n_sets + 1:,}"
            return
        if n_sets and (
            bounds[0] != 0 or (np.diff(bounds) < 0).any() or bounds[-1] != len(self.words)
        ):
            yield f"cat_boundaries: expected rising numbers from 0 to {len(self.words)}, as many as cat_threshold has"
        if ((self.words < 0) | (self.words >= 1 << 32)).any():
            yield "cat_threshold: expected words of 32 bits"
        asks = self.by_category
        chosen = self.threshold[asks]
        outside = ~((chosen >= 0) & (chosen < n_sets) & (chosen == np.trunc(chosen)))
        if outside.any():
            node = int(np.flatnonzero(asks)[np.argmax(outside)])
            found = f"{self.threshold[node]:g}"
            yield f"node {node}: threshold {found}, expected the number of one of {n_sets} sets of categories"

    def _linear_problems(self, n_features: int) -> Iterator[str]:
        if self._lines.get("is_linear", "0").strip() == "0":
            return
        counts, features = self._integers("num_features"), self._integers("leaf_features")
        n_terms = numbers(self._checked("leaf_coeff"), "leaf_coeff").size
        if len(counts) != self.n_leaves or (counts < 0).any():
            yield f"num_features: expected {self.n_leaves} counts"
        elif len(features) != counts.sum() or n_terms != counts.sum():
            yield f"leaf_features: {len(features):,} and leaf_coeff: {n_terms:,}, expected {counts.sum():,} of each"
        if ((features < 0) | (features >= n_features)).any():
            yield f"leaf_features: expected features from 0 to {n_features - 1}"
        if numbers(self._checked("leaf_const"), "leaf_const").size != self.n_leaves:
            yield f"leaf_const: expected {self.n_leaves} numbers"


def _node_problems(parts: Sequence[_Arrays], n_features: int) -> list[str]:
    """Inner nodes and, after them, leaves of each tree as nodes of one kind."""

    def joined(inner: list[npt.NDArray[Any]], leaf: Any) -> npt.NDArray[Any]:
        pieces: list[npt.NDArray[Any]] = []
        for part, values in zip(parts, inner, strict=True):
            pieces += [values, np.full(part.n_leaves, leaf, values.dtype)]
        return np.concatenate(pieces)

    nodes = TreeNodes(
        sizes=np.array([part.n_inner + part.n_leaves for part in parts], np.int64),
        left=joined(
            [np.where(part.left < 0, part.n_inner - 1 - part.left, part.left) for part in parts], -1
        ),
        right=joined(
            [np.where(part.right < 0, part.n_inner - 1 - part.right, part.right) for part in parts],
            -1,
        ),
        is_leaf=joined([np.zeros(part.n_inner, np.bool_) for part in parts], True),
        feature=joined([part.feature for part in parts], 0),
        threshold=joined([part.threshold for part in parts], 0.0),
        compares=joined([~part.by_category for part in parts], False),
        n_features=n_features,
        fields=("left_child", "right_child", "split_feature", "threshold"),
    )
    return tree_problems(nodes)
