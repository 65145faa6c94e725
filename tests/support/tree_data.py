"""Training data and rows that are made to hit the edges of a tree."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.models.compiled.from_sklearn import tree_model
from nightscore.models.compiled.predictor import open_form
from nightscore.models.flavors.sklearn import SklearnPredictor
from nightscore.models.libraries.sklearn_facts import takes_matrix
from nightscore.models.loading import compile_model
from nightscore.models.protocol import CompiledPredictor, Predictor
from nightscore.models.structure.sklearn_pipelines import split_pipeline
from nightscore.schemas.model import ModelFacts

EXTREMES = [0.0, -0.0, np.nan, 5e-324, -5e-324, 2.2e-308, 1.0, -1.0, 1e300, -1e300, 3.4e38, -3.4e38]
FLOAT32_MAX = float(np.finfo(np.float32).max)

Matrix = npt.NDArray[np.float64]


def training_matrix(rng: np.random.Generator, n_rows: int, kinds: list[str]) -> Matrix:
    """A column of each kind."""
    columns = []
    for kind in kinds:
        normal = rng.normal(size=n_rows)
        columns.append(
            {
                "normal": normal,
                "constant": np.full(n_rows, 1.5),
                "few": rng.integers(0, 4, n_rows).astype(float),
                "neighbours": 1.0 + rng.integers(0, 6, n_rows) * 2.0**-52,
                "neighbours32": (1.0 + rng.integers(0, 6, n_rows) * np.float32(2.0**-23)).astype(
                    float
                ),
                "denormal": rng.integers(-5, 5, n_rows) * 5e-324,
                "denormal32": rng.integers(-5, 5, n_rows) * float(np.float32(1e-45)),
                "missing": np.where(rng.random(n_rows) < 0.3, np.nan, normal),
                "infinite": np.where(rng.random(n_rows) < 0.1, np.inf * np.sign(normal), normal),
                "wide": normal * 10.0 ** rng.integers(-30, 30, n_rows),
            }[kind]
        )
    return np.column_stack(columns)


def adversarial_rows(
    rng: np.random.Generator, final: Any, n_rows: int, *, finite32: bool, nan: bool
) -> Matrix:
    """Each feature takes its thresholds exactly, their two neighbours (of float64 and float32), and extremes."""
    forest = tree_model(final).forest
    columns = []
    for feature in range(forest.n_features):
        thresholds = [t.threshold[(t.feature == feature) & (t.left >= 0)] for t in forest.trees]
        exact = np.unique(np.concatenate(thresholds))
        near32 = exact.astype(np.float32)
        pool = np.concatenate(
            [
                exact,
                np.nextafter(exact, -np.inf),
                np.nextafter(exact, np.inf),
                near32,
                np.nextafter(near32, np.float32(-np.inf)),
                np.nextafter(near32, np.float32(np.inf)),
                EXTREMES,
                rng.normal(size=8),
            ]
        )
        if finite32:
            pool = pool[np.isnan(pool) | (np.abs(pool) < FLOAT32_MAX)]
        else:
            pool = np.concatenate([pool, [np.inf, -np.inf]])
        columns.append(rng.choice(pool if nan else pool[~np.isnan(pool)], n_rows))
    return np.column_stack(columns)


def to_table(x: Matrix) -> pa.Table:
    """Named columns; NaN stays NaN."""
    return pa.table({f"f{j}": pa.array(x[:, j]) for j in range(x.shape[1])})


def facts_of(estimator: Any, *, is_named: bool) -> ModelFacts:
    """What `inspect` would say, as far as predictors ask."""
    steps, final = split_pipeline(estimator)
    return ModelFacts(
        flavor="sklearn",
        estimator=type(final).__name__,
        is_named=is_named,
        takes_matrix=not steps and takes_matrix(final),
        n_features=estimator.n_features_in_,
        n_outputs=getattr(final, "n_outputs_", 1),
    )


def own_predictor(estimator: Any, *, is_named: bool = False) -> SklearnPredictor:
    """The library's own."""
    return SklearnPredictor(estimator, facts_of(estimator, is_named=is_named))


def kinds_of(final: Any) -> list[str]:
    """All that an estimator can be asked for."""
    methods = {
        "probability": "predict_proba",
        "decision": "decision_function",
        "raw": "_raw_predict",
    }
    return [kind for kind, method in methods.items() if hasattr(final, method)]


def fit(model: Any, *arguments: Any) -> Any:
    """Fitted, whatever the library thinks of the data."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return model.fit(*arguments)


def compile_predictor(
    model: Any, facts: ModelFacts, own: Predictor, cache: Path
) -> CompiledPredictor:
    """Compile a model and open its form; see `compile_model` and `open_form`."""
    return open_form(compile_model(model, facts), facts, own, cache)
