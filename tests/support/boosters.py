"""LightGBM, XGBoost and ONNX models of every kind that the tests score with, registered in one SQLite registry."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.support.models import N_TRAINING, NUMBERS, STRINGS, make_frame, register, with_nulls

MIXED = [*STRINGS, *NUMBERS, "count"]
"""Columns of models with categories: strings, and `count`, whose integers are categories too."""


@dataclass(frozen=True)
class KnownBooster:
    """A registered model, and the model itself, to compare with."""

    name: str
    flavor: str
    model: Any
    columns: list[str]
    sample: pd.DataFrame
    """Rows of the training frame: with its categories."""

    def own_input(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame as the model's users would give it: with the dtypes of the training frame."""
        x = frame[self.columns].copy()
        for name in self.columns:
            kind = self.sample[name].dtype
            if isinstance(kind, pd.CategoricalDtype):
                x[name] = x[name].astype(kind)
        return x

    def own_answers(self, frame: pd.DataFrame, kinds: list[str]) -> dict[str, Any]:
        """Of the library itself, as its users would call it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = self._answers(self.own_input(frame), kinds)
        return {
            kind: np.asarray(values).reshape(len(frame), -1) for kind, values in answers.items()
        }

    def _answers(self, x: pd.DataFrame, kinds: list[str]) -> dict[str, Any]:
        if self.flavor == "onnx":
            return onnx_answers(self.model, x, kinds)
        options: dict[str, Any] = (
            {"raw_score": True} if self.flavor == "lightgbm" else {"output_margin": True}
        )
        given: Any = x
        if type(self.model).__name__ == "Booster" and self.flavor == "xgboost":
            import xgboost

            given = xgboost.DMatrix(x, enable_categorical=True)
        answers = {"prediction": self.model.predict(given)}
        for kind in kinds:
            if kind == "probability":
                answers[kind] = self.model.predict_proba(given)
            else:
                answers[kind] = self.model.predict(given, **options)
        return answers


def onnx_answers(model: Any, x: pd.DataFrame, kinds: list[str]) -> dict[str, Any]:
    """Of ONNX Runtime, dictionaries and all."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a forest's trees are added in another order by several
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": object}
    inputs = session.get_inputs()
    if len(inputs) == 1:
        feeds = {inputs[0].name: x.to_numpy().astype(types[inputs[0].type])}
    else:
        feeds = {part.name: x[[part.name]].to_numpy().astype(types[part.type]) for part in inputs}
    label, *rest = session.run(None, feeds)
    answers = {"prediction": label}
    if "probability" in kinds:
        (rows,) = rest
        answers["probability"] = np.array(
            [list(row.values()) if isinstance(row, dict) else row for row in rows]
        )
    return answers


def category_frame(n_rows: int, seed: int) -> pd.DataFrame:
    """Rows of `make_frame` with missing values and categories."""
    frame = with_nulls(make_frame(n_rows, seed=seed), seed=seed + 1)[MIXED]
    return frame.astype({**dict.fromkeys(STRINGS, "category"), "count": "category"})


