"""Reads LightGBM's model files, which are text, without LightGBM."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.schemas.model import Feature

VERSIONS = ("v3", "v4")


@dataclass(frozen=True, slots=True)
class LightgbmFile:
    """What a model file says."""

    header: Mapping[str, str]
    """Lines before the trees. The value of a flag such as `average_output` is empty."""
    trees: tuple[Mapping[str, str], ...]
    """For each tree its lines `name=values`."""
    parameters: Mapping[str, str]
    """Parameters of training."""
    pandas_categorical: tuple[tuple[Any, ...], ...]
    """Categories of each categorical column of the training frame, in the columns' order."""

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return int(self.header["max_feature_idx"]) + 1

    @property
    def n_outputs(self) -> int:
        """Columns of the raw score."""
        return int(self.header["num_tree_per_iteration"])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names with underscores for spaces; `Column_0` and so on if there were no names."""
        return tuple(self.header["feature_names"].split(" "))

    @property
    def objective(self) -> tuple[str, ...]:
        """Its name and options such as `sigmoid:1`; empty for the user's own objective, or none."""
        return tuple(self.header.get("objective", "").split())

    @property
    def categorical_features(self) -> tuple[int, ...]:
        """Positions of the features that are split by category."""
        text = self.parameters.get("categorical_feature", "")
        if not re.fullmatch(r"\d+(,\d+)*", text):
            return ()
        return tuple(int(place) for place in text.split(","))


def read_lightgbm(text: str) -> LightgbmFile:
    """The content of a model file.

    Raises:
        ValueError: It is not a model file, or of an unknown version.
    """
    lines = text.split("\n")
    if lines[0].strip() != "tree":
        raise ValueError("expected the line `tree` first: this is not a model file of LightGBM")
    if "\0" in text:
        raise ValueError("expected text, found a zero byte")

    reader = _Reader()
    for line in lines[1:]:
        reader.read(line)

    if not reader.is_after_trees:
        raise ValueError("expected the line `end of trees`: the file is cut off")

    version = reader.header.get("version")
    if version not in VERSIONS:
        raise ValueError(f"expected version v3 or v4 of LightGBM's model files, found {version}")

    categorical = reader.categorical or ()
    return LightgbmFile(
        reader.header,
        tuple(reader.trees),
        reader.parameters,
        tuple(tuple(categories) for categories in categorical),
    )


class _Reader:
    """Sorts the lines of a model file into its header, its trees and its parameters."""

    def __init__(self) -> None:
        self.header: dict[str, str] = {}
        self.trees: list[dict[str, str]] = []
        self.parameters: dict[str, str] = {}
        self.categorical: Any = None
        self.is_after_trees = False
        self._is_tree_ended = False
        """A blank line has ended the tree: LightGBM reads no further there."""

    def read(self, line: str) -> None:
        """Take one line."""
        if line.startswith("Tree="):
            self.trees.append({})
            self.is_after_trees = self._is_tree_ended = False
        elif line == "end of trees":
            self.is_after_trees = True
        elif line.startswith("pandas_categorical:"):
            self.categorical = json.loads(line.partition(":")[2])
        elif self.is_after_trees:
            if match := re.fullmatch(r"\[([^:\]]+): ?(.*)\]", line):
                self.parameters[match[1]] = match[2]
        elif line:
            self._read_pair(line)
        else:
            self._is_tree_ended = bool(self.trees)

    def _read_pair(self, line: str) -> None:
        name, equals, value = line.partition("=")

        if not self.trees:
            self.header[name] = value
            return

        tree = self.trees[-1]
        if self._is_tree_ended or not equals or name in tree:
            raise ValueError(
                f"tree {len(self.trees) - 1}: expected each of its lines once, as name=numbers: "
                f"{line[:80]!r}"
            )

        tree[name] = value


def categorical_places(file: LightgbmFile, inputs: tuple[Feature, ...]) -> tuple[int, ...] | None:
    """Positions of the columns that had categories in the training frame, or None if it is unclear.

    Ordered categories are no categorical features of the model, and integers may be such features
    without having been categories.
    """
    text = text_places(inputs)
    for places in (file.categorical_features, text):
        if len(places) == len(file.pandas_categorical) and {*text} <= {*places}:
            return places
    return None


def text_places(inputs: tuple[Feature, ...]) -> tuple[int, ...]:
    """Positions of the columns of strings."""
    return tuple(i for i, feature in enumerate(inputs) if feature.type == "string")


def numbers(
    tree: Mapping[str, str], name: str, dtype: npt.DTypeLike = np.float64
) -> npt.NDArray[Any]:
    """The numbers of a tree's line. LightGBM writes enough digits to read back the same number."""
    values: Sequence[str] = tree.get(name, "").split()
    if dtype == np.float64:
        return np.array([float(value) for value in values])
    return np.array(values, dtype)


def model_text(model: Any) -> str:
    """The model as LightGBM would save it: up to the best iteration."""
    return str(getattr(model, "booster_", model).model_to_string())
