"""A model file of LightGBM or XGBoost that points outside, runs in circles or lies about counts is refused unread."""

import copy
import json
import pickle
import re
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from nightscore.errors import ModelStructureError
from nightscore.models.compiled.from_xgboost import xgboost_model
from nightscore.models.compiled.layout import lay_out
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.structure.guards import guard_lightgbm
from nightscore.models.structure.lightgbm_trees import check_lightgbm
from nightscore.models.structure.sklearn_estimators import check_estimator
from nightscore.models.structure.xgboost_file import read_xgboost
from nightscore.models.structure.xgboost_trees import check_xgboost

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 4))
MIXED = pd.DataFrame(X, columns=list("abcd")).assign(
    code=pd.Categorical(RNG.integers(0, 40, 600)),
    color=pd.Categorical(RNG.choice(["red", "blue"], 600)),
)
TWO = ((X[:, 0] > 0) ^ (MIXED.code.cat.codes % 3 == 0)).astype(int)
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
LIGHT: dict[str, Any] = {
    "verbose": -1,
    "num_threads": 1,
    "num_leaves": 6,
    "min_data_per_group": 5,
    "seed": 0,
}
EXTREME: dict[str, Any] = {"nthread": 1, "max_depth": 3, "seed": 0, "verbosity": 0}


def light(objective: str, x: Any, y: Any, **more: Any) -> str:
    data = lightgbm.Dataset(x, y)
    return str(lightgbm.train({**LIGHT, "objective": objective, **more}, data, 3).model_to_string())


def extreme(x: Any, y: Any, n_rounds: int = 3, **more: Any) -> Any:
    return xgboost.train(
        {**EXTREME, **more}, xgboost.DMatrix(x, y, enable_categorical=True, nthread=1), n_rounds
    )


@pytest.fixture(scope="module")
def text() -> str:
    return light("binary", MIXED, TWO)


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    """A model of XGBoost with categories, as JSON has it."""
    model = extreme(MIXED, TWO, objective="binary:logistic", max_cat_to_onehot=2)
    document: dict[str, Any] = json.loads(bytes(model.save_raw("json")))
    assert document["learner"]["gradient_booster"]["model"]["trees"][0]["categories_nodes"]
    return document


def test_what_lightgbm_has_trained_is_sound(text: str) -> None:
    sound = [
        text,
        re.sub(r"tree_sizes=.*\n", "", text),
        light("multiclass", MIXED, THREE, num_class=3),
        light("regression", X, X[:, 0], linear_tree=True),
        light("regression", X, X[:, 0], boosting="rf", bagging_freq=1, bagging_fraction=0.5),
        light("binary", X * 0, TWO),
    ]
    for one in sound:
        check_lightgbm(one, "model.txt")