def fit_boosters() -> dict[str, tuple[str, Any, pd.DataFrame, dict[str, Any]]]:
    """Name to (flavor, model, training frame, options of saving)."""
    import lightgbm
    import xgboost

    frame = with_nulls(make_frame(N_TRAINING, seed=7))
    x, mixed = frame[NUMBERS], category_frame(N_TRAINING, 7)
    a, d = frame.a.fillna(0), frame.d.fillna(0)
    binary = (a + 0.5 * (frame.color == "red") + 0.02 * frame["count"] > 0.5).astype("int64")
    three = np.digitize(a + d, [-0.5, 0.5])
    named = np.array(["low", "mid", "high"])[three]
    target = np.asarray(a * 3 - d**2 + 5)
    light: dict[str, Any] = {
        "verbose": -1, "num_threads": 1, "num_leaves": 7, "min_data_in_leaf": 5, "seed": 0, "min_data_per_group": 5,
    }  # fmt: skip
    wrapped: dict[str, Any] = {
        "n_estimators": 8, "num_leaves": 7, "verbose": -1, "n_jobs": 1, "min_child_samples": 5,
        "min_data_per_group": 5,
    }  # fmt: skip
    extreme: dict[str, Any] = {"max_depth": 3, "nthread": 1, "seed": 0}
    extreme_wrapped: dict[str, Any] = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1}

    def light_train(objective: str, x: pd.DataFrame, y: Any, **more: Any) -> Any:
        return lightgbm.train({**light, "objective": objective, **more}, lightgbm.Dataset(x, y), 8)

    def extreme_train(objective: str, x: pd.DataFrame, y: Any, **more: Any) -> Any:
        matrix = xgboost.DMatrix(x, y, enable_categorical=True, nthread=1)
        return xgboost.train({**extreme, "objective": objective, **more}, matrix, 8)

    return {
        "lgb_binary": ("lightgbm", light_train("binary", mixed, binary), mixed, {}),
        "lgb_multi": ("lightgbm", light_train("multiclass", x, three, num_class=3), x, {}),
        "lgb_poisson": ("lightgbm", light_train("poisson", x, target.clip(0)), x, {}),
        "lgb_regressor": (
            "lightgbm",
            lightgbm.LGBMRegressor(**wrapped).fit(x, target),
            x,
            {"serialization_format": "cloudpickle"},
        ),
        "lgb_classifier": (
            "lightgbm",
            lightgbm.LGBMClassifier(**wrapped).fit(mixed, named),
            mixed,
            {"serialization_format": "skops"},
        ),
        "lgb_classifier_binary": (
            "lightgbm",
            lightgbm.LGBMClassifier(**wrapped).fit(x, binary == 1),
            x,
            {},
        ),
        "xgb_binary": ("xgboost", extreme_train("binary:logistic", mixed, binary), mixed, {}),
        "xgb_multi": (
            "xgboost",
            extreme_train("multi:softprob", x, three, num_class=3),
            x,
            {"model_format": "json"},
        ),
        "xgb_dart": (
            "xgboost",
            extreme_train("reg:squarederror", x, target, booster="dart", rate_drop=0.5),
            x,
            {},
        ),
        "xgb_regressor": ("xgboost", xgboost.XGBRegressor(**extreme_wrapped).fit(x, target), x, {}),
        "xgb_classifier": (
            "xgboost",
            xgboost.XGBClassifier(enable_categorical=True, **extreme_wrapped).fit(mixed, binary),
            mixed,
            {},
        ),
        "xgb_classifier_multi": (
            "xgboost",
            xgboost.XGBClassifier(**extreme_wrapped).fit(x, three),
            x,
            {},
        ),
        **_onnx_models(),
    }


def _onnx_models() -> dict[str, tuple[str, Any, pd.DataFrame, dict[str, Any]]]:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = make_frame(N_TRAINING, seed=7)
    x = frame[NUMBERS].astype("float32")
    three = np.array(["low", "mid", "high"])[np.digitize(frame.a + frame.d, [-0.5, 0.5])]
    forest = RandomForestClassifier(5, max_depth=4, random_state=0).fit(x.to_numpy(), three)
    logistic = LogisticRegression().fit(x.to_numpy(), frame.a > 0)
    linear = LinearRegression().fit(
        frame[NUMBERS].to_numpy(), np.column_stack([frame.a * 2 - frame.b, frame.c])
    )
    mixed = frame[[*STRINGS, "a", "b"]].astype({"a": "float32", "b": "float32"})
    front = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), STRINGS), ("passthrough", ["a", "b"])
    )
    pipeline = make_pipeline(front, LogisticRegression()).fit(mixed, (frame.a > 0).astype("int64"))
    columns = [
        (name, StringTensorType([None, 1]) if name in STRINGS else FloatTensorType([None, 1]))
        for name in mixed
    ]
    return {
        "onnx_forest": (
            "onnx",
            to_onnx(forest, initial_types=[("x", FloatTensorType([None, 5]))]),
            x,
            {},
        ),
        "onnx_logistic": (
            "onnx",
            to_onnx(
                logistic,
                initial_types=[("x", FloatTensorType([None, 5]))],
                options={"zipmap": False},
            ),
            x,
            {},
        ),
        "onnx_linear": (
            "onnx",
            to_onnx(linear, initial_types=[("x", DoubleTensorType([None, 5]))]),
            frame[NUMBERS],
            {},
        ),
        "onnx_mixed": ("onnx", to_onnx(pipeline, initial_types=columns), mixed, {}),
    }


def register_boosters(root: Path, uri: str) -> dict[str, KnownBooster]:
    """Save all below `root` and register them."""
    import mlflow
    from mlflow.models import infer_signature

    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    boosters = {}
    for name, (flavor, model, frame, options) in fit_boosters().items():
        folder = root / "models" / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            save = getattr(mlflow, flavor).save_model
            save(
                model,
                folder,
                signature=infer_signature(frame[:20]),
                pip_requirements=[flavor],
                **options,
            )
        register(client, name, folder)
        boosters[name] = KnownBooster(name, flavor, model, list(frame.columns), frame)
    return boosters


TRUSTED = [
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
]
"""What MLflow wants to be told of when it saves wrappers with skops."""
