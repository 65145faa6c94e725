"""Random models on rows that hit the edges of their trees: equal to the library's own, to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor

from nightscore.models.compiled import layout
from tests.support.tree_data import (
    adversarial_rows,
    compile_predictor,
    facts_of,
    fit,
    kinds_of,
    own_predictor,
    to_table,
    training_matrix,
)

ANY = ["normal", "constant", "few", "neighbours", "denormal", "missing", "infinite", "wide"]
FINITE = ["normal", "constant", "few", "neighbours32", "denormal32", "wide"]
seeds = st.integers(0, 2**32 - 1)
examples = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(model: Any, rows: Any, cache: Path) -> None:
    """All outputs, bit by bit, whichever form the trees are in; nothing is left to the library."""
    table, kinds = to_table(rows), kinds_of(model)
    own = own_predictor(model).predict(table, kinds)
    compiled = compile_predictor(
        model, facts_of(model, is_named=False), own_predictor(model), cache
    )
    answer = compiled.predict(table, kinds)
    assert compiled.rows_by_library == 0, compiled.trouble
    assert set(answer) == set(own)
    for kind, values in own.items():
        assert answer[kind].shape == values.shape
        assert answer[kind].dtype == values.dtype
        assert np.asarray(answer[kind]).tobytes() == np.ascontiguousarray(values).tobytes() or (
            values.dtype == object and (answer[kind] == values).all()
        )


def target(rng: np.random.Generator, n_rows: int, n_classes: int) -> Any:
    labels = np.array(["a", "b", "c", "d"][:n_classes])
    return rng.permutation(np.concatenate([labels, rng.choice(labels, n_rows - n_classes)]))


@pytest.fixture(params=["as chosen", "split", "walked"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both forms of small trees."""
    if request.param != "as chosen":
        limit = 10**9 if request.param == "split" else -(10**9)
        monkeypatch.setattr(
            layout, "SPLIT_NODES_PER_LEVEL", dict.fromkeys(layout.SPLIT_NODES_PER_LEVEL, limit)
        )
    return str(request.param)


@examples
@given(
    seed=seeds,
    kinds=st.lists(st.sampled_from(ANY), min_size=1, max_size=5),
    n_classes=st.sampled_from([0, 2, 3]),
    leaves=st.sampled_from([2, 7, 31, 300]),
)
def test_hist_gradient_boosting(
    form: str, machine_code: Path, seed: int, kinds: list[str], n_classes: int, leaves: int
) -> None:
    rng = np.random.default_rng(seed)
    x = training_matrix(rng, 400, kinds)
    options: Any = {
        "max_iter": 5,
        "max_leaf_nodes": leaves,
        "min_samples_leaf": 1,
        "early_stopping": False,
    }
    model: Any = HistGradientBoostingClassifier(**options)
    y: Any = target(rng, 400, n_classes) if n_classes else rng.normal(size=400)
    if not n_classes:
        model = HistGradientBoostingRegressor(**options)
    fit(model, x, y)
    check(model, adversarial_rows(rng, model, 333, finite32=False, nan=True), machine_code)


@examples
@given(
    seed=seeds,
    n_known=st.integers(1, 200),
    kinds=st.lists(st.sampled_from(ANY), max_size=2),
    has_missing=st.booleans(),
    leaves=st.sampled_from([7, 31, 300]),
)
def test_categorical_splits(
    machine_code: Path, seed: int, n_known: int, kinds: list[str], has_missing: bool, leaves: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.choice(1_000, n_known, replace=False).astype(float)
    category = rng.choice(codes, 500)
    if has_missing:
        category[rng.random(500) < 0.2] = np.nan
    x = (
        np.column_stack([*training_matrix(rng, 500, kinds).T, category])
        if kinds
        else category[:, None]
    )
    model = HistGradientBoostingRegressor(
        max_iter=5,
        max_leaf_nodes=leaves,
        min_samples_leaf=1,
        early_stopping=False,
        categorical_features=[len(kinds)],
    )
    fit(model, x, rng.normal(size=500))
    rows = training_matrix(rng, 333, kinds) if kinds else np.empty((333, 0))
    unseen = np.array([np.nan, -1.0, 2_000.0, 0.5, *codes])
    check(model, np.column_stack([rows, rng.choice(unseen, 333)]), machine_code)


@examples
@given(
    seed=seeds,
    kinds=st.lists(st.sampled_from([*FINITE, "missing"]), min_size=1, max_size=4),
    kind=st.sampled_from(
        [RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor,
         DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor]
    ),
    depth=st.sampled_from([1, 4, None]),
    n_classes=st.sampled_from([2, 4]),
)  # fmt: skip
def test_forests_and_trees(
    form: str,
    machine_code: Path,
    seed: int,
    kinds: list[str],
    kind: Any,
    depth: int | None,
    n_classes: int,
) -> None:
    rng = np.random.default_rng(seed)
    x = training_matrix(rng, 200, kinds)
    model = kind(max_depth=depth, random_state=seed % 1_000)
    if "Forest" in kind.__name__ or "ExtraTrees" in kind.__name__:
        model.set_params(n_estimators=7)
    y: Any = (
        target(rng, 200, n_classes)
        if "Classifier" in kind.__name__
        else rng.normal(size=(200, n_classes - 1))
    )
    fit(model, x, y if y.ndim == 1 or y.shape[1] > 1 else y.ravel())
    check(model, adversarial_rows(rng, model, 333, finite32=True, nan=True), machine_code)


@examples
@given(
    seed=seeds,
    kinds=st.lists(st.sampled_from(FINITE), min_size=1, max_size=4),
    n_classes=st.sampled_from([0, 2, 3]),
    init=st.sampled_from([None, "zero"]),
)
def test_gradient_boosting(
    form: str, machine_code: Path, seed: int, kinds: list[str], n_classes: int, init: str | None
) -> None:
    rng = np.random.default_rng(seed)
    x = training_matrix(rng, 150, kinds)
    model: Any = GradientBoostingClassifier(n_estimators=6, init=init, random_state=0)
    y: Any = target(rng, 150, n_classes) if n_classes else rng.normal(size=150)
    if not n_classes:
        model = GradientBoostingRegressor(n_estimators=6, init=init, random_state=0)
    fit(model, x, y)
    check(model, adversarial_rows(rng, model, 333, finite32=True, nan=False), machine_code)


def test_more_thresholds_than_a_byte_counts(form: str, machine_code: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3_000, 1))
    model = GradientBoostingRegressor(n_estimators=60, max_depth=5, random_state=0).fit(
        x, np.sin(9 * x[:, 0])
    )
    check(model, adversarial_rows(rng, model, 5_000, finite32=True, nan=False), machine_code)


@pytest.mark.parametrize("n_classes", [8, 12, 130])
@pytest.mark.parametrize("kind", [HistGradientBoostingClassifier, GradientBoostingClassifier])
def test_many_classes(kind: Any, n_classes: int, machine_code: Path) -> None:
    """From eight classes on the order in which a row's shares are added up shows in their bits."""
    rng = np.random.default_rng(n_classes)
    x = training_matrix(rng, 3 * n_classes, ["normal", "normal"])
    y = rng.permutation(np.arange(3 * n_classes) % n_classes)
    rounds = "max_iter" if kind is HistGradientBoostingClassifier else "n_estimators"
    model = fit(kind(**{rounds: 2, "max_depth": 2}), x, y)
    for n_rows in (1, 2, 333):
        check(model, rng.normal(size=(n_rows, 2)), machine_code)