def line(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    """Change the words of the first line of a name; without `tree_sizes`, which would tell first."""

    def act(text: str) -> str:
        text = re.sub(r"tree_sizes=.*\n", "", text)
        return re.sub(
            rf"(?m)^{name}=(.*)$",
            lambda m: f"{name}=" + " ".join(change(m[1].split())),
            text,
            count=1,
        )

    return act


def word(name: str, value: str, place: int = 0) -> Callable[[str], str]:
    return line(name, lambda words: [*words[:place], value, *words[place + 1 :]])


LIGHT_FAULTS: list[tuple[Callable[[str], str], str]] = [
    (line("left_child", lambda words: [str(i) for i in range(len(words))]), "tree 0, node"),
    (word("left_child", "0"), "a node leads here, expected none"),
    (word("left_child", "5"), "left_child 5, expected -6 to 4"),
    (word("right_child", "-100"), "right_child -100, expected -6 to 4"),
    (word("right_child", "99999999999999999999"), "tree 0"),
    (word("split_feature", "9"), "split_feature 9, expected a feature from 0 to 5"),
    (word("split_feature", "-1"), "split_feature -1, expected a feature from 0 to 5"),
    (word("split_feature", "1.5"), "tree 0: ValueError"),
    (word("split_feature", "1_0"), "split_feature: expected numbers alone"),
    (line("split_feature", lambda words: words[:-1]), "split_feature: 4 numbers, expected 5"),
    (line("leaf_value", lambda words: words[:-1]), "leaf_value: 5 numbers, expected 6"),
    (line("decision_type", lambda words: ["1"] * len(words)), "expected the number of one of"),
    (word("num_leaves", "1000000000"), "split_feature: 5 numbers, expected 999,999,999"),
    (word("num_leaves", "0"), "num_leaves 0, expected at least 1"),
    (word("num_leaves", "-3"), "num_leaves: expected a number, found '-3'"),
    (word("num_cat", "7"), "cat_boundaries"),
    (
        line("cat_boundaries", lambda words: [*words[:-1], "4000000"]),
        "cat_boundaries: expected rising numbers",
    ),
    (
        line("cat_boundaries", lambda words: ["-5", *words[1:]]),
        "cat_boundaries: expected rising numbers",
    ),
    (word("cat_threshold", "99999999999"), "cat_threshold: expected words of 32 bits"),
    (word("threshold", "nan", 1), "tree 0"),
    (word("max_feature_idx", "3"), "expected 4, one for each feature"),
    (word("max_feature_idx", "99999999"), "max_feature_idx 99999999, expected 0 to"),
    (
        word("num_tree_per_iteration", "3"),
        "num_tree_per_iteration 3, expected num_class, which is 1",
    ),
    (word("num_class", "3"), "num_tree_per_iteration 1, expected num_class, which is 3"),
    (line("feature_infos", lambda words: words[1:]), "feature_infos: 5 words, expected 6"),
    (line("objective", lambda _: ["multiclass", "num_class:4"]), "num_class 4, expected 1"),
    (line("objective", lambda _: []), "objective: nothing, expected its name"),
    (word("decision_type", "12"), "decision_type: expected numbers from 0 to 11"),
    (line("split_gain", lambda words: words[:-1]), "split_gain: 4 numbers, expected 5"),
    (line("internal_value", lambda words: [*words, "1"]), "internal_value: 6 numbers, expected 5"),
    (line("internal_weight", lambda words: words[1:]), "internal_weight: 4 numbers, expected 5"),
    (line("internal_count", lambda _: []), "internal_count: 0 numbers, expected 5"),
    (line("leaf_weight", lambda words: [*words, "1"]), "leaf_weight: 7 numbers, expected 6"),
    (line("leaf_count", lambda words: words[:-1]), "leaf_count: 5 numbers, expected 6"),
    (lambda text: text.replace("end of trees", ""), "expected each of its lines once"),
    (lambda text: text[: text.index("leaf_value")], "the file is cut off"),
    (
        lambda text: text.replace("num_cat", "num_leaves=2\nnum_cat", 1),
        "expected each of its lines once",
    ),
    (lambda text: text.replace("leaf_value=", "leaf_value", 1), "expected each of its lines once"),
    (
        lambda text: text.replace("leaf_value=", "\nleaf_value=", 1),
        "expected each of its lines once",
    ),
    (lambda text: text.replace("leaf_value=", "leaf_value=\0", 1), "a zero byte"),
    (
        lambda text: re.sub(r"tree_sizes=\d+", "tree_sizes=999999999", text),
        "bytes of tree 0, expected",
    ),
    (
        lambda text: re.sub(r"tree_sizes=.*", "tree_sizes=7", text),
        "tree_sizes: 1 sizes, expected 3",
    ),
    (
        lambda text: text.replace("pandas_categorical:[", "pandas_categorical:" + "[" * 100_000),
        "cannot be read",
    ),
]


@pytest.mark.parametrize(("change", "message"), LIGHT_FAULTS)
def test_a_broken_file_of_lightgbm(text: str, change: Callable[[str], str], message: str) -> None:
    broken = change(text)
    assert broken != text
    with pytest.raises(ModelStructureError, match=re.escape(message)) as caught:
        check_lightgbm(broken, "model.txt")
    assert "model.txt" in str(caught.value)


def test_linear_leaves_and_classes_that_lie() -> None:
    linear = light("regression", X, X[:, 0], linear_tree=True)
    for change, message in (
        (word("num_features", "7"), "leaf_features"),
        (word("leaf_features", "44"), "leaf_features: expected features from 0 to 3"),
        (line("leaf_const", lambda words: words[1:]), "leaf_const: expected"),
    ):
        with pytest.raises(ModelStructureError, match=message):
            check_lightgbm(change(linear), "")
    classes = light("multiclass", X, THREE, num_class=3)
    with pytest.raises(ModelStructureError, match="num_class 4, expected 3"):
        check_lightgbm(
            classes.replace("objective=multiclass num_class:3", "objective=multiclass num_class:4"),
            "",
        )
    cut = classes[: classes.index("Tree=8")] + classes[classes.index("end of trees") :]
    with pytest.raises(ModelStructureError, match="8 trees, expected a multiple"):
        check_lightgbm(re.sub(r"tree_sizes=.*\n", "", cut), "")


def test_lightgbm_is_not_given_the_text_of_a_pickle_unseen(text: str) -> None:
    guard_lightgbm()
    booster = lightgbm.Booster(model_str=text)
    check_estimator(pickle.loads(pickle.dumps(booster)), "model.pkl")
    state = booster.__getstate__()
    for handle, message in (
        (word("split_feature", "9")(text), "split_feature 9"),
        (7, "found int"),
    ):
        with pytest.raises(ModelStructureError, match=message):
            lightgbm.Booster.__new__(lightgbm.Booster).__setstate__({**state, "_handle": handle})


def test_what_xgboost_has_trained_is_sound(tree: dict[str, Any]) -> None:
    many = np.column_stack([X[:, 0], X[:, 1]])
    models = [
        extreme(X, THREE, objective="multi:softprob", num_class=3),
        extreme(X, X[:, 0], booster="dart", rate_drop=0.5),
        extreme(X, X[:, 0], booster="gblinear"),
        extreme(X, X[:, 0], tree_method="exact", gamma=50.0, max_depth=6),  # has pruned nodes
        extreme(X, many),
        extreme(X, many, multi_strategy="multi_output_tree", tree_method="hist"),
        extreme(X, X[:, 0], num_parallel_tree=3),
        extreme(X, X[:, 0], n_rounds=0),
        xgboost.Booster(model_file=bytearray(json.dumps(tree).encode())),
    ]
    for model in models:
        for kind in ("json", "ubj"):
            check_xgboost(bytes(model.save_raw(kind)), "model")
    pruned = json.loads(bytes(models[3].save_raw("json")))["learner"]["gradient_booster"]["model"][
        "trees"
    ][0]
    assert int(pruned["tree_param"]["num_deleted"]) > 0


Path = tuple[str | int, ...]
MODEL: Path = ("learner", "gradient_booster", "model")
FIRST: Path = (*MODEL, "trees", 0)
EXTREME_FAULTS: list[tuple[Path, Any, str]] = [
    ((*MODEL, "tree_info", 0), 1, "tree_info: tree 0 adds to group 1, expected 0 to 0"),
    ((*MODEL, "tree_info", 2), 100_000_000, "tree_info: tree 2 adds to group 100000000"),
    ((*MODEL, "tree_info", 0), -1, "adds to group -1"),
    ((*MODEL, "tree_info"), [0], "tree_info: 1 numbers, expected 3"),
    ((*MODEL, "tree_info"), [0.5, 0, 0], "tree_info: expected whole numbers, found float64"),
    ((*MODEL, "gbtree_model_param", "num_trees"), "4", "num_trees 4, expected 3"),
    (
        (*MODEL, "iteration_indptr"),
        [0, 1, 9],
        "iteration_indptr: expected rising numbers from 0 to 3",
    ),
    ((*MODEL, "trees"), {}, "trees: expected a list"),
    ((*MODEL, "cats", "enc", 5, "offsets", 2), 1_000, "cats.enc[5].offsets"),
    ((*MODEL, "cats", "sorted_idx", 0), 99, "cats.sorted_idx"),
    ((*MODEL, "cats", "feature_segments", 0), 7, "cats.feature_segments"),
    ((*FIRST, "left_children", 0), 0, "tree 0"),
    ((*FIRST, "left_children", 0), 1_000_000, "left_children 1000000, expected a node from 0 to"),
    ((*FIRST, "right_children", 0), -7, "right_children -7, expected a node from 0 to"),
    ((*FIRST, "left_children", 0), 2, "expected one node that leads here"),
    ((*FIRST, "left_children"), [1], "numbers, expected 1"),
    ((*FIRST, "parents", 1), 2, "node 1: parent 2, expected 0"),
    ((*FIRST, "parents", 0), 1, "node 0: parent 1, expected none"),
    ((*FIRST, "split_indices", 0), 6, "split_indices 6, expected a feature from 0 to 5"),
    ((*FIRST, "split_indices", 0), -1, "split_indices -1"),
    ((*FIRST, "split_indices", 0), "x", "whole numbers"),
    ((*FIRST, "base_weights"), [0.0], "base_weights: 1 numbers"),
    ((*FIRST, "split_type", 0), 7, "split_type"),
    ((*FIRST, "categories_nodes", 0), 100_000, "categories_nodes: expected rising nodes"),
    ((*FIRST, "categories_segments", 0), 4_000, "categories_segments and _sizes"),
    ((*FIRST, "categories_sizes", 0), 4_000, "categories_segments and _sizes"),
    ((*FIRST, "categories_sizes", 0), 0, "categories_segments and _sizes"),
    ((*FIRST, "categories", 0), -1, "categories: expected numbers from 0 to"),
    ((*FIRST, "categories", 0), 1 << 30, "categories: expected numbers from 0 to"),
    ((*FIRST, "categories"), [], "categories_segments and _sizes"),
    ((*FIRST, "tree_param", "num_nodes"), "1000000", "num_nodes 1000000, expected"),
    ((*FIRST, "tree_param", "num_deleted"), "5", "num_deleted 5, expected 0"),
    ((*FIRST, "tree_param", "size_leaf_vector"), "9", "size_leaf_vector 9, expected 1"),
    (("learner", "learner_model_param", "num_feature"), "3", "expected 3, one for each feature"),
    (
        ("learner", "learner_model_param", "num_feature"),
        "4000000000",
        "num_feature 4000000000, expected 0 to",
    ),
    (("learner", "learner_model_param", "num_class"), "4000000000", "expected at most"),
    (("learner", "attributes"), {"best_iteration": "77"}, "best_iteration 77, expected 0 to 2"),
    (("learner", "gradient_booster", "name"), "gblinear", "cannot be read"),
    (("learner", "gradient_booster", "name"), "other", "expected gbtree, dart or gblinear"),
]


@pytest.mark.parametrize(("path", "value", "message"), EXTREME_FAULTS)
def test_a_broken_file_of_xgboost(
    tree: dict[str, Any], path: Path, value: Any, message: str
) -> None:
    broken = copy.deepcopy(tree)
    place: Any = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ModelStructureError, match=re.escape(message)) as caught:
        check_xgboost(json.dumps(broken).encode(), "model.json")
    assert "model.json" in str(caught.value)


