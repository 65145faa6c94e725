"""Models of every kind that the tests score with, registered in one SQLite registry."""

import contextlib
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nightscore.models.cache import digest_tree
from nightscore.models.registries.protocol import DIGEST_TAG

NUMBERS = ["a", "b", "c", "d", "e"]
STRINGS = ["color", "size"]
N_TRAINING = 600
MODELS = (
    "extra_multi_output",
    "forest_numpy",
    "hgb_binary",
    "hgb_categories",
    "hgb_ints",
    "hgb_multi",
    "hgb_poisson",
    "hgb_regressor",
    "isolation",
    "kmeans",
    "linear_numpy",
    "logistic",
    "logistic_multi",
    "logistic_numpy",
    "pipeline_onehot",
    "pipeline_ordinal",
    "pipeline_strict",
    "ridge_multi_output",
    "svc",
)
"""Names of all models of `fit_models`: to collect tests, no model is trained."""


@dataclass(frozen=True)
class KnownModel:
    """A registered model and the estimator itself, to compare with."""

    name: str
    estimator: Any
    columns: list[str]
    is_named: bool


def make_frame(n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Rows as a lake has them: a key, numbers, strings, integers; no nulls."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n_rows, len(NUMBERS))), columns=NUMBERS)
    frame.insert(0, "id", np.arange(n_rows) + seed * 1_000_000)
    frame["count"] = rng.integers(0, 50, n_rows)
    frame["flag"] = rng.random(n_rows) < 0.5
    frame["color"] = rng.choice(["red", "green", "blue"], n_rows)
    frame["size"] = rng.choice(["s", "m", "l", "xl"], n_rows)
    return frame


def with_nulls(frame: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """The same with a tenth of numbers and strings missing."""
    rng = np.random.default_rng(seed)
    frame = frame.copy()
    for column in [*NUMBERS, *STRINGS]:
        frame.loc[rng.random(len(frame)) < 0.1, column] = None
    return frame


def fit_models() -> dict[str, tuple[Any, list[str], bool, Any]]:
    """Name to (estimator, columns, trained with names, sample of its input)."""
    from sklearn.cluster import KMeans
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import (
        ExtraTreesRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        IsolationForest,
        RandomForestClassifier,
    )
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
    from sklearn.svm import LinearSVC

    frame = make_frame(N_TRAINING, seed=7)
    missing = with_nulls(frame)
    x, xm = frame[NUMBERS], missing[NUMBERS]
    mixed, ints = missing[[*STRINGS, *NUMBERS]], frame[["a", "count", "b", "flag"]]
    binary = (frame.a + frame.b * frame.c > 0).astype("int64")
    three = np.array(["low", "mid", "high"])[np.digitize(frame.a + frame.d, [-0.5, 0.5])]
    target = frame.a * 3 - frame.e + frame.b**2
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    onehot = make_column_transformer(
        (
            make_pipeline(
                SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
            ),
            STRINGS,
        ),
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
    )
    strict = make_column_transformer((OneHotEncoder(), STRINGS), ("passthrough", NUMBERS))
    categories = frame[[*STRINGS, *NUMBERS]].astype(dict.fromkeys(STRINGS, "category"))
    quick = {"max_iter": 20, "random_state": 0}
    return {
        "hgb_binary": (HistGradientBoostingClassifier(**quick).fit(xm, binary), NUMBERS, True, xm),
        "hgb_multi": (HistGradientBoostingClassifier(**quick).fit(x, three), NUMBERS, True, x),
        "hgb_regressor": (
            HistGradientBoostingRegressor(**quick).fit(xm, target),
            NUMBERS,
            True,
            xm,
        ),
        "hgb_poisson": (
            HistGradientBoostingRegressor(loss="poisson", **quick).fit(x, target**2),
            NUMBERS,
            True,
            x,
        ),
        "hgb_categories": (
            HistGradientBoostingClassifier(categorical_features="from_dtype", **quick).fit(
                categories, binary
            ),
            [*STRINGS, *NUMBERS],
            True,
            categories,
        ),
        "hgb_ints": (
            HistGradientBoostingClassifier(**quick).fit(ints, binary),
            ["a", "count", "b", "flag"],
            True,
            ints,
        ),
        "forest_numpy": (
            RandomForestClassifier(20, random_state=0, n_jobs=2).fit(x.to_numpy(copy=True), three),
            NUMBERS,
            False,
            x.to_numpy(),
        ),
        "extra_multi_output": (
            ExtraTreesRegressor(10, random_state=0).fit(x, np.column_stack([target, target * 2])),
            NUMBERS,
            True,
            x,
        ),
        "logistic": (LogisticRegression().fit(x, binary), NUMBERS, True, x),
        "logistic_multi": (LogisticRegression().fit(x, three), NUMBERS, True, x),
        "logistic_numpy": (
            LogisticRegression().fit(x.to_numpy(copy=True), binary == 1),
            NUMBERS,
            False,
            x.to_numpy(),
        ),
        "linear_numpy": (
            LinearRegression().fit(x.to_numpy(copy=True), target),
            NUMBERS,
            False,
            x.to_numpy(),
        ),
        "ridge_multi_output": (
            Ridge().fit(x, np.column_stack([target, -target])),
            NUMBERS,
            True,
            x,
        ),
        "pipeline_onehot": (
            make_pipeline(onehot, LogisticRegression(max_iter=500)).fit(mixed, three),
            [*STRINGS, *NUMBERS],
            True,
            mixed,
        ),
        "pipeline_ordinal": (
            make_pipeline(
                make_column_transformer((encoder, STRINGS), ("passthrough", NUMBERS)),
                HistGradientBoostingClassifier(**quick),
            ).fit(mixed, binary),
            [*STRINGS, *NUMBERS],
            True,
            mixed,
        ),
        "pipeline_strict": (
            make_pipeline(strict, LogisticRegression(max_iter=500)).fit(
                frame[[*STRINGS, *NUMBERS]], binary
            ),
            [*STRINGS, *NUMBERS],
            True,
            frame[[*STRINGS, *NUMBERS]],
        ),
        "svc": (LinearSVC().fit(x, binary), NUMBERS, True, x),
        "kmeans": (KMeans(3, n_init=1, random_state=0).fit(x), NUMBERS, True, x),
        "isolation": (IsolationForest(n_estimators=10, random_state=0).fit(x), NUMBERS, True, x),
    }


def save_models(folder: Path) -> dict[str, KnownModel]:
    """Train all models and save each one in a folder of its name."""
    import mlflow
    from mlflow.models import infer_signature

    models = {}
    for name, (estimator, columns, is_named, sample) in fit_models().items():
        signature = infer_signature(sample[:20], estimator.predict(sample[:20]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.sklearn.save_model(
                estimator,
                folder / name,
                signature=signature,
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn"],
            )
        models[name] = KnownModel(name, estimator, columns, is_named)

    assert sorted(models) == sorted(MODELS)
    return models


def register_saved(root: Path) -> None:
    """Register the models that are saved below `root/models`; the registry is `root/mlflow.db`."""
    import mlflow

    uri = f"sqlite:///{root}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    for name in MODELS:
        register(client, name, root / "models" / name)
    client.set_registered_model_alias("hgb_binary", "champion", "1")


def register_models(root: Path) -> dict[str, KnownModel]:
    """Save and register all models below `root`; the registry is `root/mlflow.db`."""
    models = save_models(root / "models")
    register_saved(root)
    return models


def register(client: Any, name: str, folder: Path, *, is_pinned: bool = True) -> str:
    """Register an artifact folder as the next version of a model."""
    import mlflow.exceptions

    with contextlib.suppress(mlflow.exceptions.MlflowException):
        client.create_registered_model(name)
    tags = {DIGEST_TAG: digest_tree(folder)} if is_pinned else {}
    return str(client.create_model_version(name, source=str(folder), tags=tags).version)


def make_empty_registry(path: Path) -> None:
    """Write the database of a registry without models: MLflow takes seconds to make its tables."""
    import mlflow

    uri = f"sqlite:///{path}"
    mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models()


def copy_registry(template: Path, target: Path) -> str:
    """A registry of one's own with the same models; returns its URI."""
    shutil.copytree(template, target, dirs_exist_ok=True)
    return f"sqlite:///{target}/mlflow.db"
