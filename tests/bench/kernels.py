"""`make bench-kernels`: compiled predictors against the library's own, on the same batch, one core, in one run. Other variants of the
kernels that this processor runs are forced in turn.

Library threads are limited by the Makefile, as a worker's are.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from nightscore.models.compiled.checked import difference
from nightscore.models.flavors.lightgbm import LightgbmPredictor
from nightscore.models.flavors.sklearn import SklearnPredictor
from nightscore.models.flavors.xgboost import XgboostPredictor
from nightscore.models.installed_libraries import library_version
from nightscore.models.libraries.sklearn_facts import takes_matrix
from nightscore.models.protocol import CompiledPredictor, Predictor
from nightscore.models.structure.sklearn_pipelines import split_pipeline
from nightscore.native.constants import LEAST_HASHES
from nightscore.native.machine_code import CODE_FOLDER, load_kernels
from nightscore.native.variants import (
    SETTING,
    choose_variant,
    runnable_variants,
    this_processor,
)
from nightscore.profiles.counting import CountSpec, NumberCounter
from nightscore.profiles.edges import Edges
from nightscore.schemas.model import ModelFacts
from tests.support.tree_data import compile_predictor

FOLDER = Path(".bench")
N_ROWS = 65_536
VERSIONS = (
    "scikit-learn",
    "numpy",
    "numba",
    "llvmlite",
    "pyarrow",
    "pandas",
    "lightgbm",
    "xgboost",
)
Case = tuple[Any, pa.Table]
OTHER_VARIANTS = runnable_variants(this_processor())[1:]
"""What the kernels can be forced to here, besides the best."""
PROFILE_REPEATS = 25
PROFILE_BAR_NS = 5.0


def _numbers(n_rows: int, n_columns: int, seed: int, *, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, n_columns))
    x[rng.random(x.shape) < missing] = np.nan
    return pd.DataFrame(x, columns=[f"f{i}" for i in range(n_columns)])


def _target(x: pd.DataFrame, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    filled = x.fillna(0).to_numpy()
    return (
        filled @ rng.normal(size=x.shape[1]) + filled[:, 0] * filled[:, 1] + rng.normal(size=len(x))
    )


def _table(frame: pd.DataFrame) -> pa.Table:
    """As the worker gives it to predictors."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    kinds = [pa.string() if pa.types.is_large_string(kind) else kind for kind in table.schema.types]
    return table.cast(pa.schema(zip(table.column_names, kinds, strict=True)))


def hist_boosting() -> Case:
    from sklearn.ensemble import HistGradientBoostingClassifier

    x = _numbers(20_000, 30, 0, missing=0.03)
    model = HistGradientBoostingClassifier(
        max_iter=200, max_leaf_nodes=31, early_stopping=False, random_state=0
    )
    return model.fit(x, _target(x) > 0), _table(_numbers(N_ROWS, 30, 2, missing=0.03))


def many_classes() -> Case:
    from sklearn.ensemble import HistGradientBoostingClassifier

    x = _numbers(20_000, 10, 0)
    y = np.argsort(np.argsort(_target(x))) * 100 // len(x)
    model = HistGradientBoostingClassifier(
        max_iter=10, max_leaf_nodes=31, early_stopping=False, random_state=0
    )
    return model.fit(x, y), _table(_numbers(N_ROWS, 10, 2))


def categorical_boosting() -> Case:
    from sklearn.ensemble import HistGradientBoostingClassifier

    def frame(n_rows: int, seed: int) -> pd.DataFrame:
        x = _numbers(n_rows, 20, seed)
        rng = np.random.default_rng(seed)
        for i in range(5):
            x[f"s{i}"] = rng.choice([f"value {k}" for k in range(10 * (i + 1))], n_rows)
        return x

    x = frame(20_000, 0)
    strings = [name for name in x if name.startswith("s")]
    model = HistGradientBoostingClassifier(
        max_iter=200,
        max_leaf_nodes=31,
        early_stopping=False,
        random_state=0,
        categorical_features=strings,
    )
    y = _target(x.drop(columns=strings)) + x["s4"].str.len() + (x["s1"] < "value 4") > 7
    return model.fit(x, y), _table(frame(N_ROWS, 2))


def random_forest() -> Case:
    from sklearn.ensemble import RandomForestClassifier

    x = _numbers(20_000, 30, 0)
    model = RandomForestClassifier(100, max_depth=12, random_state=0)
    return model.fit(x, _target(x) > 0), _table(_numbers(N_ROWS, 30, 2))


