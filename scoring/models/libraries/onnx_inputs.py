"""Inputs of an ONNX graph and the columns that they take."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nightscore.models.mlmodel import MAX_WIDTH, MlModel
from nightscore.schemas.model import FeatureType

TENSORS: dict[str, tuple[FeatureType, str]] = {
    "tensor(float)": ("float", "float32"),
    "tensor(double)": ("double", "float64"),
    "tensor(int64)": ("long", "int64"),
    "tensor(int32)": ("integer", "int32"),
    "tensor(bool)": ("boolean", "bool"),
    "tensor(string)": ("string", "object"),
}
"""ONNX Runtime's names of types, with MLflow's and NumPy's."""


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """An input of the graph and the columns that it takes."""

    name: str
    dtype: np.dtype[Any]
    first: int
    width: int
    is_flat: bool
    """Its shape is (n_rows,), not (n_rows, width)."""


def read_inputs(
    session: Any, mlmodel: MlModel, problems: list[str]
) -> tuple[list[OnnxInput], list[FeatureType]]:
    """The graph's inputs, and the type of each column.

    Inputs take columns in the order of the signature, by name if each is one column.

    Args:
        session: Has the graph.
        mlmodel: Has the signature.
        problems: Gets what does not fit a table.
    """
    inputs: list[OnnxInput] = []
    types: list[FeatureType] = []
    stated = mlmodel.inputs
    places = {feature.name: i for i, feature in enumerate(stated)}
    graph_inputs = session.get_inputs()

    for graph_input in graph_inputs:
        name, shape = graph_input.name, graph_input.shape

        if graph_input.type not in TENSORS:
            problems.append(f"input {name}: {graph_input.type} is not a column of a table")
            continue

        feature_type, dtype = TENSORS[graph_input.type]

        if len(shape) > 2:
            problems.append(f"input {name}: has the shape {shape}, not rows and columns")

        if len(graph_inputs) == 1:
            first, width = 0, _matrix_width(graph_input, mlmodel, problems)
        else:
            first = places.get(name, -1 if stated else len(types))
            width = _column_width(graph_input, first, places, problems)

        if not 1 <= width <= MAX_WIDTH:
            problems.append(f"input {name}: has {width:,} columns, expected 1 to {MAX_WIDTH:,}")
            continue

        types += [feature_type] * width
        inputs.append(OnnxInput(name, np.dtype(dtype), first, width, len(shape) == 1))

    if len(graph_inputs) > 1 and stated and len(graph_inputs) != len(stated):
        problems.append(
            f"the graph has {len(graph_inputs)} inputs, the signature {len(stated)} columns"
        )

    return inputs, types


def _stated_width(graph_input: Any) -> int | None:
    """Columns that the graph states; 1 if the input is not a matrix."""
    shape = graph_input.shape
    if len(shape) != 2:
        return 1
    return shape[1] if isinstance(shape[1], int) else None


def _matrix_width(graph_input: Any, mlmodel: MlModel, problems: list[str]) -> int:
    """Columns of the only input."""
    width = _stated_width(graph_input)
    if width is None:
        width = len(mlmodel.inputs) or mlmodel.tensor_width or 1

    n_stated = len(mlmodel.inputs)
    if n_stated and n_stated != width:
        problems.append(
            f"input {graph_input.name}: takes {width} columns, the signature has {n_stated}"
        )

    return width


def _column_width(
    graph_input: Any, first: int, places: Mapping[str, int], problems: list[str]
) -> int:
    """Columns of one of several inputs, each of which must be one column."""
    stated = _stated_width(graph_input)
    width = 1 if stated is None else stated
    if first < 0 or width != 1:
        problems.append(
            f"input {graph_input.name}: is one of several and no single column of the signature"
            f" ({', '.join(places)})"
        )

    return width
