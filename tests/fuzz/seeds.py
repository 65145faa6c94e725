"""Small whole inputs of each kind, which are then changed: made once, of fixed data."""

import io
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

COLUMNS = ("a", "b", "c", "k")
"""Three of numbers, and one of few whole numbers, which may be categories."""


def frame(n_rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(rng.normal(size=(n_rows, 3)), columns=list(COLUMNS[:3]))
    data["k"] = rng.integers(0, 4, n_rows).astype(float)
    return data


def rows() -> pa.Table:
    """What is scored: more than a block, with values at the edges."""
    data = frame(70, seed=1)
    for column in COLUMNS:
        data.loc[[3, 66], column] = np.nan
    data.loc[5, "a"], data.loc[6, "b"], data.loc[7, "k"] = 0.0, 1e-36, 9.0
    return pa.Table.from_pandas(data, preserve_index=False)


def mlmodel(flavor: str, stated: dict[str, Any], loader: str = "") -> str:
    columns = [{"name": name, "type": "double", "required": True} for name in COLUMNS]
    outputs = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]
    function = {"loader_module": loader or f"mlflow.{flavor}", "python_version": "3.11.7"}
    document = {
        "flavors": {flavor: stated, "python_function": function},
        "mlflow_version": "3.1.0",
        "signature": {
            "inputs": json.dumps(columns),
            "outputs": json.dumps(outputs),
            "params": None,
        },
        "utc_time_created": "2024-02-29 12:00:00.000000",
    }
    return yaml.safe_dump(document)