def deep_forest() -> Case:
    from sklearn.ensemble import ExtraTreesRegressor

    x = _numbers(5_000, 30, 0)
    return ExtraTreesRegressor(50, random_state=0).fit(x, _target(x)), _table(
        _numbers(N_ROWS, 30, 2)
    )


def one_tree() -> Case:
    from sklearn.tree import DecisionTreeRegressor

    x = _numbers(20_000, 30, 0)
    return DecisionTreeRegressor(max_depth=8, random_state=0).fit(x, _target(x)), _table(
        _numbers(N_ROWS, 30, 2)
    )


def boosting() -> Case:
    from sklearn.ensemble import GradientBoostingClassifier

    x = _numbers(5_000, 30, 0)
    return GradientBoostingClassifier(random_state=0).fit(x, _target(x) > 0), _table(
        _numbers(N_ROWS, 30, 2)
    )


def _mixed(n_rows: int, seed: int) -> pd.DataFrame:
    x = _numbers(n_rows, 20, seed, missing=0.03)
    rng = np.random.default_rng(seed)
    for i in range(8):
        x[f"s{i}"] = rng.choice([f"value {k}" for k in range(5 * (i + 1))], n_rows)
    return x


def mixed_linear() -> Case:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    x = _mixed(20_000, 0)
    numbers = [name for name in x if name.startswith("f")]
    strings = [name for name in x if name.startswith("s")]
    front = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), strings),
    )
    model = make_pipeline(front, LogisticRegression(max_iter=300))
    return model.fit(x, _target(x[numbers]) > 0), _table(_mixed(N_ROWS, 2))


def scaled_linear() -> Case:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = _numbers(20_000, 30, 0, missing=0.03)
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    return model.fit(x, _target(x) > 0), _table(_numbers(N_ROWS, 30, 2, missing=0.03))


def lightgbm_boosting() -> Case:
    import lightgbm

    x = _numbers(20_000, 30, 0, missing=0.03)
    options = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 1, "seed": 0}
    model = lightgbm.train(options, lightgbm.Dataset(x, _target(x) > 0), 200)
    return model, _table(_numbers(N_ROWS, 30, 2, missing=0.03))


def lightgbm_categories() -> Case:
    import lightgbm

    def frame(n_rows: int, seed: int) -> pd.DataFrame:
        x = _mixed(n_rows, seed)
        return x.astype({name: "category" for name in x if name.startswith("s")})

    x = frame(20_000, 0)
    numbers = [name for name in x if name.startswith("f")]
    y = _target(x[numbers]) + x["s7"].cat.codes % 7 > 3
    options = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 1, "seed": 0}
    return lightgbm.train(options, lightgbm.Dataset(x, y), 200), _table(_mixed(N_ROWS, 2))


def xgboost_leaves() -> Case:
    import xgboost

    x = _numbers(20_000, 30, 0, missing=0.03)
    options = {
        "objective": "binary:logistic", "max_leaves": 31, "max_depth": 0, "grow_policy": "lossguide", "nthread": 1,
    }  # fmt: skip
    model = xgboost.train(options, xgboost.DMatrix(x, _target(x) > 0), 200)
    return model, _table(_numbers(N_ROWS, 30, 2, missing=0.03))


def xgboost_depth() -> Case:
    import xgboost

    x = _numbers(20_000, 30, 0)
    options = {"objective": "reg:squarederror", "max_depth": 6, "nthread": 1}
    return xgboost.train(options, xgboost.DMatrix(x, _target(x)), 200), _table(
        _numbers(N_ROWS, 30, 2)
    )


def xgboost_deep() -> Case:
    import xgboost

    x = _numbers(20_000, 30, 0)
    options = {"objective": "reg:squarederror", "max_depth": 12, "nthread": 1}
    return xgboost.train(options, xgboost.DMatrix(x, _target(x)), 100), _table(
        _numbers(N_ROWS, 30, 2)
    )


def lightgbm_deep() -> Case:
    import lightgbm

    x = _numbers(20_000, 30, 0)
    options = {
        "objective": "regression",
        "num_leaves": 1_000,
        "verbose": -1,
        "num_threads": 1,
        "seed": 0,
    }
    return lightgbm.train(options, lightgbm.Dataset(x, _target(x)), 100), _table(
        _numbers(N_ROWS, 30, 2)
    )


