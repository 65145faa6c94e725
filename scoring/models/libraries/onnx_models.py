"""ONNX graphs in a session of ONNX Runtime, and what they say about their inputs and outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nightscore.errors import ModelLoadError
from nightscore.models.answers import column_array
from nightscore.models.installed_libraries import import_library
from nightscore.models.libraries.onnx_classes import find_classes, remove_maps
from nightscore.models.libraries.onnx_inputs import TENSORS, OnnxInput, read_inputs
from nightscore.models.mlmodel import MAX_WIDTH, MlModel
from nightscore.models.structure.onnx_graph import graph_problems
from nightscore.models.structure.onnx_trees import check_trees
from nightscore.models.structure.onnx_walk import has_outside_weights
from nightscore.schemas.model import FeatureType

MAX_PROBLEMS = 50
_PREDICTED = {
    "float32": "float",
    "float64": "double",
    "int64": "long",
    "int32": "integer",
    "bool": "boolean",
}
"""MLflow's names of types by NumPy's; every other output is strings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """A session of one thread and what its graph says."""

    session: Any
    inputs: tuple[OnnxInput, ...]
    names: tuple[str, ...]
    """Names of the inputs, if each is one column."""
    types: tuple[FeatureType, ...]
    """The type of each column."""
    prediction: str
    """Name of the output."""
    probability: str | None
    classes: tuple[Any, ...] | None
    width: int
    """Columns of the prediction."""
    prediction_type: str
    """MLflow's name of the prediction's type."""
    probability_type: str


def load_onnx(mlmodel: MlModel) -> OnnxModel:
    """The graph of verified artifacts, in a session on this CPU.

    Raises:
        ModelLoadError: It cannot be read, names what does not exist, asks for what a table does not
            give, or a library is not installed.
    """
    onnx, runtime = _libraries(mlmodel.folder)
    path = mlmodel.file(str(mlmodel.flavors["onnx"].get("data")))

    try:
        graph = onnx.load(str(path), load_external_data=False)
        problems = graph_problems(graph, path.parent)
        if problems:
            raise _broken(path, problems)

        labels = remove_maps(graph)

        problems, is_guarded = check_trees(graph, lambda name: _given_width(graph, mlmodel, name))
        if problems:
            raise _broken(path, problems)

        is_changed = bool(labels) or is_guarded
        session = _open_session(onnx, runtime, graph, path, is_changed=is_changed)

        return _describe(session, mlmodel, graph, labels, path)
    except ModelLoadError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


def _libraries(folder: Path) -> tuple[Any, Any]:
    names = "ONNX Runtime and onnx"
    onnx = import_library("onnx", names, "onnx", folder)
    runtime = import_library("onnxruntime", names, "onnx", folder)
    return onnx, runtime


def _unreadable(path: Path, error: Exception) -> ModelLoadError:
    return ModelLoadError(
        "The model cannot be loaded.",
        str(path),
        expected="an ONNX graph of operators that ONNX Runtime knows",
        found=f"{type(error).__name__}: {str(error)[:500]}",
        next_step="log it again for the version of ONNX Runtime that is installed here",
    )


def _broken(path: Path, problems: Sequence[str]) -> ModelLoadError:
    shown = list(problems[:MAX_PROBLEMS])
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"and {len(problems) - MAX_PROBLEMS:,} more")
    return ModelLoadError(
        "The model's file is damaged, or not made by an exporter; nothing of it was run.",
        str(path),
        expected="an ONNX graph of standard operators, whose parts all exist",
        problems=shown,
        next_step="export the model again, and log that; if you received it so, ask who made it",
    )


def _given_width(graph: Any, mlmodel: MlModel, name: str) -> int | None:
    """Columns of an input of two dimensions: those of the graph, or else of the signature."""
    inputs = [part for part in graph.graph.input if part.name == name]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 2:
        return None

    columns = inputs[0].type.tensor_type.shape.dim[1]
    if columns.HasField("dim_value"):
        return int(columns.dim_value)
    if len(graph.graph.input) > 1:
        return 1

    return len(mlmodel.inputs) or mlmodel.tensor_width or 1


def _open_session(onnx: Any, runtime: Any, graph: Any, path: Path, *, is_changed: bool) -> Any:
    """A session of one thread."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3

    # By its path if that is possible: weights may be in files beside it.
    source: str | bytes = str(path)

    if is_changed:
        if has_outside_weights(graph):
            onnx.load_external_data_for_model(graph, str(path.parent))

        source = graph.SerializeToString()

    return runtime.InferenceSession(
        source, sess_options=options, providers=["CPUExecutionProvider"]
    )


def _describe(
    session: Any, mlmodel: MlModel, graph: Any, labels: Mapping[str, tuple[Any, ...]], path: Path
) -> OnnxModel:
    problems: list[str] = []
    inputs, types = read_inputs(session, mlmodel, problems)
    outputs = session.get_outputs()

    if not outputs:
        raise ValueError("the graph has no output")

    prediction, *others = outputs
    probability = classes = None
    if others:
        probability, classes = find_classes(prediction, others, graph, labels, problems)

    if problems:
        raise ModelLoadError(
            f"The graph does not fit a table: {len(problems)} problem{'s'[: len(problems) != 1]}.",
            str(path),
            problems=problems,
            next_step="export it with one matrix or one input a column, and with one output, or a "
            "label and probabilities with the labels of the classes",
        )

    dtypes = {output.name: TENSORS.get(output.type, ("", "object"))[1] for output in outputs}
    is_by_column = all(part.width == 1 for part in inputs)

    return OnnxModel(
        session=session,
        inputs=tuple(inputs),
        names=tuple(part.name for part in inputs) if is_by_column else (),
        types=tuple(types),
        prediction=prediction.name,
        probability=probability,
        classes=classes,
        width=1 if probability else _width(session, inputs, prediction.name),
        prediction_type=_PREDICTED.get(dtypes[prediction.name], "string"),
        probability_type=_PREDICTED.get(dtypes.get(probability or "", ""), "float"),
    )


def _width(session: Any, inputs: Sequence[OnnxInput], name: str) -> int:
    """Columns of an output: its shape says so, or the answer to one row of zeros."""
    (shape,) = [output.shape for output in session.get_outputs() if output.name == name]
    if len(shape) < 2:
        return 1

    if len(shape) == 2 and isinstance(shape[1], int):
        if not 1 <= shape[1] <= MAX_WIDTH:
            raise ValueError(f"the output {name} has {shape[1]:,} columns")
        return shape[1]

    feeds = {}
    for part in inputs:
        row = np.full((1, part.width), "" if part.dtype == object else 0, part.dtype)
        feeds[part.name] = row[:, 0] if part.is_flat else row

    return int(column_array(session.run([name], feeds)[0]).shape[1])
