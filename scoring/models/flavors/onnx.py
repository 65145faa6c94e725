"""ONNX models, loaded and called without MLflow and pandas."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.numeric import Scratch, is_numeric, numeric_values
from nightscore.errors import ModelLoadError
from nightscore.models.answers import column_array, empty_answer
from nightscore.models.flavor import Flavor
from nightscore.models.loading_steps import LoadingStep, bundled_code
from nightscore.models.mlmodel import MAX_WIDTH, MlModel
from nightscore.models.protocol import Answer
from nightscore.models.structure.onnx_graph import graph_problems, has_outside_weights
from nightscore.models.structure.onnx_trees import check_trees
from nightscore.models.versions import library_versions, missing_library
from nightscore.schemas.model import Feature, FeatureType, ModelFacts

LIBRARIES = ("onnxruntime", "onnx", "numpy")
TENSORS: dict[str, tuple[FeatureType, str]] = {
    "tensor(float)": ("float", "float32"),
    "tensor(double)": ("double", "float64"),
    "tensor(int64)": ("long", "int64"),
    "tensor(int32)": ("integer", "int32"),
    "tensor(bool)": ("boolean", "bool"),
    "tensor(string)": ("string", "object"),
}
"""ONNX Runtime's names of types, MLflow's, and numpy's."""
MAX_PROBLEMS = 50
_PREDICTED = {
    "float32": "float",
    "float64": "double",
    "int64": "long",
    "int32": "integer",
    "bool": "boolean",
}


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """An input of the graph and the columns that it takes."""

    name: str
    dtype: np.dtype[Any]
    first: int
    width: int
    is_flat: bool
    """Of shape (n_rows,), not (n_rows, width)."""


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A session of one thread and what its graph says."""

    session: Any
    inputs: tuple[OnnxInput, ...]
    names: tuple[str, ...]
    """Of the inputs, where each is one column."""
    types: tuple[FeatureType, ...]
    """Of each column."""
    prediction: str
    """Name of the output."""
    probability: str | None
    classes: tuple[Any, ...] | None
    width: int
    """Columns of the prediction."""
    kind: str
    """MLflow's name of the prediction's type."""
    probability_kind: str


class OnnxPredictor:
    """Fills one matrix, or a column for each input, in the types that the graph states, and runs it.

    As in MLflow, float64 columns become float32 where the graph wants that and the signature allows it.
    """

    def __init__(self, model: OnnxModel, facts: ModelFacts) -> None:
        self._model, self._facts = model, facts
        self._buffers = [Scratch() for _ in model.inputs]

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if not features.num_rows:
            return empty_answer(self._facts, kinds)
        model = self._model
        feeds = {
            part.name: self._fill(part, features, buffer)
            for part, buffer in zip(model.inputs, self._buffers, strict=True)
        }
        names = [model.prediction]
        if model.probability and "probability" in kinds:
            names.append(model.probability)
        found = [column_array(array) for array in model.session.run(names, feeds)]
        for name, array in zip(names, found, strict=True):
            if len(array) != features.num_rows:
                raise ValueError(f"the output {name} has {len(array)} rows for {features.num_rows}")
        return dict(zip(("prediction", "probability"), found, strict=False))

    def _fill(self, part: OnnxInput, table: pa.Table, buffer: Scratch) -> npt.NDArray[Any]:
        columns = table.columns[part.first : part.first + part.width]
        if part.dtype == object:
            matrix = np.array([column.to_pylist() for column in columns], object).T
            if any(column.null_count for column in columns):
                raise ValueError(
                    f"{part.name}: a string is missing, and ONNX has no missing strings"
                )
            return matrix[:, 0] if part.is_flat else np.ascontiguousarray(matrix)
        matrix = buffer.take(table.num_rows * part.width, part.dtype).reshape(
            table.num_rows, part.width
        )
        for j, column in enumerate(columns):
            name = table.column_names[part.first + j]
            if not is_numeric(column.type):
                raise ValueError(f"{name} is {column.type}, and the graph wants {part.dtype}")
            if column.null_count and part.dtype.kind != "f":
                raise ValueError(
                    f"{name}: a value is missing, and {part.dtype} has no missing values"
                )
            start = 0
            for chunk in column.chunks:
                values = numeric_values(chunk)
                if part.dtype.kind != "f" and values.dtype.kind == "f":
                    _check_whole(name, values, part.dtype)
                with np.errstate(over="ignore"):
                    matrix[start : start + len(chunk), j] = values
                start += len(chunk)
        return matrix[:, 0] if part.is_flat else matrix


def _check_whole(name: str, values: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    with np.errstate(invalid="ignore"):
        same = values.astype(dtype).astype(values.dtype) == values
    if not same.all():
        raise ValueError(f"{name}: {values[~same][0]} is no {dtype}")


def load_onnx(mlmodel: MlModel) -> OnnxModel:
    """The graph of an artifact tree that was verified, in a session on this CPU.

    Raises:
        ModelLoadError: It cannot be read, names what does not exist, asks for what a table does not give, or a
            library is not installed.
    """
    onnx, runtime = _libraries(mlmodel.folder)
    path = mlmodel.file(str(mlmodel.flavors["onnx"].get("data")))
    try:
        graph = onnx.load(str(path), load_external_data=False)
        problems = graph_problems(graph, path.parent)
    except Exception as error:
        raise _unreadable(path, error) from error
    if problems:
        raise _broken(path, problems)
    try:
        is_unzipped, labels = _without_maps(graph)
        problems, is_guarded = check_trees(graph, lambda name: _given_width(graph, mlmodel, name))
        if problems:
            raise _broken(path, problems)
        session = _open_session(onnx, runtime, graph, path, is_changed=is_unzipped or is_guarded)
        return _described(session, mlmodel, graph, labels, path)
    except ModelLoadError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


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
        next_step="export the model again, and log that; if it came so, ask who made it",
    )


def _given_width(graph: Any, mlmodel: MlModel, name: str) -> int | None:
    """Columns of an input of two dimensions: as the graph says, or else as many as it will be given."""
    inputs = [part for part in graph.graph.input if part.name == name]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 2:
        return None
    sizes = inputs[0].type.tensor_type.shape.dim
    if sizes[1].HasField("dim_value"):
        return int(sizes[1].dim_value)
    return len(mlmodel.inputs) or mlmodel.tensor_width or 1 if len(graph.graph.input) == 1 else 1


def _open_session(onnx: Any, runtime: Any, graph: Any, path: Path, *, is_changed: bool) -> Any:
    """A session of one thread."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source: str | bytes = str(path)  # by its path where it can: weights may be in files beside it
    if is_changed:
        if has_outside_weights(graph):
            onnx.load_external_data_for_model(graph, str(path.parent))
        source = graph.SerializeToString()
    return runtime.InferenceSession(
        source, sess_options=options, providers=["CPUExecutionProvider"]
    )


