"""Encoders and vectorizers whose columns lie: SciPy would write and read where they say."""

import pickle
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.preprocessing import KBinsDiscretizer, MultiLabelBinarizer, OneHotEncoder

from nightscore.errors import ModelStructureError
from nightscore.models.structure.sklearn_estimators import check_estimator

TEXTS = np.array([["red", "s"], ["green", "m"], ["blue", "s"], ["red", None]] * 8, object)
NUMBERS = np.column_stack([np.tile([3.0, 1.0, np.nan, 7.0], 8), np.tile([0.0, 1.0], 16)])
WORDS = ["some words", "more words of it"] * 8

SOUND = {
    "texts": lambda: OneHotEncoder().fit(TEXTS),
    "fixed texts": lambda: OneHotEncoder(dtype=np.float32).fit(TEXTS.astype("U5")),
    "numbers": lambda: OneHotEncoder(sparse_output=False).fit(NUMBERS),
    "objects": lambda: OneHotEncoder().fit(NUMBERS[:, 1:].astype(object)),
    "truths": lambda: OneHotEncoder(drop="if_binary").fit(NUMBERS[:, 1:] > 0),
    "stated": lambda: OneHotEncoder(categories=[["red", "blue", "green"], ["s", "m", None]]).fit(
        TEXTS
    ),
    "first dropped": lambda: OneHotEncoder(drop="first").fit(TEXTS),
    "one dropped": lambda: OneHotEncoder(drop=np.array(["red", "m"], object)).fit(TEXTS),
    "rare": lambda: OneHotEncoder(min_frequency=0.3, handle_unknown="infrequent_if_exist").fit(
        TEXTS
    ),
    "few": lambda: OneHotEncoder(max_categories=2, drop="first").fit(TEXTS),
    "all rare": lambda: OneHotEncoder(min_frequency=30, drop="if_binary").fit(TEXTS),
    "bins": lambda: KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf").fit(
        np.arange(40.0).reshape(-1, 2)
    ),
    "leaves": lambda: RandomTreesEmbedding(3, random_state=0).fit(np.arange(40.0).reshape(-1, 2)),
    "words": lambda: CountVectorizer(min_df=0.6).fit(WORDS),
    "weights": lambda: TfidfVectorizer(max_features=2).fit(WORDS),
    "hashes": lambda: HashingVectorizer(n_features=16),
    "hasher": lambda: FeatureHasher(np.int64(8)),
    "dictionaries": lambda: DictVectorizer().fit([{"a": 1, "b": "x"}, {"c": 2.0}]),
    "labels": lambda: MultiLabelBinarizer().fit([("a", "b"), ("c",)]),
    "not fitted": lambda: [
        OneHotEncoder(),
        CountVectorizer(),
        DictVectorizer(),
        MultiLabelBinarizer(),
    ],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOUND)
def test_what_the_library_has_fitted_is_sound(name: str) -> None:
    model = SOUND[name]()
    check_estimator(model, "model.pkl")
    check_estimator(pickle.loads(pickle.dumps(model)), "model.pkl")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "attribute", "value", "message"),
    [
        ("texts", "_n_features_outs", [1, 3], "feature 0: 1 columns, expected 3"),
        ("texts", "_n_features_outs", [3, 10**9], "feature 1: 1000000000 columns, expected 3"),
        ("texts", "_n_features_outs", [3.0, 3], "feature 0: 3.0 columns, expected 3"),
        ("texts", "_n_features_outs", [6], "_n_features_outs: 1 counts, expected 2"),
        ("texts", "n_features_in_", 1, "2 counts, expected 1"),
        (
            "texts",
            "_drop_idx_after_grouping",
            np.array([-9, None], object),
            "drops category -9, expected one from 0",
        ),
        (
            "texts",
            "_drop_idx_after_grouping",
            np.array([0], object),
            "1 groups or dropped categories, expected 2",
        ),
        (
            "numbers",
            "categories_",
            [np.array([7.0, 1.0, 3.0]), np.array([0.0, 1.0])],
            "numbers of categories in order",
        ),
        (
            "numbers",
            "categories_",
            [np.array([np.nan, 1.0, 3.0]), np.array([0.0, 1.0])],
            "in order",
        ),
        ("objects", "categories_", [np.array([1.0, 0.0], object)], "in order"),
        (
            "texts",
            "categories_",
            [np.array([]), np.array(["s", "m", None])],
            "expected a list of categories",
        ),
        (
            "rare",
            "_default_to_infrequent_mappings",
            [np.array([10**9, 0, 1]), None],
            "expected 1000000001",
        ),
        (
            "rare",
            "_default_to_infrequent_mappings",
            [np.array([-5, 0, 1]), None],
            "group of each of 3 categories",
        ),
        (
            "rare",
            "_default_to_infrequent_mappings",
            [None, None],
            "no rare categories without groups",
        ),
        (
            "words",
            "vocabulary_",
            {"some": 10**9, "words": 0},
            "vocabulary_: expected columns from 0 to 1",
        ),
        (
            "weights",
            "vocabulary_",
            {"some": -1, "words": 0},
            "vocabulary_: expected columns from 0 to 1",
        ),
        ("words", "vocabulary_", {"some": 0.5}, "vocabulary_: expected columns"),
        ("words", "vocabulary_", defaultdict(int), "expected a dictionary, found defaultdict"),
        ("dictionaries", "vocabulary_", {"a": 4}, "vocabulary_: expected columns from 0 to 0"),
        ("labels", "_cached_dict", {"a": 9}, "_cached_dict: expected columns from 0 to 0"),
        ("hashes", "n_features", 0, "n_features: 0, expected 1 to 2147483647"),
        ("hasher", "n_features", 2**40, "n_features: 1099511627776, expected"),
    ],
)
def test_columns_that_are_not_there(name: str, attribute: str, value: Any, message: str) -> None:
    model = SOUND[name]()
    setattr(model, attribute, value)
    with pytest.raises(ModelStructureError) as caught:
        check_estimator([model], "model.pkl")
    assert message in str(caught.value)


def test_an_encoder_within_another_estimator() -> None:
    model = SOUND["bins"]()
    model._encoder._n_features_outs = [1, 4]
    with pytest.raises(
        ModelStructureError, match=r"model\._encoder, feature 0: 1 columns, expected 4"
    ):
        check_estimator(model, "model.pkl")
