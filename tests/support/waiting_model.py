"""A model that waits in the middle of a run, so that no test depends on how fast a run is."""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin

from tests.support.models import register

MARK = 1_000.0
"""Value of the column `a` in the rows at which the model waits."""
POLL_S = 0.05


@dataclass(frozen=True)
class WaitingModel:
    """A registered model that predicts the column `a`."""

    name: str
    gate: Path
    """The model waits at marked rows until this file exists."""

    def held(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A copy of a frame; the model waits at its last row while the gate is closed."""
        held = frame.copy()
        held.loc[held.index[-1], "a"] = MARK
        return held

    def close(self) -> None:
        self.gate.unlink(missing_ok=True)

    def open(self) -> None:
        self.gate.touch()


def register_waiting_model(registry: str, folder: Path, sample: pd.DataFrame) -> WaitingModel:
    """Save the model below a folder and register it."""
    import mlflow

    model = WaitingModel("waiting", folder / "open")
    estimator = _waiting_estimator(str(model.gate)).fit(sample[["a"]])
    answer = estimator.predict(sample[["a"]])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            estimator,
            folder / model.name,
            signature=mlflow.models.infer_signature(sample[["a"]], answer),
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
        register(mlflow.MlflowClient(tracking_uri=registry), model.name, folder / model.name)

    return model


def _waiting_estimator(gate: str) -> Any:
    """Its class is defined here: workers cannot import the tests, so it is pickled by value."""

    class Waiting(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, x: Any, y: Any = None) -> Any:
            self.fitted_ = True
            return self

        def predict(self, x: Any) -> Any:
            column = np.asarray(x)[:, 0]
            if (column == MARK).any():
                while not Path(gate).exists():
                    time.sleep(POLL_S)
            return column

    return Waiting()