def _described(
    session: Any, mlmodel: MlModel, graph: Any, labels: Mapping[str, tuple[Any, ...]], path: Path
) -> OnnxModel:
    problems: list[str] = []
    inputs, types = _inputs(session, mlmodel, problems)
    outputs = {output.name: output for output in session.get_outputs()}
    if not outputs:
        raise ValueError("the graph has no output")
    first, *others = outputs.values()
    probability = classes = None
    if others:
        probability, classes = _classified(first, others, graph, labels, problems)
    if problems:
        raise ModelLoadError(
            f"The graph does not fit a table: {len(problems)} problem{'s'[: len(problems) != 1]}.",
            str(path),
            problems=problems,
            next_step="export it with one matrix or one input a column, and with one output, or a label and "
            "probabilities with the labels of the classes",
        )
    kinds = {name: TENSORS.get(output.type, ("", "object"))[1] for name, output in outputs.items()}
    return OnnxModel(
        session,
        tuple(inputs),
        tuple(part.name for part in inputs) if all(part.width == 1 for part in inputs) else (),
        tuple(types),
        first.name,
        probability,
        classes,
        1 if probability else _width(session, inputs, first.name),
        _PREDICTED.get(kinds[first.name], "string"),
        _PREDICTED.get(kinds.get(probability or "", ""), "float"),
    )


def inspect_onnx(mlmodel: MlModel, model: Any) -> ModelFacts:
    """What the graph and the signature say.

    Raises:
        ModelLoadError: It does not fit its signature.
    """
    n_features = len(model.types)
    features = mlmodel.inputs
    if not features and len(model.inputs) > 1:
        types: list[FeatureType] = ["double" if kind == "float" else kind for kind in model.types]
        features = tuple(
            Feature(name=name, type=kind) for name, kind in zip(model.names, types, strict=True)
        )
    outputs = [("prediction", model.kind)] * model.width
    if model.probability:
        outputs.append(("probability", model.probability_kind))
    return ModelFacts(
        flavor="onnx",
        estimator="ONNX",
        features=features,
        n_features=n_features,
        is_named=bool(features),
        # Without a signature MLflow gives the graph float64 columns as float32.
        matrix_dtype="float32" if mlmodel.tensor_dtype == "float32" else "float64",
        classes=model.classes,
        outputs=tuple(outputs),
        methods=("predict", "predict_proba") if model.probability else ("predict",),
        n_outputs=model.width,
        fallback_reason="there is no compiled form of ONNX models",
        trained_with=mlmodel.trained_with,
        loaded_with=library_versions(*LIBRARIES),
    )


def _libraries(folder: Path) -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise missing_library("ONNX Runtime and onnx", "onnx", folder) from error
    return onnx, onnxruntime


