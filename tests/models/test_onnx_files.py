"""ONNX files whose parts do not exist or never end: refused with the place, before ONNX Runtime is given them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from nightscore.errors import ModelLoadError
from nightscore.models.flavors.onnx import OnnxPredictor, inspect_onnx, load_onnx
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.structure.onnx_ensembles import MAX_DEPTH

TREE: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0, 1],
    "nodes_nodeids": [0, 1, 2, 0],
    "nodes_featureids": [2, 0, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
    "nodes_values": [0.5, 0.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 0, 0],
    "nodes_falsenodeids": [2, 0, 0, 0],
    "target_ids": [0, 0, 0],
    "target_nodeids": [1, 2, 0],
    "target_treeids": [0, 0, 1],
    "target_weights": [1.0, 2.0, 10.0],
    "n_targets": 1,
}
CLASSES: dict[str, Any] = {
    "classlabels_int64s": [0, 1],
    "class_ids": [0, 1, 1],
    "class_nodeids": [1, 2, 0],
    "class_treeids": [0, 0, 1],
    "class_weights": [1.0, 2.0, 10.0],
}


def tensor(values: list[float], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor("", kind, [len(values)], values)


FLAT: dict[str, Any] = {
    "nodes_featureids": [2, 1],
    "nodes_modes": tensor([0, 0], TensorProto.UINT8),
    "nodes_splits": tensor([0.5, 0.1]),
    "nodes_truenodeids": [1, 0],
    "nodes_trueleafs": [0, 1],
    "nodes_falsenodeids": [2, 1],
    "nodes_falseleafs": [1, 1],
    "tree_roots": [0],
    "leaf_targetids": [0, 0, 0],
    "leaf_weights": tensor([1.0, 2.0, 3.0]),
    "n_targets": 1,
}


def save(folder: Path, model: Any) -> None:
    """The files of a model version."""
    onnx.save(model, str(folder / "model.onnx"))
    flavors = {"onnx": {"data": "model.onnx"}, "python_function": {"loader_module": "mlflow.onnx"}}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}))


def graph(
    nodes: list[Any],
    *,
    more: list[Any] | None = None,
    domains: tuple[str, ...] = (),
    width: int = 3,
) -> Any:
    """A model of float columns, whose output is `y`."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    opsets = [helper.make_opsetid("", 17), *[helper.make_opsetid(name, 1) for name in domains]]
    opsets.append(
        helper.make_opsetid(
            "ai.onnx.ml", 5 if any(n.op_type == "TreeEnsemble" for n in nodes) else 3
        )
    )
    made = helper.make_graph(nodes, "g", [x], [y], initializer=more or [])
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def regressor(**changes: Any) -> Any:
    parts = {name: value for name, value in {**TREE, **changes}.items() if value is not None}
    return helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], name="trees", domain="ai.onnx.ml", **parts
    )


def classifier(**changes: Any) -> Any:
    nodes = {name: value for name, value in TREE.items() if name.startswith("nodes_")}
    parts = {**nodes, **CLASSES, **changes}
    return helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["l", "y"], name="trees", domain="ai.onnx.ml", **parts
    )


def flat(**changes: Any) -> Any:
    return helper.make_node(
        "TreeEnsemble", ["x"], ["y"], name="trees", domain="ai.onnx.ml", **{**FLAT, **changes}
    )


def chain(depth: int) -> dict[str, Any]:
    """A tree whose every second node is a leaf."""
    n = 2 * depth + 1
    inner = [i % 2 == 0 and i < n - 1 for i in range(n)]
    return {
        "nodes_treeids": [0] * n,
        "nodes_nodeids": list(range(n)),
        "nodes_featureids": [0] * n,
        "nodes_modes": ["BRANCH_LEQ" if is_inner else "LEAF" for is_inner in inner],
        "nodes_values": [0.0] * n,
        "nodes_truenodeids": [i + 1 if is_inner else 0 for i, is_inner in enumerate(inner)],
        "nodes_falsenodeids": [i + 2 if is_inner else 0 for i, is_inner in enumerate(inner)],
        "target_ids": [0],
        "target_nodeids": [1],
        "target_treeids": [0],
        "target_weights": [1.0],
    }


def twice_named() -> Any:
    node = regressor()
    node.attribute.append(helper.make_attribute("n_targets", 7))
    return node


