"""An estimator whose arrays point outside, or in circles, is refused before anything of it is called."""

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomTreesEmbedding,
    StackingClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor

from nightscore.errors import ModelStructureError
from nightscore.models.structure.guards import tree_size_problems
from nightscore.models.structure.sklearn_estimators import check_estimator
from nightscore.models.structure.sklearn_trees import sklearn_problems
from nightscore.models.structure.skops_types import load_skops
from nightscore.models.structure.tree_nodes import TreeNodes, tree_problems

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4))
WITH_GAPS = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
TWO = (X[:, 0] > 0).astype(int)
THREE = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(
    color=pd.Categorical(RNG.choice(["red", "green", "blue"], 300)),
    size=pd.Categorical(RNG.choice(["s", "l"], 300)),
)
CODES = np.column_stack([X[:, 0], RNG.integers(0, 9, 300)])

SOUND: dict[str, Callable[[], Any]] = {
    "hist two": lambda: HistGradientBoostingClassifier(max_iter=3).fit(WITH_GAPS, TWO),
    "hist three": lambda: HistGradientBoostingClassifier(max_iter=3).fit(X, THREE),
    "hist encoded": lambda: HistGradientBoostingRegressor(
        max_iter=3, categorical_features="from_dtype"
    ).fit(FRAME, X[:, 0]),
    "hist codes": lambda: HistGradientBoostingRegressor(max_iter=3, categorical_features=[1]).fit(
        CODES, X[:, 1]
    ),
    "forest": lambda: RandomForestClassifier(4).fit(X, THREE),
    "forest of two targets": lambda: ExtraTreesRegressor(4).fit(X, X[:, :2]),
    "boosting two": lambda: GradientBoostingClassifier(n_estimators=3).fit(X, TWO),
    "boosting three": lambda: GradientBoostingClassifier(n_estimators=3).fit(X, THREE),
    "boosting from zero": lambda: GradientBoostingClassifier(n_estimators=3, init="zero").fit(
        X, THREE
    ),
    "boosting from a forest": lambda: GradientBoostingClassifier(
        n_estimators=3, init=RandomForestClassifier(2)
    ).fit(X, THREE),
    "boosting from a pipeline": lambda: GradientBoostingRegressor(
        n_estimators=3, init=make_pipeline(StandardScaler(), DecisionTreeRegressor())
    ).fit(X, X[:, 0]),
    "isolation": lambda: IsolationForest(n_estimators=3).fit(X),
    "isolation of some features": lambda: IsolationForest(n_estimators=3, max_features=0.5).fit(X),
    "tree": lambda: DecisionTreeClassifier().fit(WITH_GAPS, TWO),
    "extra tree": lambda: ExtraTreeRegressor().fit(X, X[:, 0]),
    "leaf": lambda: DecisionTreeRegressor().fit(X, np.zeros(300)),
    "embedding": lambda: RandomTreesEmbedding(3).fit(X),
    "ada": lambda: AdaBoostClassifier(n_estimators=3).fit(X, TWO),
    "bagging": lambda: BaggingClassifier(n_estimators=3, max_features=0.5).fit(X, TWO),
    "calibrated": lambda: CalibratedClassifierCV(RandomForestClassifier(2)).fit(X, TWO),
    "stacked": lambda: StackingClassifier(
        [("a", RandomForestClassifier(2)), ("b", HistGradientBoostingClassifier(max_iter=2))]
    ).fit(X, TWO),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_the_library_has_trained_is_sound(name: str) -> None:
    check_estimator(SOUND[name](), "model.pkl")


def refused(estimator: Any) -> str:
    with pytest.raises(ModelStructureError) as caught:
        check_estimator(estimator, "model.pkl")
    return str(caught.value)


def hist() -> Any:
    return HistGradientBoostingRegressor(max_iter=2, max_leaf_nodes=4).fit(X, X[:, 0])


HIST_FAULTS: list[tuple[str, int, float, str]] = [
    ("left", 0, 0, "a node leads here, expected none"),
    ("left", 0, 7, "left 7, expected a node from 0 to 6"),
    ("right", 0, 2**32 - 1, "right 4294967295, expected a node from 0 to 6"),
    ("right", 0, 1, "expected one node that leads here, found 2"),
    ("feature_idx", 0, 4, "feature_idx 4, expected a feature from 0 to 3"),
    ("feature_idx", 0, -1, "feature_idx -1, expected a feature from 0 to 3"),
    ("num_threshold", 0, np.nan, "num_threshold NaN"),
    ("is_categorical", 0, 1, "bitset_idx 0, expected one of 0 bitsets"),
    ("is_leaf", 0, 1, "expected one node that leads here, found 0"),
]


@pytest.mark.parametrize(("field", "node", "value", "message"), HIST_FAULTS)
def test_a_broken_tree_of_histogram_boosting(
    field: str, node: int, value: float, message: str
) -> None:
    model = hist()
    nodes = model._predictors[1][0].nodes
    assert len(nodes) == 7
    nodes[field][node] = value
    text = refused(model)
    assert message in text
    assert "model._predictors[1][0], node" in text


def test_a_leaf_that_is_none_leads_nowhere() -> None:
    model = hist()
    nodes = model._predictors[0][0].nodes
    leaf = int(np.flatnonzero(nodes["is_leaf"])[-1])
    nodes["is_leaf"][leaf] = 0  # left and right are 0: back to the root
    assert "a node leads here, expected none" in refused(model)


def test_arrays_of_histogram_boosting_of_other_types_or_shapes() -> None:
    sound = hist()
    nodes = sound._predictors[0][0].nodes
    changes: list[tuple[str, Any, str]] = [
        (
            "nodes",
            nodes[["value", "left", "right"]],
            "expected a field feature_idx of numbers, found none",
        ),
        ("nodes", np.zeros((2, 7)), "expected an array of records, found float64 of shape (2, 7)"),
        ("nodes", None, "expected an array of records, found NoneType"),
        ("nodes", nodes[:0], "expected at least one node, found none"),
        ("nodes", nodes[:4], "expected a node from 0 to 3"),
        ("raw_left_cat_bitsets", np.zeros((1, 4), np.uint32), "expected uint32 of shape (sets, 8)"),
        ("raw_left_cat_bitsets", np.zeros((1, 8), np.uint64), "found uint64 of shape (1, 8)"),
        ("binned_left_cat_bitsets", [], "expected uint32 of shape (sets, 8), found list"),
    ]
    floats = np.dtype([(n, "f8" if n == "feature_idx" else t) for n, t in nodes.dtype.descr])
    changes.append(
        ("nodes", nodes.astype(floats), "expected a field feature_idx of numbers, found float64")
    )
    for name, value, message in changes:
        model = copy.deepcopy(sound)
        setattr(model._predictors[0][0], name, value)
        assert message in refused(model)


def test_categories_of_histogram_boosting_outside_of_their_sets() -> None:
    model = SOUND["hist codes"]()
    asks = [(p[0], np.flatnonzero(p[0].nodes["is_categorical"])) for p in model._predictors]
    predictor, places = next((predictor, places) for predictor, places in asks if len(places))
    other = copy.deepcopy(model)
    predictor.nodes["bitset_idx"][places[0]] = 200
    assert "bitset_idx 200, expected one of" in refused(model)
    other._bin_mapper.is_categorical_[:] = 0
    assert "asks for categories, and feature 0 has none" in refused(other)


def test_sums_and_columns_of_histogram_boosting_that_are_not_there() -> None:
    def change(name: str, act: Callable[[Any], Any]) -> str:
        model = SOUND[name]()
        act(model)
        return refused(model)

    assert "1 trees, expected 3, one for each score" in change(
        "hist three", lambda m: m._predictors[1].pop() and m._predictors[1].pop()
    )
    assert "3 trees, expected 1" in change(
        "hist three", lambda m: setattr(m, "_baseline_prediction", 0.0)
    )
    assert "n_features_in_ 5, expected 4" in change(
        "hist two", lambda m: setattr(m, "n_features_in_", 5)
    )
    assert "expected n_features_in_, found none" in change(
        "hist two", lambda m: delattr(m, "n_features_in_")
    )
    assert "gives 5 columns, expected 6" in change(
        "hist encoded", lambda m: m._preprocessor._transformer_to_input_indices["numerical"].pop()
    )


def with_nodes(tree: Any, change: Callable[[Any], Any]) -> None:
    """Change the state of scikit-learn's own tree, as a file would give it."""
    state = tree.__getstate__()
    state["nodes"] = np.array(state["nodes"])
    change(state)
    tree.__setstate__(state)


def set_field(field: str, node: int, value: float) -> Callable[[Any], None]:
    def change(state: Any) -> None:
        state["nodes"][field][node] = value

    return change


TREE_FAULTS: list[tuple[Callable[[Any], None], str]] = [
    (set_field("left_child", 0, 0), "a node leads here, expected none"),
    (set_field("left_child", 0, 99_999), "children_left 99999, expected a node from 0 to 6"),
    (set_field("right_child", 0, -1), "children_right -1, expected a node from 0 to 6"),
    (set_field("right_child", 0, -7), "children_right -7"),
    (set_field("right_child", 0, 1), "expected one node that leads here, found 2"),
    (set_field("feature", 0, 4), "feature 4, expected a feature from 0 to 3"),
    (set_field("feature", 0, -2), "feature -2, expected a feature from 0 to 3"),
    (set_field("threshold", 0, np.nan), "threshold NaN"),
    (lambda state: state.update(node_count=1_000_000), "node_count 1000000, expected 1 to 7"),
    (lambda state: state.update(node_count=0), "node_count 0, expected 1 to 7"),
    (lambda state: state.update(node_count=3), "expected a node from 0 to 2"),
]


@pytest.mark.parametrize("kind", ["tree", "forest", "boosting", "isolation", "pipeline"])
@pytest.mark.parametrize(("change", "message"), TREE_FAULTS)
def test_a_broken_tree(kind: str, change: Callable[[Any], None], message: str) -> None:
    options: dict[str, Any] = {"max_leaf_nodes": 4, "random_state": 0}
    makers: dict[str, Callable[[], tuple[Any, Any]]] = {
        "tree": lambda: ((m := DecisionTreeRegressor(**options).fit(X, X[:, 0])), m.tree_),
        "forest": lambda: (
            (m := RandomForestClassifier(2, **options).fit(X, THREE)),
            m.estimators_[1].tree_,
        ),
        "boosting": lambda: (
            (m := GradientBoostingRegressor(n_estimators=2, **options).fit(X, X[:, 0])),
            m.estimators_[1, 0].tree_,
        ),
        "isolation": lambda: (
            (m := IsolationForest(n_estimators=2, max_samples=4).fit(X)),
            m.estimators_[1].tree_,
        ),
        "pipeline": lambda: (
            (
                m := make_pipeline(StandardScaler(), DecisionTreeRegressor(**options)).fit(
                    X, X[:, 0]
                )
            ),
            m[-1].tree_,
        ),
    }
    model, tree = makers[kind]()
    if (
        tree.node_count == 7
    ):  # a tree of isolation may be smaller: then the places in the words differ
        with_nodes(tree, change)
        assert message in refused(model)
    else:
        with_nodes(tree, set_field("left_child", 0, 0))
        assert "a node leads here" in refused(model)


def test_trees_that_would_be_given_another_x() -> None:
    forest = RandomForestClassifier(3).fit(X, THREE)
    forest.estimators_[1] = DecisionTreeClassifier().fit(np.hstack([X, X]), THREE)
    assert "model.estimators_[1]: n_features_in_ 8, expected 4" in refused(forest)

    tree = DecisionTreeClassifier().fit(X, THREE)
    tree.n_features_in_ = 2
    assert "n_features 4, expected 2, as many as X has" in refused(tree)
    del tree.n_features_in_
    assert "expected n_features_in_, found none" in refused(tree)

    isolation = SOUND["isolation of some features"]()
    isolation.estimators_features_[0] = isolation.estimators_features_[0][:1]
    assert "n_features_in_ 2, expected 1" in refused(isolation)
    del isolation.estimators_features_[0]
    assert "2 sets of estimators_features_, expected 3" in refused(isolation)


def test_boosting_adds_to_the_scores_that_there_are() -> None:
    model = SOUND["boosting two"]()
    model.estimators_ = np.hstack([model.estimators_] * 3)
    assert "3 trees a stage, expected 1" in refused(model)
    model = SOUND["boosting three"]()
    model.estimators_ = model.estimators_[:, :2]
    assert "2 trees a stage, expected 3" in refused(model)
    model = SOUND["boosting three"]()
    model.init_ = SOUND["boosting two"]().init_
    assert "3 trees a stage, expected None" in refused(model)
    model = SOUND["boosting from zero"]()
    model.n_trees_per_iteration_ = 1
    assert "expected None" in refused(model)


def test_a_broken_tree_is_found_wherever_it_is() -> None:
    for name in ("calibrated", "stacked", "bagging", "ada", "boosting from a forest"):
        model = SOUND[name]()
        inner = {
            "calibrated": lambda m: m.calibrated_classifiers_[0].estimator.estimators_[0].tree_,
            "stacked": lambda m: m.estimators_[0].estimators_[0].tree_,
            "bagging": lambda m: m.estimators_[0].tree_,
            "ada": lambda m: m.estimators_[0].tree_,
            "boosting from a forest": lambda m: m.init_.estimators_[0].tree_,
        }[name](model)
        with_nodes(inner, set_field("feature", 0, 1_000))
        assert "feature 1000" in refused(model)
        assert "tree_, node 0" in refused(model)


def test_state_of_other_types_than_scikit_learn_makes() -> None:
    boosting = HistGradientBoostingClassifier(
        max_iter=2, categorical_features=["color", "size"]
    ).fit(FRAME, TWO)
    for transformers in ([("encoder", None)], [(["encoder"], None, None)], 3):
        broken = copy.deepcopy(boosting)
        broken._preprocessor.transformers_ = transformers
        with pytest.raises(ModelStructureError, match="state of other types than expected"):
            check_estimator(broken, "model.skops")
    tree = DecisionTreeClassifier(max_depth=2).fit(X, TWO)
    tree.tree_ = "tree"
    with pytest.raises(ModelStructureError, match="tree_: expected a Tree, found str"):
        check_estimator(tree, "model.skops")


def test_one_tree_by_itself() -> None:
    tree = DecisionTreeClassifier().fit(X, TWO).tree_
    assert sklearn_problems([("tree", tree, 4)]) == []
    assert sklearn_problems([("tree", tree, 3)]) == [
        "tree: n_features 4, expected 3, as many as X has"
    ]


def nodes_of(left: list[int], right: list[int], sizes: list[int] | None = None) -> TreeNodes:
    n_nodes = len(left)
    return TreeNodes(
        sizes=np.array(sizes or [n_nodes]),
        left=np.array(left),
        right=np.array(right),
        is_leaf=np.array(left) == -1,
        feature=np.zeros(n_nodes, np.int64),
        threshold=np.zeros(n_nodes),
        compares=np.ones(n_nodes, np.bool_),
        n_features=1,
    )


def test_circles_of_any_length_and_trees_in_any_order() -> None:
    assert not tree_problems(nodes_of([1, -1, -1], [2, -1, -1]))
    assert not tree_problems(
        nodes_of([4, -1, -1, -1, 1], [3, -1, -1, -1, 2])
    )  # a parent after its children
    # 3 leads to itself: its one parent; the root knows nothing of it.
    assert "in a circle" in tree_problems(nodes_of([1, -1, -1, 3, -1], [2, -1, -1, 4, -1]))[0]
    # A long one: 3, 5, 7, ... and back to 3, a leaf beside each.
    ring = [3, *range(5, 1_001, 2)]
    left, right = [1, -1, -1], [2, -1, -1]
    for i, _ in enumerate(ring):
        left += [ring[(i + 1) % len(ring)], -1]
        right += [4 + 2 * i, -1]
    (problem,) = tree_problems(nodes_of(left, right))
    assert "in a circle" in problem
    assert "more nodes" in problem


def test_a_tree_does_not_lead_into_the_next_one() -> None:
    sound = nodes_of([1, -1, -1] * 2, [2, -1, -1] * 2, [3, 3])
    assert not tree_problems(sound)
    crossed = nodes_of([1, -1, -1, 1, -1, -1], [3, -1, -1, 2, -1, -1], [3, 3])
    assert tree_problems(crossed) == ["tree 0, node 0: right 3, expected a node from 0 to 2"]


def test_many_nodes_with_parents_anywhere_are_looked_at_all_at_once() -> None:
    n_nodes = 100_001
    inner = np.arange(n_nodes) * 2 + 1 < n_nodes
    child = np.where(inner, np.arange(n_nodes) * 2 + 1, 0)
    name = np.concatenate([[0], 1 + RNG.permutation(n_nodes - 1)])
    left, right = np.full(n_nodes, -1), np.full(n_nodes, -1)
    left[name] = np.where(inner, name[child], -1)
    right[name] = np.where(inner, name[child + inner], -1)

    assert not tree_problems(nodes_of(left.tolist(), right.tolist()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (3, np.array([2]), 1_000),
            "n_outputs 1000, expected at least 1, and as many as n_classes, 1",
        ),
        ((3, np.array([2]), -2), "n_outputs -2, expected at least 1"),
        ((3, np.array([], np.int64), 0), "n_outputs 0, expected at least 1"),
        ((-1, np.array([2]), 1), "n_features -1, expected 0 to"),
        ((3, np.array([2, 0]), 2), "n_classes 0, expected at least 1"),
        ((3, np.array([2.0]), 1), "n_classes: expected a list of whole numbers"),
        ((3, [2], 1), "n_classes: expected a list of whole numbers"),
        ([3], "expected n_features, n_classes, n_outputs"),
    ],
)
def test_sizes_that_a_tree_of_skops_would_be_made_with(arguments: Any, message: str) -> None:
    assert message in tree_size_problems(arguments)[0]


def test_skops_makes_no_tree_of_sizes_that_lie(tmp_path: Path) -> None:
    import skops.io

    tree = DecisionTreeClassifier(max_depth=2).fit([[0.0], [1.0], [2.0]], [0, 1, 0])
    path = tmp_path / "model.skops"
    skops.io.dump(tree, path)
    assert load_skops(path, is_vouched=False).tree_.n_outputs == 1

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    sizes = schema["content"]["content"]["tree_"]["__reduce__"]["args"]["content"]
    assert sizes[2]["content"] == "1"
    sizes[2] = {**sizes[2], "content": "1000", "__id__": -1}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"schema.json": json.dumps(schema).encode()}).items():
            archive.writestr(name, content)
    with pytest.raises(ModelStructureError, match="n_outputs 1000"):
        load_skops(path, is_vouched=False)
