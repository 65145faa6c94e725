"""Reads LightGBM's model files, which are text, without LightGBM."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.schemas.model import Feature


@dataclass(frozen=True, slots=True)
class LightgbmFile:
    """What a model file says."""

    header: Mapping[str, str]
    """Before the trees; a flag without a value, such as `average_output`, has an empty one."""
    trees: tuple[Mapping[str, str], ...]
    """Of each tree the lines `name=values`."""
    parameters: Mapping[str, str]
    """It was trained with."""
    pandas_categorical: tuple[tuple[Any, ...], ...]
    """Categories of each categorical column of the training frame, in the columns' order."""

    @property
    def n_features(self) -> int:
        return int(self.header["max_feature_idx"]) + 1

    @property
    def n_outputs(self) -> int:
        return int(self.header["num_tree_per_iteration"])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Spaces have become underscores; `Column_0` and so on where there were no names."""
        return tuple(self.header["feature_names"].split(" "))

    @property
    def objective(self) -> tuple[str, ...]:
        """Its name and what it needs, such as `sigmoid:1`; empty: one of the user's own, or none."""
        return tuple(self.header.get("objective", "").split())

    @property
    def categorical_features(self) -> tuple[int, ...]:
        """Positions of the features that are split by category."""
        text = self.parameters.get("categorical_feature", "")
        return (
            tuple(int(place) for place in text.split(","))
            if re.fullmatch(r"\d+(,\d+)*", text)
            else ()
        )


def read_lightgbm(text: str) -> LightgbmFile:
    """The content of a model file.

    Raises:
        ValueError: It is none, or of a version that is not known.
    """
    lines = text.split("\n")
    if lines[0].strip() != "tree":
        raise ValueError("expected the line `tree` first: this is no model file of LightGBM")
    if "\0" in text:
        raise ValueError("expected text, found a zero byte")
    header: dict[str, str] = {}
    trees: list[dict[str, str]] = []
    parameters: dict[str, str] = {}
    categorical: Any = None
    into: dict[str, str] | None = header
    is_ended = False  # by a blank line, where LightGBM stops to read a tree
    for line in lines[1:]:
        if line.startswith("Tree="):
            trees.append({})
            into, is_ended = trees[-1], False
        elif line == "end of trees":
            into = None
        elif line.startswith("pandas_categorical:"):
            categorical = json.loads(line.partition(":")[2])
        elif into is None:
            if match := re.fullmatch(r"\[([^:\]]+): ?(.*)\]", line):
                parameters[match[1]] = match[2]
        elif line:
            name, equals, value = line.partition("=")
            if trees and (is_ended or not equals or name in into):
                raise ValueError(
                    f"tree {len(trees) - 1}: expected each of its lines once, as name=numbers: {line[:80]!r}"
                )
            into[name] = value
        else:
            is_ended = bool(trees)
    if into is not None:
        raise ValueError("expected the line `end of trees`: the file is cut off")
    if header.get("version") not in ("v3", "v4"):
        raise ValueError(
            f"expected version v3 or v4 of LightGBM's model files, found {header.get('version')}"
        )
    return LightgbmFile(
        header,
        tuple(trees),
        parameters,
        tuple(tuple(categories) for categories in categorical or ()),
    )


def categorical_places(file: LightgbmFile, inputs: tuple[Feature, ...]) -> tuple[int, ...] | None:
    """Positions of the columns that had categories in the training frame; None: they cannot be told.

    Ordered ones are no categorical features of the model, and integers may be without having been categories.
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
    """A line of a tree; LightGBM writes as many digits as give the same number back."""
    values: Sequence[str] = tree.get(name, "").split()
    return (
        np.array([float(value) for value in values])
        if dtype == np.float64
        else np.array(values, dtype)
    )


def model_text(model: Any) -> str:
    """The model as LightGBM would save it: up to the best iteration."""
    return str(getattr(model, "booster_", model).model_to_string())