def _without_maps(model: Any) -> tuple[bool, Mapping[str, tuple[Any, ...]]]:
    """Let outputs that are a dictionary a row be the tensor that they are made of; by output, the labels.

    Building the dictionaries takes longer than the prediction.
    """
    import onnx

    labels: dict[str, tuple[Any, ...]] = {}
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == "ZipMap"]:
        (output,) = [found for found in graph.output if found.name == node.output[0]]
        (attribute,) = node.attribute
        labels[node.input[0]] = _labels(attribute)
        graph.node.remove(node)
        kind = onnx.TensorProto.FLOAT
        output.CopyFrom(
            onnx.helper.make_tensor_value_info(
                node.input[0], kind, [None, len(labels[node.input[0]])]
            )
        )
    return bool(labels), labels


def _labels(attribute: Any) -> tuple[Any, ...]:
    return tuple(attribute.ints) or tuple(value.decode() for value in attribute.strings)


def _inputs(
    session: Any, mlmodel: MlModel, problems: list[str]
) -> tuple[list[OnnxInput], list[FeatureType]]:
    """The graph's inputs; each takes columns in the order of the signature, by name where each is one column."""
    found: list[OnnxInput] = []
    types: list[FeatureType] = []
    stated = mlmodel.inputs
    places = {feature.name: i for i, feature in enumerate(stated)}
    given = session.get_inputs()
    for graph_input in given:
        kind, dtype = TENSORS.get(graph_input.type, (None, None))
        if kind is None:
            problems.append(f"input {graph_input.name}: {graph_input.type} is no column of a table")
            continue
        shape = graph_input.shape
        width = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 1
        if len(shape) > 2:
            problems.append(
                f"input {graph_input.name}: has the shape {shape}, not rows and columns"
            )
        if len(given) == 1:
            if len(shape) == 2 and not isinstance(shape[1], int):
                width = len(stated) or mlmodel.tensor_width or 1
            if stated and len(stated) != width:
                problems.append(
                    f"input {graph_input.name}: takes {width} columns, the signature has {len(stated)}"
                )
            first = 0
        else:
            first = places.get(graph_input.name, -1 if stated else len(types))
            if first < 0 or width != 1:
                problems.append(
                    f"input {graph_input.name}: is one of several and no single column of the signature"
                    f" ({', '.join(places)})"
                )
        if not 1 <= width <= MAX_WIDTH:
            problems.append(
                f"input {graph_input.name}: has {width:,} columns, expected 1 to {MAX_WIDTH:,}"
            )
            continue
        types += [kind] * width
        found.append(OnnxInput(graph_input.name, np.dtype(dtype), first, width, len(shape) == 1))
    if len(given) > 1 and stated and len(given) != len(stated):
        problems.append(f"the graph has {len(given)} inputs, the signature {len(stated)} columns")
    return found, types


def _classified(
    first: Any,
    others: list[Any],
    model: Any,
    labels: Mapping[str, tuple[Any, ...]],
    problems: list[str],
) -> tuple[str | None, tuple[Any, ...] | None]:
    """The output of probabilities beside the label's, and the classes."""
    if len(others) > 1 or others[0].type not in ("tensor(float)", "tensor(double)"):
        problems.append(
            f"outputs: {', '.join(f'{found.name} ({found.type})' for found in (first, *others))}: no label and "
            "probabilities"
        )
        return None, None
    name, shape = others[0].name, others[0].shape
    width = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None
    is_text = first.type == "tensor(string)"
    for found in (labels.get(name), *_candidates(model)):
        if (
            found
            and isinstance(found[0], str) == is_text
            and (width is None or width == len(found))
        ):
            return name, tuple(found)
    problems.append(
        f"output {name}: the graph does not say which classes its {width or ''} columns are"
    )
    return None, None


def _candidates(model: Any) -> Iterator[tuple[Any, ...]]:
    """Labels of classes: attributes of classifiers, and what labels are picked from."""
    from onnx import numpy_helper

    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("classlabels_int64s", "classlabels_strings", "classlabels_ints"):
                yield _labels(attribute)
        if (
            node.op_type == "ArrayFeatureExtractor"
            and len(node.input)
            and node.input[0] in constants
        ):
            if len(constants[node.input[0]].external_data):
                continue
            values = numpy_helper.to_array(constants[node.input[0]]).reshape(-1)
            yield tuple(
                value.decode() if isinstance(value, bytes) else value for value in values.tolist()
            )


def _width(session: Any, inputs: list[OnnxInput], name: str) -> int:
    """Columns of an output, from its shape or from what one row of zeros gives."""
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


def onnx_steps(mlmodel: MlModel) -> Iterator[LoadingStep]:
    """Everything that loading an ONNX model would run: it is protobuf, and read as data."""
    flavor = mlmodel.flavors["onnx"]
    yield from bundled_code(mlmodel, flavor)
    yield LoadingStep("data", f"reads {flavor.get('data')} with onnx")


FLAVOR = Flavor(
    name="onnx",
    claims=lambda mlmodel: mlmodel.is_loaded_by("onnx"),
    loading_steps=onnx_steps,
    load=load_onnx,
    inspect=inspect_onnx,
    predictor=OnnxPredictor,
    pads_batches=True,
    releases_gil=lambda facts: True,
)