TREES: dict[str, tuple[Callable[[], Any], str]] = {
    "a feature outside": (
        lambda: regressor(nodes_featureids=[3, 0, 0, 0]),
        "looks at feature 3, and there are 3",
    ),
    "a feature far outside": (
        lambda: regressor(nodes_featureids=[1 << 40, 0, 0, 0]),
        "there is no feature 1099511",
    ),
    "a negative feature": (
        lambda: regressor(nodes_featureids=[-1, 0, 0, 0]),
        "there is no feature -1",
    ),
    "a child that is not there": (
        lambda: regressor(nodes_truenodeids=[9, 0, 0, 0]),
        "tree 0 has no node 9",
    ),
    "a negative child": (
        lambda: regressor(nodes_truenodeids=[-1, 0, 0, 0]),
        "tree 0 has no node -1",
    ),
    "its own child": (lambda: regressor(nodes_truenodeids=[0, 0, 0, 0]), "go round in a circle"),
    "one child twice": (
        lambda: regressor(nodes_falsenodeids=[1, 0, 0, 0]),
        "the child of two others",
    ),
    "a node twice": (
        lambda: regressor(nodes_nodeids=[0, 1, 1, 0]),
        "two nodes of a tree have the same number",
    ),
    "a negative tree": (lambda: regressor(nodes_treeids=[0, 0, 0, -1]), "a number is negative"),
    "too few values": (
        lambda: regressor(nodes_values=[0.5]),
        "expected 4 values each, found nodes_values 1",
    ),
    "too few rules for missing": (
        lambda: regressor(nodes_missing_value_tracks_true=[1]),
        "found nodes_missing_value_tracks_true 1",
    ),
    "too few hit rates": (lambda: regressor(nodes_hitrates=[1.0]), "found nodes_hitrates 1"),
    "an unknown mode": (
        lambda: regressor(nodes_modes=["x", "LEAF", "LEAF", "LEAF"]),
        "b'x' is not a mode",
    ),
    "a target outside": (
        lambda: regressor(target_ids=[0, 1, 0]),
        "there is no target or class 1, there are 1",
    ),
    "a target below": (lambda: regressor(target_ids=[0, -1, 0]), "there is no target or class -1"),
    "more targets than memory": (
        lambda: regressor(n_targets=10**9),
        "expected 1 to 100,000 targets",
    ),
    "no target": (lambda: regressor(n_targets=0), "expected 1 to 100,000 targets"),
    "a leaf that is not there": (
        lambda: regressor(target_nodeids=[1, 7, 0]),
        "target_nodeids: tree 0 has no node 7",
    ),
    "too few weights": (
        lambda: regressor(target_weights=[1.0]),
        "expected 3 values each, found target_weights 1",
    ),
    "too many base values": (
        lambda: regressor(base_values=[1.0, 2.0]),
        "base_values: expected 1 or none, found 2",
    ),
    "texts as features": (
        lambda: regressor(nodes_featureids=["a"] * 4),
        "nodes_featureids: expected whole numbers",
    ),
    "no nodes": (lambda: regressor(nodes_treeids=None), "has no nodes"),
    "an attribute twice": (twice_named, "an attribute is given twice"),
    "deep": (lambda: regressor(**chain(MAX_DEPTH)), "more than 2,000 levels"),
    "a class outside": (lambda: classifier(class_ids=[0, 2, 1]), "there is no target or class 2"),
    "two kinds of labels": (
        lambda: classifier(classlabels_strings=["a", "b"]),
        "expected classlabels_int64s or",
    ),
    "flat, a child outside": (
        lambda: flat(nodes_truenodeids=[2, 0]),
        "nodes_truenodeids: there is no node or leaf 2",
    ),
    "flat, a leaf outside": (lambda: flat(nodes_falsenodeids=[3, 1]), "there is no node or leaf 3"),
    "flat, round in a circle": (
        lambda: flat(nodes_truenodeids=[0, 0]),
        "expected each node to be the root of a tree",
    ),
    "flat, a feature outside": (lambda: flat(nodes_featureids=[2, 5]), "looks at feature 5"),
    "flat, no root": (
        lambda: flat(tree_roots=[2]),
        "tree_roots: expected nodes of the 2 that there are",
    ),
    "flat, a flag": (lambda: flat(nodes_trueleafs=[0, 2]), "nodes_trueleafs: expected 0 or 1"),
    "flat, a mode": (
        lambda: flat(nodes_modes=tensor([0, 9], TensorProto.UINT8)),
        "nodes_modes: 9 is not a mode",
    ),
    "flat, a target outside": (
        lambda: flat(leaf_targetids=[0, 4, 0]),
        "there is no target or class 4",
    ),
    "flat, too few weights": (
        lambda: flat(leaf_weights=tensor([1.0])),
        "expected 3 values each, found leaf_weights",
    ),
    "flat, members": (
        lambda: flat(nodes_modes=tensor([0, 6], TensorProto.UINT8)),
        "membership_values: expected 1 sets that NaN ends, found 0",
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_a_broken_tree_ensemble_is_refused(name: str, tmp_path: Path) -> None:
    make, expected = TREES[name]
    save(tmp_path, graph([make()]))
    with pytest.raises(ModelLoadError) as caught:
        load_onnx(read_mlmodel(tmp_path))
    assert expected in str(caught.value)
    assert "graph: node 0 trees: " in str(caught.value)


def predicted(folder: Path, rows: int = 4) -> list[float]:
    mlmodel = read_mlmodel(folder)
    model = load_onnx(mlmodel)
    columns = {f"c{i}": np.linspace(0, 1, rows).astype(np.float32) for i in range(len(model.types))}
    answer = OnnxPredictor(model, inspect_onnx(mlmodel, model)).predict(
        pa.table(columns), ["prediction"]
    )
    return [float(value) for value in answer["prediction"].ravel()]


@pytest.mark.parametrize(
    ("make", "expected"),
    [(regressor, [11.0, 11.0, 12.0, 12.0]), (flat, [1.0, 2.0, 3.0, 3.0])],
)
def test_whole_trees_predict(
    make: Callable[[], Any], expected: list[float], tmp_path: Path
) -> None:
    save(tmp_path, graph([make()]))
    assert predicted(tmp_path) == expected


def test_trees_behind_other_operators_have_their_columns_checked_when_they_run(
    tmp_path: Path,
) -> None:
    take = helper.make_node("Gather", ["x", "columns"], ["taken"], axis=1)
    trees = regressor()
    trees.input[0] = "taken"
    whole = numpy_helper.from_array(np.array([2, 1, 0]), "columns")
    save(tmp_path, graph([take, trees], more=[whole]))
    assert predicted(tmp_path) == [11.0, 11.0, 12.0, 12.0]

    narrow = numpy_helper.from_array(np.array([0, 1]), "columns")
    save(tmp_path, graph([take, trees], more=[narrow]))
    with pytest.raises(Exception, match="indices element out of data bounds"):
        predicted(tmp_path)


def addition(**changes: Any) -> tuple[Any, Any]:
    """A graph that adds three weights, which are in a file of their own, and the tensor that says so."""
    weights = numpy_helper.from_array(np.array([1.0, 2.0, 3.0], np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", "offset": "4", "length": "12", **changes}.items():
        if value is not None:
            weights.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("Add", ["x", "w"], ["sum"]),
        helper.make_node("ReduceSum", ["sum", "axes"], ["y"], keepdims=1),
    ]
    axes = numpy_helper.from_array(np.array([1]), "axes")
    return graph(nodes, more=[weights, axes]), weights


def add_weights(folder: Path) -> None:
    content = np.array([0.0, 1.0, 2.0, 3.0], np.float32).tobytes()
    (folder / "weights.bin").write_bytes(content)
    (folder.parent / "outside.bin").write_bytes(content)


OUTSIDE = {
    "an absolute path": (
        {"location": "/etc/hostname"},
        "which is no file below the model's folder",
    ),
    "a path upwards": ({"location": "../outside.bin"}, "which is no file below the model's folder"),
    "a path down and up": (
        {"location": "a/../../outside.bin"},
        "which is no file below the model's folder",
    ),
    "an address of memory": (
        {"location": "*/_ORT_MEM_ADDR_/*"},
        "which is no file below the model's folder",
    ),
    "no file": ({"location": "none.bin"}, "which is no file below the model's folder"),
    "a name with a NUL": (
        {"location": "weights.bin\0"},
        "which is no file below the model's folder",
    ),
    "a link": ({"location": "link.bin"}, "which is no file below the model's folder"),
    "a folder": ({"location": "."}, "which is no file below the model's folder"),
    "no place": ({"location": None}, "expected location, offset and length"),
    "behind the end": ({"offset": "8"}, "expected bytes 8 to 20 of weights.bin, found 16 bytes"),
    "far behind the end": ({"offset": str(1 << 59)}, "found 16 bytes"),
    "before the start": ({"offset": "-4"}, "expected whole numbers as offset and length"),
    "no number": ({"length": "0x10"}, "expected whole numbers as offset and length"),
    "too short": ({"length": "4"}, "expected 12 bytes for the sizes [3], found a length of 4"),
    "too long": (
        {"length": "16", "offset": "0"},
        "expected 12 bytes for the sizes [3], found a length of 16",
    ),
    "an unknown key": ({"address": "1"}, "expected location, offset and length"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_weights_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    changes, expected = OUTSIDE[name]
    folder = tmp_path / "model"
    folder.mkdir()
    add_weights(folder)
    (folder / "link.bin").symlink_to(folder / "weights.bin")
    save(folder, addition(**changes)[0])
    with pytest.raises(ModelLoadError) as caught:
        load_onnx(read_mlmodel(folder))
    assert expected in str(caught.value)
    assert "graph: w: " in str(caught.value)


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    add_weights(folder)
    save(folder, addition()[0])
    assert predicted(folder, 1) == [6.0]


def test_weights_beside_a_graph_that_is_changed_are_those_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of the folder in which the command was called."""
    folder, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    add_weights(folder)
    (elsewhere / "weights.bin").write_bytes(np.zeros(4, np.float32).tobytes())
    model, _ = addition()
    trees = regressor()
    trees.input[0], trees.output[0] = "shifted", "y"
    model.graph.node[0].output[0] = "shifted"
    del model.graph.node[1]
    model.graph.node.append(trees)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    save(folder, model)
    monkeypatch.chdir(elsewhere)
    assert predicted(folder, 1) == [12.0]


def calls(domain: str, names: list[str]) -> list[Any]:
    return [helper.make_node(name, ["x"], ["x"], domain=domain) for name in names]


def with_functions(bodies: dict[str, list[str]]) -> Any:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = graph([helper.make_node("f0", ["x"], ["y"], domain="own")], domains=("own",))
    for name, called in bodies.items():
        nodes = calls("own", called) or [helper.make_node("Identity", ["x"], ["x"])]
        model.functions.append(helper.make_function("own", name, ["x"], ["x"], nodes, opsets))
    return model


def sparse(dims: list[int], places: list[int]) -> Any:
    values = helper.make_tensor("w", TensorProto.FLOAT, [len(places)], [1.0] * len(places))
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])])
    indices = helper.make_tensor("i", TensorProto.INT64, [len(places)], places)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, dims))
    return model


def sized(dims: list[int], content: bytes) -> Any:
    model = graph([helper.make_node("Add", ["x", "w"], ["y"])])
    model.graph.initializer.append(TensorProto(name="w", data_type=1, dims=dims, raw_data=content))
    return model


GRAPHS: dict[str, tuple[Callable[[], Any], str]] = {
    "an operator of one's own": (
        lambda: graph([helper.make_node("Run", ["x"], ["y"], domain="own")], domains=("own",)),
        "graph: node 0 Run: Run of the domain own is not an operator of ONNX",
    ),
    "an operator that opens files": (
        lambda: graph(
            [helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")],
            domains=("com.microsoft",),
        ),
        "EPContext of the domain com.microsoft is not an operator of ONNX",
    ),
    "a function that calls itself": (
        lambda: with_functions({"f0": ["f1"], "f1": ["f0"]}),
        "calls itself",
    ),
    "functions that double": (
        lambda: with_functions({f"f{i}": [f"f{i + 1}"] * 2 if i < 40 else [] for i in range(41)}),
        "graph: expected at most 200,000 nodes, functions written out, found 1,099,511,627,776",
    ),
    "a sparse weight beyond memory": (
        lambda: sparse([1 << 20, 1 << 20], [0]),
        "of 2,147,483,648 bytes at most",
    ),
    "a sparse weight outside": (
        lambda: sparse([3, 1], [3]),
        "graph: w: a place is outside of the sizes [3, 1]",
    ),
    "a negative size": (lambda: sized([-3], b""), "expected sizes of 0 or more, found [-3]"),
    "fewer bytes than the sizes": (
        lambda: sized([3], b"1234"),
        "expected 12 bytes for the sizes [3], found 4",
    ),
    "sizes beyond all bytes": (lambda: sized([1 << 62, 1 << 62], b""), "bytes for the sizes"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_beyond_the_bounds_is_refused(name: str, tmp_path: Path) -> None:
    make, expected = GRAPHS[name]
    save(tmp_path, make())
    with pytest.raises(ModelLoadError) as caught:
        load_onnx(read_mlmodel(tmp_path))
    assert expected in str(caught.value)


def test_trees_inside_another_graph_are_refused(tmp_path: Path) -> None:
    flag = numpy_helper.from_array(np.array(True), "flag")
    branches = []
    for name in ("then", "else"):
        trees = regressor(nodes_featureids=[3, 0, 0, 0])
        trees.output[0] = name
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1])
        branches.append(helper.make_graph([trees], name, [], [out]))
    choice = helper.make_node(
        "If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1]
    )
    save(tmp_path, graph([choice], more=[flag]))
    with pytest.raises(
        ModelLoadError, match="node 0 If, then_branch: node 0 trees: a tree ensemble inside another"
    ):
        load_onnx(read_mlmodel(tmp_path))
