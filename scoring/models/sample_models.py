"""Small models of the kinds that most teams have, whose kernels a host can compile ahead.

Machine code depends on the types of a kernel's arguments, not on a model. What these models need,
others of their kind need too. They are trained here, in tenths of a second, and never used.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nightscore.models.compiled.predictor import open_form
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.flavor_catalog import flavor_named
from nightscore.models.libraries.sklearn_facts import takes_matrix
from nightscore.models.loading import compile_model
from nightscore.models.structure.sklearn_pipelines import split_pipeline
from nightscore.schemas.model import ModelFacts

N_ROWS = 1_000
"""Enough for a tree with more thresholds of one feature than fit in a byte."""
N_CATEGORIES = 5


def compile_kernels(cache: Path) -> list[str]:
    """Compile the kernels of all sample models into a cache; returns the kinds of the models.

    Call it in a worker: it trains models.
    """
    compiled = []
    for model in _fitted_models():
        steps, final = split_pipeline(model)
        facts = ModelFacts(
            flavor="sklearn",
            estimator=type(final).__name__,
            is_named=True,
            takes_matrix=not steps and takes_matrix(final),
            n_features=model.n_features_in_,
        )
        try:
            form = compile_model(model, facts)
        except UnsupportedError:
            continue  # not with the installed version of the library
        library = flavor_named(facts.flavor).predictor(model, facts)
        open_form(form, facts, library, cache)
        compiled.append(facts.estimator)

    return list(dict.fromkeys(compiled))


def _fitted_models() -> Iterator[Any]:
    """Boosted trees, forests, deep trees, and linear models with and without strings."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(N_ROWS, 3)), columns=["a", "b", "c"])
    two = (x.a + x.b > 0).astype("int64")
    three = two + (x.c > 0)
    texts = pd.Series(rng.integers(0, N_CATEGORIES, N_ROWS)).map(str).astype(object)

    for labels in (two, three):
        yield HistGradientBoostingClassifier(max_iter=2, early_stopping=False).fit(x, labels)
    yield RandomForestClassifier(3, max_depth=5).fit(x, two)
    yield DecisionTreeRegressor().fit(x, x.a * x.b)
    yield make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(x, two)

    front = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "c"]),
        (OneHotEncoder(handle_unknown="ignore"), ["text"]),
    )
    yield make_pipeline(front, LogisticRegression()).fit(x.assign(text=texts), two)