CASES: dict[str, tuple[Callable[[], Case], float]] = {
    "HistGradientBoosting 200 x 31, 30 features": (hist_boosting, 12.0),
    "the same, 20 features and 5 of categories": (categorical_boosting, 1.0),
    "HistGradientBoosting 10 x 31, 100 classes": (many_classes, 3.0),
    "RandomForest 100 x depth 12": (random_forest, 3.0),
    "ExtraTrees 50, grown out": (deep_forest, 1.0),
    "DecisionTree depth 8": (one_tree, 1.0),
    "GradientBoosting 100 x depth 3": (boosting, 1.0),
    "20 floats, 8 strings, one-hot, logistic": (mixed_linear, 40.0),
    "30 floats imputed and scaled, logistic": (scaled_linear, 1.0),
    "LightGBM 200 x 31, 30 features": (lightgbm_boosting, 3.0),
    "the same, 20 features and 8 of strings": (lightgbm_categories, 1.0),
    "LightGBM 100 x 1,000 leaves": (lightgbm_deep, 1.0),
    "XGBoost 200 x 31, 30 features": (xgboost_leaves, 3.0),
    "XGBoost 200 x depth 6": (xgboost_depth, 1.0),
    "XGBoost 100 x depth 12": (xgboost_deep, 1.0),
}
"""Name to the model with its batch, and the bar: how many times the library's own speed is asked
for."""


def measure(name: str, repeats: int, cache: Path) -> dict[str, Any]:
    """CPU seconds of one batch, medians; both are called in turn."""
    model, table = CASES[name][0]()
    started = time.process_time()
    own, compiled, kinds = _predictors(model, cache)
    compile_s = time.process_time() - started
    seconds: dict[str, list[float]] = {"own": [], "compiled": []}
    answers = {}
    calls: list[tuple[str, Predictor, pa.Table]] = [
        ("own", own, table),
        ("compiled", compiled, table),
    ]
    for variant in OTHER_VARIANTS:
        calls.append((variant, _forced(variant, model, cache), table))
        seconds[variant] = []
    if any(pa.types.is_string(kind) for kind in table.schema.types):
        calls.append(("coded", compiled, _coded(table)))
        seconds["coded"] = []
    for _ in range(repeats + 1):  # the first is not counted: imports, buffers
        for which, predictor, batch in calls:
            started = time.process_time()
            answer = predictor.predict(batch, kinds)
            seconds[which].append(time.process_time() - started)
            answers[which] = {kind: np.array(values) for kind, values in answer.items()}
    medians = {which: statistics.median(measured[1:]) for which, measured in seconds.items()}
    own_s, compiled_s = medians["own"], medians["compiled"]
    return {
        "model": name,
        "rows": table.num_rows,
        "own_s": own_s,
        "compiled_s": compiled_s,
        "speed_up": own_s / compiled_s,
        "coded_s": medians.get("coded"),
        "variants_s": {variant: medians[variant] for variant in OTHER_VARIANTS},
        "bar": CASES[name][1],
        "difference": max(
            difference(answers["own"][kind], answers[which][kind], is_exact=compiled.tolerance == 0)
            for kind in answers["own"]
            for which in ("compiled", *OTHER_VARIANTS)
        ),
        "rows_by_library": compiled.rows_by_library,
        "compile_s": compile_s,
    }


def _predictors(model: Any, cache: Path) -> tuple[Predictor, CompiledPredictor, list[str]]:
    if type(model).__name__ == "Booster":
        return _booster(model, cache)
    return _sklearn(model, cache)


def _forced(variant: str, model: Any, cache: Path) -> CompiledPredictor:
    with forced_variant(variant):
        return _predictors(model, cache)[1]


def measure_profile(cache: Path) -> dict[str, float]:
    """Nanoseconds a value of each variant: bins, moments and hashes of a batch of one column.

    The least of all: another process takes from the median what it takes from the cache.
    """
    rng = np.random.default_rng(0)
    edges = Edges.from_values(rng.normal(size=20_000))
    spec = CountSpec(edges.both, edges.pivot, (-3.0, 3.0))
    column = pa.array(rng.normal(size=N_ROWS), mask=rng.random(N_ROWS) < 0.03)
    known = np.empty(0, np.uint64)
    measured = {}
    for variant in (choose_variant(), *OTHER_VARIANTS):
        with forced_variant(variant):
            counter = NumberCounter(spec, load_kernels(cache / CODE_FOLDER))
        seconds = []
        for _ in range(PROFILE_REPEATS):
            started = time.thread_time()
            counts = counter.count(column, known)
            seconds.append(time.thread_time() - started)
            known = np.sort(counts.hashes)[:LEAST_HASHES] if len(counts.hashes) else known
        measured[variant] = 1e9 * min(seconds) / N_ROWS
    return measured