def test_a_circle_beside_the_tree_of_xgboost(tree: dict[str, Any]) -> None:
    broken = copy.deepcopy(tree)
    first = broken["learner"]["gradient_booster"]["model"]["trees"][0]
    n_nodes = len(first["left_children"])
    for name in [
        name
        for name, values in first.items()
        if isinstance(values, list) and len(values) == n_nodes
    ]:
        first[name] += [first[name][-1]] * 2
    first["left_children"][n_nodes:], first["right_children"][n_nodes:] = (
        [n_nodes, -1],
        [n_nodes + 1, -1],
    )
    first["parents"][n_nodes:] = [n_nodes, n_nodes]
    first["split_type"][n_nodes:] = [0, 0]
    first["tree_param"]["num_nodes"] = str(n_nodes + 2)
    with pytest.raises(ModelStructureError, match=f"tree 0, node {n_nodes}: in a circle"):
        check_xgboost(json.dumps(broken).encode(), "")


def test_weights_that_lie() -> None:
    dart = json.loads(bytes(extreme(X, X[:, 0], booster="dart", rate_drop=0.5).save_raw("json")))
    dart["learner"]["gradient_booster"]["weight_drop"].pop()
    with pytest.raises(ModelStructureError, match="weight_drop: 2 numbers, expected 3"):
        check_xgboost(json.dumps(dart).encode(), "")
    linear = json.loads(bytes(extreme(X, X[:, 0], booster="gblinear").save_raw("json")))
    linear["learner"]["gradient_booster"]["model"]["weights"].pop()
    with pytest.raises(ModelStructureError, match="weights: 4 numbers, expected 5"):
        check_xgboost(json.dumps(linear).encode(), "")


