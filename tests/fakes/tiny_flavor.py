"""A model flavor of the tests' own: one file, and nothing in nightscore knows it."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore.errors import ModelStructureError
from nightscore.models.answers import empty_answer
from nightscore.models.flavor import Flavor
from nightscore.models.loading_steps import LoadingStep
from nightscore.models.mlmodel import MlModel
from nightscore.models.protocol import Answer
from nightscore.schemas.model import ModelFacts

WEIGHTS = {"a": 2.0, "b": -1.0}
MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.tiny, python_version: 3.11.7}
  tiny: {data: weights.json}
signature:
  inputs: '[{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]'
  outputs: '[{"type": "double"}]'
"""


def save(folder: Path) -> None:
    """Write a model of two weights as MLflow would."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "weights.json").write_text(json.dumps(WEIGHTS))


class TinyPredictor:
    """The sum of a row's columns by their weights."""

    def __init__(self, model: dict[str, float], facts: ModelFacts) -> None:
        self._weights, self._facts = model, facts

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if not features.num_rows:
            return empty_answer(self._facts, kinds)
        total = np.zeros(features.num_rows)
        for name, weight in self._weights.items():
            total += weight * features.column(name).to_numpy()
        return {"prediction": total.reshape(-1, 1)}


def _steps(mlmodel: MlModel) -> Iterator[LoadingStep]:
    yield LoadingStep("data", "reads weights.json with json")


def _load(mlmodel: MlModel) -> Any:
    path = mlmodel.file("weights.json")
    try:
        return {str(name): float(weight) for name, weight in json.loads(path.read_text()).items()}
    except (ValueError, AttributeError) as error:
        raise ModelStructureError(
            "The weights cannot be read.", str(path), expected="an object of numbers"
        ) from error


def _inspect(mlmodel: MlModel, model: Any) -> ModelFacts:
    return ModelFacts(
        flavor="tiny",
        estimator="Tiny",
        features=mlmodel.inputs,
        n_features=len(model),
        is_named=True,
        outputs=(("prediction", "double"),),
        methods=("predict",),
        fallback_reason="there is no compiled form of tiny models",
    )


FLAVOR = Flavor(
    name="tiny",
    claims=lambda mlmodel: mlmodel.is_loaded_by("tiny"),
    loading_steps=_steps,
    load=_load,
    inspect=_inspect,
    predictor=TinyPredictor,
    pads_batches=True,
)