def _sklearn(estimator: Any, cache: Path) -> tuple[Predictor, CompiledPredictor, list[str]]:
    steps, final = split_pipeline(estimator)
    facts = ModelFacts(
        flavor="sklearn",
        estimator="",
        is_named=True,
        takes_matrix=not steps and takes_matrix(final),
        n_features=estimator.n_features_in_,
    )
    own = SklearnPredictor(estimator, facts)
    kinds = ["probability"] if hasattr(final, "predict_proba") else []
    return own, compile_predictor(estimator, facts, own, cache), kinds


def _booster(model: Any, cache: Path) -> tuple[Predictor, CompiledPredictor, list[str]]:
    flavor = type(model).__module__.split(".")[0]
    categories = {}
    if flavor == "lightgbm":
        strings = [name for name in model.feature_name() if name.startswith("s")]
        categories = dict(zip(strings, map(tuple, model.pandas_categorical or []), strict=True))
    else:
        model.set_param({"nthread": 1})
    facts = ModelFacts(flavor=flavor, estimator="Booster", categories=categories)
    own = (
        LightgbmPredictor(model, facts) if flavor == "lightgbm" else XgboostPredictor(model, facts)
    )
    return own, compile_predictor(model, facts, own, cache), []


def _coded(table: pa.Table) -> pa.Table:
    """Strings as dictionaries, as Parquet holds them."""
    columns = [
        column.dictionary_encode() if pa.types.is_string(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


@contextlib.contextmanager
def forced_variant(variant: str) -> Iterator[None]:
    """Kernels that are loaded here are of this variant."""
    before = os.environ.get(SETTING)
    os.environ[SETTING] = variant
    try:
        yield
    finally:
        os.environ.pop(SETTING)
        if before is not None:
            os.environ[SETTING] = before


def _listed(numbers: dict[str, float], form: str) -> str:
    return ", ".join(f"{name} {form.format(number)}" for name, number in numbers.items())


def _versions() -> dict[str, str]:
    return {name: version for name in VERSIONS if (version := library_version(name))}


def main() -> None:
    """Measure, print a table, and write .bench/kernels.json."""
    parser = argparse.ArgumentParser(prog="make bench-kernels", description=main.__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(", ".join(f"{name} {version}" for name, version in _versions().items()))
    print(f"one core, {N_ROWS:,} rows, CPU ms, medians of {options.repeats}\n")
    print(
        f"{'':45}{'own':>9}{'compiled':>10}{'times':>8}{'bar':>6}  difference, to compile or load"
    )
    results = []
    with tempfile.TemporaryDirectory(prefix="nightscore-bench-") as cache:
        for name in (name for name in CASES if options.only in name):
            measured = measure(name, options.repeats, Path(cache))
            results.append(measured)
            own = measured["own_s"]
            print(
                f"{name:45}{1000 * measured['own_s']:9.1f}{1000 * measured['compiled_s']:10.1f}{measured['speed_up']:8.1f}"
                f"{measured['bar']:6g}  {measured['difference']:.1e}, {measured['compile_s']:.2f} s"
                + "".join(
                    f", {variant} {own / seconds:.1f} times"
                    for variant, seconds in measured["variants_s"].items()
                )
                + (
                    f", strings as dictionaries {own / coded:.1f} times"
                    if (coded := measured["coded_s"])
                    else ""
                )
                + (
                    f", {measured['rows_by_library']:,} rows by the library"
                    if measured["rows_by_library"]
                    else ""
                )
            )
        profile_ns = measure_profile(Path(cache))
    print(
        f"profile, ns a value, 3 % null, bar {PROFILE_BAR_NS:g}: " + _listed(profile_ns, "{:.1f}")
    )
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "kernels.json").write_text(
        json.dumps(
            {"versions": _versions(), "results": results, "profile_ns": profile_ns}, indent=2
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
