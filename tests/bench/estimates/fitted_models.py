"""Models of several kinds, some of which say probabilities that are none."""

from typing import Any

import numpy as np
import pandas as pd

from tests.bench.estimates.case import Floats

LEAST_PROBABILITY = 1e-9
"""A forest says exactly 0 and 1."""


def fit(kind: str, features: pd.DataFrame, labels: Floats, seed: int) -> Any:
    """A fitted classifier.

    Args:
        kind: `linear`, `boosted`, `overfitted`, `forest`, `bayes` or `leaves`.
        features: Numbers and texts.
        labels: 0 and 1.
        seed: Of the model.
    """
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    numbers = make_column_selector(dtype_include="number")
    texts = make_column_selector(dtype_exclude="number")
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    all_columns = make_column_transformer((encoder, texts), ("passthrough", numbers))
    only_numbers = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers)
    )

    models = {
        "linear": lambda: make_pipeline(only_numbers, LogisticRegression()),
        "bayes": lambda: make_pipeline(only_numbers, GaussianNB()),
        "leaves": lambda: make_pipeline(only_numbers, DecisionTreeClassifier(max_leaf_nodes=12)),
        "boosted": lambda: make_pipeline(
            all_columns, HistGradientBoostingClassifier(max_iter=40, random_state=seed)
        ),
        "overfitted": lambda: make_pipeline(
            all_columns,
            HistGradientBoostingClassifier(max_iter=150, learning_rate=0.3, random_state=seed),
        ),
        "forest": lambda: make_pipeline(
            only_numbers, RandomForestClassifier(20, min_samples_leaf=3, random_state=seed)
        ),
    }

    model = models[kind]()
    model.fit(features, labels)
    return model


def scores_of(model: Any, features: pd.DataFrame) -> Floats:
    """Predicted probabilities of the positive class, shape (n,)."""
    scores = model.predict_proba(features)[:, 1].astype(np.float64)
    return np.clip(scores, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
