"""Which skops files load without a pin: every estimator of scikit-learn whose fitted state is data."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import is_regressor
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, fbeta_score, make_scorer
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    SplineTransformer,
    StandardScaler,
)
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances

from nightscore.errors import ModelRefusedError
from nightscore.models.structure.skops_types import is_safe, load_skops, refused_skops_types
from tests.support.lake import Lake
from tests.support.models import make_frame, register

REFUSED = {"BisectingKMeans"}
"""It keeps the function that moved its centres: machine code that checks no argument."""
NOT_SAVED = {"Birch"}
"""skops itself has no way to save it."""

rng = np.random.default_rng(0)
X = np.abs(rng.normal(size=(60, 4)))
LABELS, VALUES = (X[:, 0] > X[:, 1]).astype(int), X[:, 0] * 2
INPUTS = (
    (X, LABELS),
    (X, np.column_stack([LABELS, 1 - LABELS])),
    (X, np.column_stack([VALUES, VALUES])),
    (X[:, :1], VALUES),
    (X @ X.T, LABELS),
    (X,),
    (LABELS,),
    ([{"a": 1}, {"b": 2}],),
    (["some text", "more of it"],),
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fitted(name: str, kind: type) -> Any:
    """An estimator of a class, fitted on the first input that it takes; None: on none of them."""
    try:
        estimator = next(iter(_construct_instances(kind)))
    except (TypeError, StopIteration, SkipTest):
        return None  # wraps another one in a way of its own, or checks nothing
    first = [(X, VALUES)] if is_regressor(estimator) else []
    for arguments in (*first, *INPUTS):
        with contextlib.suppress(Exception):
            return estimator.fit(*arguments)
    return None


@pytest.mark.slow
def test_every_estimator_whose_state_is_data_loads(tmp_path: Path) -> None:
    loaded, refused, not_saved, not_fitted = [], {}, [], []
    for name, kind in all_estimators():
        estimator = fitted(name, kind)
        if estimator is None:
            not_fitted.append(name)
            continue
        for part in (estimator, Pipeline([("last", estimator)])):
            path = tmp_path / "model.skops"
            try:
                path.write_bytes(skops.io.dumps(part))
            except skops.io.exceptions.UnsupportedTypeException:
                not_saved.append(name)
                continue
            if problems := refused_skops_types(path)[0]:
                refused[name] = problems
                continue
            assert type(load_skops(path, is_vouched=False)) is type(part)
            loaded.append(name)

    said = f"{len(set(loaded))} estimators load; refused: {refused}; not saved by skops: {sorted(set(not_saved))}"
    sys.stdout.write(f"{said}; not fitted here: {not_fitted}\n")
    assert set(refused) == REFUSED
    assert set(not_saved) == NOT_SAVED
    assert len(set(loaded)) > 190


FRAME = make_frame(200)
NUMBERS = ["a", "b", "c"]
PIPELINES = {
    "imputed": make_pipeline(
        ColumnTransformer(
            [
                (
                    "numbers",
                    make_pipeline(SimpleImputer(), StandardScaler()),
                    make_column_selector(r"^[abc]$"),
                ),
                (
                    "texts",
                    make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
                    ["color"],
                ),
            ]
        ),
        LogisticRegression(),
    ),
    "search": GridSearchCV(
        LogisticRegression(), {"C": [0.1, 1.0]}, cv=2, scoring=make_scorer(fbeta_score, beta=2)
    ),
    "threshold": TunedThresholdClassifierCV(
        LogisticRegression(), scoring=make_scorer(f1_score), cv=2
    ),
    "chosen": make_pipeline(
        SelectKBest(mutual_info_classif, k=2), SplineTransformer(), LogisticRegression()
    ),
    "function": make_pipeline(FunctionTransformer(np.tanh), LogisticRegression()),
    "boosting": HistGradientBoostingClassifier(max_iter=3),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_as_people_make_them_load_and_predict_the_same(name: str, tmp_path: Path) -> None:
    columns = [*NUMBERS, "color"] if name == "imputed" else NUMBERS
    model = PIPELINES[name].fit(FRAME[columns], FRAME["flag"])
    path = tmp_path / "model.skops"
    path.write_bytes(skops.io.dumps(model))
    assert refused_skops_types(path)[0] == []
    loaded = load_skops(path, is_vouched=False)
    assert np.array_equal(loaded.predict(FRAME[columns]), model.predict(FRAME[columns]))


@pytest.mark.parametrize(
    "name",
    [
        "numpy.load",
        "numpy.fromfile",
        "numpy.save",
        "numpy.memmap",
        "numpy.vectorize",
        "os.system",
        "builtins.eval",
        "operator.methodcaller",
        "sklearn.datasets.load_files",
        "sklearn.datasets._base.load_files",
        "sklearn.utils.murmurhash3_32",
        "sklearn.metrics.pairwise_distances",
        "sklearn.metrics._scorer.os",
        "sklearn.metrics._classification.np",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "scipy.stats._continuous_distns.norm_gen",
        "scipy.io.loadmat",
        "scipy.interpolate._fitpack2.UnivariateSpline",
        "scipy.sparse.linalg._interface.LinearOperator",
        "sklearn.ensemble._hist_gradient_boosting.grower.TreeGrower",
        "sklearn.neighbors._quad_tree._QuadTree",
        "sklearn.tree._criterion.Gini",
        "sklearn.tree._tree.DepthFirstTreeBuilder",
        "joblib.load",
        "pandas.read_pickle",
    ],
)
def test_a_function_or_type_that_does_more_than_compute_is_not_on_the_list(name: str) -> None:
    assert not is_safe(name)


@pytest.mark.parametrize(
    "name", ["numpy.exp", "sklearn.metrics._classification.f1_score", "numpy.dtype"]
)
def test_what_only_computes_is_on_the_list(name: str) -> None:
    assert is_safe(name)


def test_a_refused_function_is_named_with_its_estimator_and_a_pin_vouches(
    lake: Lake, tmp_path: Path
) -> None:
    model = make_pipeline(FunctionTransformer(np.nan_to_num), LogisticRegression())
    model.fit(FRAME[NUMBERS], FRAME["flag"])
    data = skops.io.dumps(model)
    mlflow.sklearn.save_model(
        model,
        tmp_path / "m",
        signature=mlflow.models.infer_signature(FRAME[NUMBERS], model.predict(FRAME[NUMBERS])),
        serialization_format="skops",
        skops_trusted_types=skops.io.get_untrusted_types(data=data),
        pip_requirements=[],
    )
    client = mlflow.MlflowClient(tracking_uri=lake.registry)
    register(client, "filled", tmp_path / "m", is_pinned=False)
    lake.write("2024-02-29", FRAME)

    refused = lake.run(lake.job("filled"))
    assert refused.error
    assert refused.error.type == "ModelRefusedError"
    assert "FunctionTransformer: numpy.nan_to_num" in refused.error.message
    assert f"nightscore pin models:/filled/1 --registry {lake.registry}" in refused.error.message

    allowed = lake.job("filled", allow_pickle=True)
    assert lake.run(allowed).error is None
    assert np.array_equal(lake.read(allowed)["prediction"], model.predict(FRAME[NUMBERS]))

    # What one job has allowed, and this host now knows, is allowed to no other job.
    again = lake.run(lake.job("filled"), force=True)
    assert again.error
    assert "FunctionTransformer: numpy.nan_to_num" in again.error.message

    register(client, "filled", tmp_path / "m", is_pinned=True)
    assert lake.run(lake.job("models:/filled/2"), force=True).error is None


def test_a_vectorizer_that_opens_files_is_refused(tmp_path: Path) -> None:
    model = make_pipeline(
        ColumnTransformer([("words", CountVectorizer(), "text")]), LogisticRegression()
    )
    model.fit(pd.DataFrame({"text": ["some words", "more words"]}), [0, 1])
    path = tmp_path / "model.skops"
    path.write_bytes(skops.io.dumps(model))
    assert load_skops(path, is_vouched=False)

    model[0].transformers_[0][1].input = "filename"
    path.write_bytes(skops.io.dumps(model))
    with pytest.raises(ModelRefusedError, match=r"transformers_\[0\]\[1\]: input='filename'"):
        load_skops(path, is_vouched=False)


def test_a_file_that_is_refused_says_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    path.write_bytes(
        skops.io.dumps([FunctionTransformer(np.nan_to_num), FunctionTransformer(pd.isna)])
    )
    with pytest.raises(ModelRefusedError) as raised:
        load_skops(path, is_vouched=False)
    assert len(raised.value.problems) == 2