@pytest.mark.parametrize(
    "content",
    [
        b"{" + b'"a":[' * 100_000,
        b'{"learner": {}, "learner": {}}',
        b"{L\x00\x00\x00\x00\x00\x00\x00\x01a[#L\xff\xff\xff\xff\xff\xff\xff\xff}",
        b"{L\x00\x00\x00\x00\x00\x00\x00\x01a[#L\x7f\xff\xff\xff\xff\xff\xff\xff}",
        b"{L\x00\x00\x00\x00\x00\x00\x00\x01a[$l#L\x7f\xff\xff\xff\xff\xff\xff\xff}",
        b"{L\x7f\xff\xff\xff\xff\xff\xff\xffa",
        b"{" + b"L\x00\x00\x00\x00\x00\x00\x00\x01a{" * 10_000,
        b"{" + b"L\x00\x00\x00\x00\x00\x00\x00\x01aT" * 2 + b"}",
        b"[" * 10_000,
        b"{}",
        b"",
    ],
)
def test_nesting_and_counts_are_bounded_by_the_bytes(content: bytes) -> None:
    with pytest.raises(ModelStructureError, match="cannot be read"):
        check_xgboost(content, "model.ubj")


def test_a_group_outside_is_refused_by_the_layout_as_well(tree: dict[str, Any]) -> None:
    broken = copy.deepcopy(tree)
    broken["learner"]["gradient_booster"]["model"]["tree_info"][0] = 1
    model, _ = xgboost_model(read_xgboost(json.dumps(broken).encode()), None, is_booster=True)
    with pytest.raises(ModelStructureError, match="tree 0: adds to sum 1, expected 0 to 0"):
        lay_out(model.forest)


def test_a_great_category_is_left_to_the_library(tree: dict[str, Any]) -> None:
    great = copy.deepcopy(tree)
    great["learner"]["gradient_booster"]["model"]["trees"][0]["categories"][0] = (1 << 24) - 1
    file = check_xgboost(json.dumps(great).encode(), "")
    with pytest.raises(UnsupportedError, match="so many categories"):
        xgboost_model(file, None, is_booster=True)