def write_seeds(root: Path, targets: Iterable[str] = ()) -> None:
    """`<root>/<target>/<name>/` with the files of each, of all targets or of some."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for target in targets or WRITERS:
            for name, files in WRITERS[target]():
                folder = root / target / name
                folder.mkdir(parents=True, exist_ok=True)
                for path, content in files.items():
                    (folder / path).write_bytes(
                        content if isinstance(content, bytes) else content.encode()
                    )


Files = dict[str, bytes | str]


def _skops() -> Iterator[tuple[str, Files]]:
    import skops.io

    for name, model in sklearn_models().items():
        stated = {
            "pickled_model": "model.skops",
            "serialization_format": "skops",
            "sklearn_version": "1.6",
        }
        yield name, {"MLmodel": mlmodel("sklearn", stated), "model.skops": skops.io.dumps(model)}


def sklearn_models() -> dict[str, Any]:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    data = frame(300)
    label = (data["a"] + data["k"] > 1).astype(int)
    front = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["k"]), (StandardScaler(), ["a", "b"])
    )
    boosting = HistGradientBoostingClassifier(
        max_iter=2, max_leaf_nodes=4, max_bins=16, categorical_features=["k"]
    )
    return {
        "boosting": boosting.fit(data, label),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0).fit(data, label),
        "forest": RandomForestRegressor(2, max_depth=3, random_state=0).fit(data, data["b"]),
        "linear": make_pipeline(front, LogisticRegression()).fit(data, label),
    }


def lightgbm_models() -> dict[str, Any]:
    import lightgbm

    data = frame(400)
    label = (data["a"] + data["k"] % 2 > 0.5).astype(int)
    options = {
        "num_leaves": 5,
        "verbose": -1,
        "num_threads": 1,
        "seed": 1,
        "deterministic": True,
        "min_data_per_group": 5,
    }

    def train(values: Any, **more: Any) -> Any:
        parts = lightgbm.Dataset(data, values, categorical_feature=["k"])
        return lightgbm.train({**options, **more}, parts, 2)

    return {
        "binary": train(label, objective="binary"),
        "multi": train(label + (data["b"] > 0), objective="multiclass", num_class=3),
        "poisson": train(np.exp(data["a"]), objective="poisson", zero_as_missing=True),
    }


def _lightgbm() -> Iterator[tuple[str, Files]]:
    for name, model in lightgbm_models().items():
        yield (
            name,
            {
                "MLmodel": mlmodel("lightgbm", {"data": "model.lgb"}),
                "model.lgb": model.model_to_string(),
            },
        )


def xgboost_models() -> dict[str, Any]:
    import xgboost

    data = frame(400)
    label = (data["a"] + data["k"] % 2 > 0.5).astype(int)
    options = {"max_depth": 3, "nthread": 1, "seed": 1}

    def train(values: Any, types: list[str] | None = None, **more: Any) -> Any:
        matrix = xgboost.DMatrix(
            data, values, nthread=1, feature_types=types, enable_categorical=types is not None
        )
        return xgboost.train({**options, **more}, matrix, 2)

    return {
        "binary": train(label, objective="binary:logistic"),
        "multi": train(label + (data["b"] > 0), objective="multi:softprob", num_class=3),
        "codes": train(
            label, ["q", "q", "q", "c"], objective="binary:logistic", max_cat_to_onehot=1
        ),
        "dart": train(data["b"], booster="dart", rate_drop=0.5),
        "linear": train(data["b"], booster="gblinear", updater="coord_descent"),
    }


def _xgboost(kind: str) -> Iterator[tuple[str, Files]]:
    for name, model in xgboost_models().items():
        file = f"model.{kind}"
        yield (
            name,
            {"MLmodel": mlmodel("xgboost", {"data": file}), file: bytes(model.save_raw(kind))},
        )


def _onnx() -> Iterator[tuple[str, Files]]:
    from tests.fuzz.onnx_seeds import onnx_models

    for name, (model, more) in onnx_models().items():
        yield (
            name,
            {"MLmodel": mlmodel("onnx", {"data": "model.onnx"}), "model.onnx": model, **more},
        )


def _mlmodel() -> Iterator[tuple[str, Files]]:
    stated = {
        "pickled_model": "model.pkl",
        "serialization_format": "cloudpickle",
        "sklearn_version": "1.6.1",
    }
    requirements = "mlflow==3.1.0\nscikit-learn==1.6.1\n"
    more = {"requirements.txt": requirements, "model.pkl": b"\x80\x04N."}
    yield "sklearn", {"MLmodel": mlmodel("sklearn", stated), **more}
    yield (
        "lightgbm",
        {
            "MLmodel": mlmodel(
                "lightgbm", {"data": "model.lgb", "model_class": "lightgbm.basic.Booster"}
            )
        },
    )
    yield "pyfunc", {"MLmodel": mlmodel("other", {"data": "model.pkl"}, "mlflow.sklearn"), **more}
    job = {
        "name": "flights",
        "model": "models:/flights/1",
        "input": {"uri": "s3://lake/in", "partition_key": "ds"},
        "output": {"uri": "s3://lake/out", "format": "parquet"},
    }
    yield "job", {"job.yaml": yaml.safe_dump(job)}


def _forms() -> Iterator[tuple[str, Files]]:
    import tempfile

    from nightscore.models.compiled.flat import write_form
    from nightscore.models.loading import compile_model
    from tests.fuzz.targets import load

    with tempfile.TemporaryDirectory() as spool:
        for target, write in (
            ("skops", _skops),
            ("lightgbm", _lightgbm),
            ("xgboost-ubj", lambda: _xgboost("ubj")),
        ):
            for name, files in write():
                folder = Path(spool, f"{target}-{name}")
                folder.mkdir()
                for path, content in files.items():
                    (folder / path).write_bytes(
                        content if isinstance(content, bytes) else content.encode()
                    )
                model, facts, _ = load(folder)
                if (
                    name == "linear" and target != "skops"
                ):  # a booster of lines has no compiled form
                    continue
                write_form(compile_model(model, facts), folder / "form.flat")
                content = (folder / "form.flat").read_bytes()
                yield (
                    f"{target}-{name}",
                    {"form.flat": content, "facts.json": facts.model_dump_json()},
                )


def _footers() -> Iterator[tuple[str, Files]]:
    data = frame(40)
    table = pa.table(
        {
            **{name: pa.array(data[name]) for name in COLUMNS},
            "id": pa.array(range(40), pa.int64()),
            "text": pa.array([f"t{i % 5}" for i in range(40)]).dictionary_encode(),
            "day": pa.array([0] * 40, pa.timestamp("us", "UTC")),
            "amount": pa.array([1] * 40, pa.decimal128(12, 2)),
            "inner": pa.array([{"x": [1, 2]}] * 40),
        }
    )
    for name, options in {
        "plain": {"row_group_size": 15},
        "plain-2": {"version": "1.0", "compression": "zstd", "write_statistics": False},
        "narrow": {"row_group_size": 8, "store_schema": False},
    }.items():
        buffer = io.BytesIO()
        pq.write_table(table if name != "narrow" else table.select(["id", "a"]), buffer, **options)
        yield name, {"part-0.parquet": buffer.getvalue()}


WRITERS = {
    "mlmodel": _mlmodel,
    "onnx": _onnx,
    "footers": _footers,
    "lightgbm": _lightgbm,
    "xgboost-ubj": lambda: _xgboost("ubj"),
    "xgboost-json": lambda: _xgboost("json"),
    "skops": _skops,
    "forms": _forms,
}
TARGETS = tuple(WRITERS)
