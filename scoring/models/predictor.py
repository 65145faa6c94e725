"""One loaded model version, whatever its flavor."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import pyarrow as pa

from schemas.contract import ModelFacts
from scoring.models.mlmodel import LIGHTGBM_BOOSTER, MlModel, own_flavor, read_mlmodel

Answer = Mapping[str, npt.NDArray[Any]]
"""Kind of output (`prediction`, `probability`, `decision`, `raw`) to an array of shape (n_rows, n_columns)."""


class Predictor(Protocol):
    """Takes Arrow columns, gives what the model gives."""

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """The outputs of `kinds` for each row, in order.

        Args:
            features: The contract's features in the model's order; no rows give empty arrays of the right types.
            kinds: What is wanted besides `prediction`.

        Raises:
            Exception: Whatever the model raises for rows that it refuses.
        """
        ...


class CompiledPredictor(Predictor, Protocol):
    """Gives the library's own predictions, faster."""

    tolerance: float
    """How far from the library's own it may be, relative; 0: equal to the bit."""
    rows_by_library: int
    """Rows of batches that it has left to the library's own so far."""
    trouble: str
    """Its last error on a batch that the library's own then took; empty: none."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model as its library predicts with it, and its compiled form."""

    own: Predictor
    compiled: CompiledPredictor | None = None
    why: str = ""
    """Why there is no compiled form."""


def load_model(folder: Path, facts: ModelFacts, library_because: str = "") -> LoadedModel:
    """The predictors of a verified artifact tree. Executes the model's code: call it in a worker only.

    Args:
        folder: Of the artifacts, in the cache of models.
        facts: What the model is.
        library_because: Why no compiled form is wanted; empty: it is.
    """
    mlmodel = read_mlmodel(folder)
    if facts.flavor in ("lightgbm", "xgboost"):
        return _load_booster(mlmodel, facts, library_because)
    if facts.flavor == "onnx":
        from scoring.models.onnx import OnnxPredictor, load_onnx

        return LoadedModel(OnnxPredictor(load_onnx(mlmodel), facts), why="there is no compiled form of ONNX models")
    if facts.flavor != "sklearn":
        from scoring.models.pyfunc import PyfuncPredictor

        return LoadedModel(PyfuncPredictor(folder, facts), why="there is no compiled form of pyfunc models")
    from scoring.models.sklearn import SklearnPredictor, load_estimator

    estimator = load_estimator(mlmodel)
    own = SklearnPredictor(estimator, facts)
    if library_because:
        return LoadedModel(own, why=library_because)
    return _with_compiled(estimator, facts, own, folder)


def _load_booster(mlmodel: MlModel, facts: ModelFacts, library_because: str) -> LoadedModel:
    own: Predictor
    if facts.flavor == "lightgbm":
        from scoring.models.lightgbm import LightgbmPredictor, load_lightgbm

        model = load_lightgbm(mlmodel)
        own = LightgbmPredictor(model, facts)
    else:
        from scoring.models.xgboost import XgboostPredictor, load_xgboost

        model = load_xgboost(mlmodel)
        own = XgboostPredictor(model, facts)
    if library_because:
        return LoadedModel(own, why=library_because)
    return _with_compiled(model, facts, own, mlmodel.folder)


def _with_compiled(model: object, facts: ModelFacts, own: Predictor, folder: Path) -> LoadedModel:
    from scoring.models.compiled.from_sklearn import UnsupportedError
    from scoring.models.compiled.predictor import compile_predictor

    try:
        return LoadedModel(own, compile_predictor(model, facts, own, folder.parent))
    except UnsupportedError as error:
        return LoadedModel(own, why=str(error))


def refused_types(folder: Path) -> list[str]:
    """Types in a skops file that are not on the list of what may be loaded. Call it in a worker."""
    mlmodel = read_mlmodel(folder)
    name = own_flavor(mlmodel)
    flavor = mlmodel.flavors.get(name, {})
    if name not in ("sklearn", "lightgbm") or flavor.get("serialization_format") != "skops":
        return []
    if name == "lightgbm" and flavor.get("model_class", LIGHTGBM_BOOSTER) == LIGHTGBM_BOOSTER:
        return []
    from scoring.models.sklearn import refused_skops_types

    return refused_skops_types(mlmodel.file(str(flavor.get("pickled_model" if name == "sklearn" else "data"))))[0]


def inspect_model(folder: Path) -> ModelFacts:
    """What one load of the model shows. Executes the model's code: call it in a worker only.

    Raises:
        ModelLoadError: It cannot be loaded, or says too little about itself.
    """
    mlmodel = read_mlmodel(folder)
    name = own_flavor(mlmodel)
    if name == "sklearn":
        from scoring.models.sklearn import inspect_estimator

        return inspect_estimator(mlmodel)
    if name == "lightgbm":
        from scoring.models.lightgbm import inspect_lightgbm

        return inspect_lightgbm(mlmodel)
    if name == "xgboost":
        from scoring.models.xgboost import inspect_xgboost

        return inspect_xgboost(mlmodel)
    if name == "onnx":
        from scoring.models.onnx import inspect_onnx

        return inspect_onnx(mlmodel)
    from scoring.models.pyfunc import inspect_pyfunc

    return inspect_pyfunc(mlmodel)
