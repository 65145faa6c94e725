"""ONNX models, called without MLflow and pandas."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.numeric import Scratch, is_numeric, numeric_values
from nightscore.models.answers import column_array, empty_answer
from nightscore.models.flavor import Flavor
from nightscore.models.installed_libraries import library_versions
from nightscore.models.loading_steps import LoadingStep, bundled_code
from nightscore.models.mlmodel import MlModel
from nightscore.models.protocol import Answer
from nightscore.schemas.model import Feature, FeatureType, ModelFacts

if TYPE_CHECKING:
    from nightscore.models.libraries.onnx_inputs import OnnxInput
    from nightscore.models.libraries.onnx_models import OnnxModel

LIBRARIES = ("onnxruntime", "onnx", "numpy")


class OnnxPredictor:
    """Runs the graph on one matrix, or one column for each input, in the types that it states.

    As in MLflow, float64 columns become float32 if the graph wants that and the signature allows
    it.
    """

    def __init__(self, model: "OnnxModel", facts: ModelFacts) -> None:
        """Take what `load_onnx` gave."""
        self._model, self._facts = model, facts
        self._buffers = [Scratch() for _ in model.inputs]

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if not features.num_rows:
            return empty_answer(self._facts, kinds)

        model = self._model
        feeds = {}
        for part, buffer in zip(model.inputs, self._buffers, strict=True):
            feeds[part.name] = _fill(part, features, buffer)

        outputs = {"prediction": model.prediction}
        if model.probability and "probability" in kinds:
            outputs["probability"] = model.probability

        arrays = model.session.run(list(outputs.values()), feeds)

        answer = {}
        for (kind, name), array in zip(outputs.items(), arrays, strict=True):
            answer[kind] = column_array(array)
            n_rows = len(answer[kind])
            if n_rows != features.num_rows:
                raise ValueError(f"the output {name} has {n_rows} rows for {features.num_rows}")

        return answer


def _fill(part: "OnnxInput", table: pa.Table, buffer: Scratch) -> npt.NDArray[Any]:
    """What an input is given."""
    columns = table.columns[part.first : part.first + part.width]

    if part.dtype == object:
        return _strings(part, columns)

    size = table.num_rows * part.width
    matrix = buffer.take(size, part.dtype).reshape(table.num_rows, part.width)

    for j, column in enumerate(columns):
        name = table.column_names[part.first + j]
        _check_column(name, column, part.dtype)

        start = 0
        for chunk in column.chunks:
            values = numeric_values(chunk)
            if part.dtype.kind != "f" and values.dtype.kind == "f":
                _check_whole(name, values, part.dtype)
            with np.errstate(over="ignore"):
                matrix[start : start + len(chunk), j] = values
            start += len(chunk)

    return matrix[:, 0] if part.is_flat else matrix


def _strings(part: "OnnxInput", columns: list[pa.ChunkedArray]) -> npt.NDArray[Any]:
    if any(column.null_count for column in columns):
        raise ValueError(f"{part.name}: a string is missing, and ONNX has no missing strings")
    matrix = np.array([column.to_pylist() for column in columns], object).T
    return matrix[:, 0] if part.is_flat else np.ascontiguousarray(matrix)


def _check_column(name: str, column: pa.ChunkedArray, dtype: np.dtype[Any]) -> None:
    if not is_numeric(column.type):
        raise ValueError(f"{name} is {column.type}, and the graph wants {dtype}")
    if column.null_count and dtype.kind != "f":
        raise ValueError(f"{name}: a value is missing, and {dtype} has no missing values")


def _check_whole(name: str, values: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    with np.errstate(invalid="ignore"):
        is_same = values.astype(dtype).astype(values.dtype) == values
    if not is_same.all():
        raise ValueError(f"{name}: {values[~is_same][0]} cannot be {dtype}")


def load_onnx(mlmodel: MlModel) -> "OnnxModel":
    """The graph of verified artifacts, in a session on this CPU.

    Raises:
        ModelLoadError: It cannot be read, or asks for what a table does not give.
    """
    from nightscore.models.libraries import onnx_models

    return onnx_models.load_onnx(mlmodel)


def inspect_onnx(mlmodel: MlModel, model: "OnnxModel") -> ModelFacts:
    """What the graph and the signature say."""
    features = mlmodel.inputs
    if not features and len(model.inputs) > 1:
        features = tuple(
            Feature(name=name, type=_feature_type(graph_type))
            for name, graph_type in zip(model.names, model.types, strict=True)
        )

    outputs = [("prediction", model.prediction_type)] * model.width
    methods: tuple[str, ...] = ("predict",)

    if model.probability:
        outputs.append(("probability", model.probability_type))
        methods = ("predict", "predict_proba")

    return ModelFacts(
        flavor="onnx",
        estimator="ONNX",
        features=features,
        n_features=len(model.types),
        is_named=bool(features),
        # Without a signature MLflow gives the graph float64 columns as float32.
        matrix_dtype="float32" if mlmodel.tensor_dtype == "float32" else "float64",
        classes=model.classes,
        outputs=tuple(outputs),
        methods=methods,
        n_outputs=model.width,
        fallback_reason="there is no compiled form of ONNX models",
        trained_with=mlmodel.trained_with,
        loaded_with=library_versions(*LIBRARIES),
    )


def _feature_type(graph_type: FeatureType) -> FeatureType:
    """Tables have doubles where graphs have floats."""
    return "double" if graph_type == "float" else graph_type


def onnx_steps(mlmodel: MlModel) -> Iterator[LoadingStep]:
    """Everything that loading would run: the file is protobuf, and read as data."""
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
    libraries=("onnxruntime",),
    pads_batches=True,
    releases_gil=lambda facts: True,
)
