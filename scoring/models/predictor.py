"""One loaded model version, whatever its flavor."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import pyarrow as pa

from schemas.contract import ModelFacts
from scoring.models.mlmodel import read_mlmodel

Answer = Mapping[str, npt.NDArray[Any]]
"""Kind of output (`prediction`, `probability`, `decision`, `raw`) to an array of shape (n_rows, n_columns)."""


class Predictor(Protocol):
    """Takes Arrow columns, gives what the model gives."""

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """The outputs of `kinds` for each row, in order.

        Args:
            features: The contract's features in the model's order, at least one row.
            kinds: What is wanted besides `prediction`.

        Raises:
            Exception: Whatever the model raises for rows that it refuses.
        """
        ...


def load_predictor(folder: Path, facts: ModelFacts) -> Predictor:
    """The predictor of a verified artifact tree. Executes the model's code: call it in a worker only."""
    if facts.flavor == "sklearn":
        from scoring.models.sklearn import SklearnPredictor, load_estimator

        return SklearnPredictor(load_estimator(read_mlmodel(folder)), facts)
    from scoring.models.pyfunc import PyfuncPredictor

    return PyfuncPredictor(folder, facts)


def refused_types(folder: Path) -> list[str]:
    """Types in a skops file that are not on the list of what may be loaded. Call it in a worker."""
    mlmodel = read_mlmodel(folder)
    flavor = mlmodel.flavors.get("sklearn", {})
    if flavor.get("serialization_format") != "skops":
        return []
    from scoring.models.sklearn import refused_skops_types

    return refused_skops_types(mlmodel.file(str(flavor.get("pickled_model"))))[0]


def inspect_model(folder: Path) -> ModelFacts:
    """What one load of the model shows. Executes the model's code: call it in a worker only.

    Raises:
        ModelLoadError: It cannot be loaded, or says too little about itself.
    """
    mlmodel = read_mlmodel(folder)
    if "sklearn" in mlmodel.flavors:
        from scoring.models.sklearn import inspect_estimator

        return inspect_estimator(mlmodel)
    from scoring.models.pyfunc import inspect_pyfunc

    return inspect_pyfunc(mlmodel)
