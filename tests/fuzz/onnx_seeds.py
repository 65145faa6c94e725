"""Small ONNX graphs: trees of each version, weights beside the file, a linear model, a function."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WIDTH = 4


def onnx_models() -> dict[str, tuple[bytes, dict[str, bytes | str]]]:
    """Name to the file and what lies beside it."""
    weights = np.arange(8, dtype=np.float32)
    made = {
        "trees": (_graph([_regressor("x")]), {}),
        "classes": (_classifier(), {}),
        "flat": (_graph([_flat()]), {}),
        "behind": (_behind(), {}),
        "beside": (_beside(), {"weights.bin": weights.tobytes()}),
        "function": (_with_function(), {}),
        "linear": (_linear(), {}),
    }
    return {name: (model.SerializeToString(), more) for name, (model, more) in made.items()}


def _graph(
    nodes: list[Any], *, more: list[Any] | None = None, outputs: list[Any] | None = None
) -> Any:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, WIDTH])
    y = outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])]
    version = 5 if any(node.op_type == "TreeEnsemble" for node in nodes) else 3
    opsets = [
        helper.make_opsetid("", 17),
        helper.make_opsetid("ai.onnx.ml", version),
        helper.make_opsetid("own", 1),
    ]
    made = helper.make_graph(nodes, "g", [x], y, initializer=more or [])
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


NODES: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0, 0, 0, 1],
    "nodes_nodeids": [0, 1, 2, 3, 4, 0],
    "nodes_featureids": [3, 1, 0, 0, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_LT", "LEAF", "LEAF", "LEAF", "LEAF"],
    "nodes_values": [0.5, -0.5, 0.0, 0.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 2, 0, 0, 0, 0],
    "nodes_falsenodeids": [4, 3, 0, 0, 0, 0],
    "nodes_missing_value_tracks_true": [1, 0, 0, 0, 0, 0],
    "nodes_hitrates": [1.0] * 6,
}


def _weights(kind: str) -> dict[str, Any]:
    return {
        f"{kind}_ids": [0, 0, 0, 0] if kind == "target" else [0, 1, 1, 2],
        f"{kind}_nodeids": [2, 3, 4, 0],
        f"{kind}_treeids": [0, 0, 0, 1],
        f"{kind}_weights": [1.0, 2.0, 3.0, 10.0],
    }


def _regressor(source: str) -> Any:
    parts = {
        **NODES,
        **_weights("target"),
        "n_targets": 1,
        "base_values": [0.5],
        "aggregate_function": "SUM",
    }
    return helper.make_node("TreeEnsembleRegressor", [source], ["y"], domain="ai.onnx.ml", **parts)


def _classifier() -> Any:
    labels = {"classlabels_strings": ["low", "mid", "high"], "post_transform": "SOFTMAX"}
    trees = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "p"],
        domain="ai.onnx.ml",
        **NODES,
        **_weights("class"),
        **labels,
    )
    zipped = helper.make_node(
        "ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_strings=["low", "mid", "high"]
    )
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
        helper.make_value_info(
            "z",
            helper.make_sequence_type_proto(
                helper.make_map_type_proto(
                    TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
                )
            ),
        ),
    ]
    return _graph([trees, zipped], outputs=outputs)


def _tensor(values: list[float], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor("", kind, [len(values)], values)


def _flat() -> Any:
    return helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        nodes_featureids=[2, 1, 0],
        nodes_modes=_tensor([0, 1, 6], TensorProto.UINT8),
        nodes_splits=_tensor([0.5, 0.1, 0.0]),
        nodes_truenodeids=[1, 0, 3],
        nodes_trueleafs=[0, 1, 1],
        nodes_falsenodeids=[2, 1, 2],
        nodes_falseleafs=[0, 1, 1],
        tree_roots=[0],
        leaf_targetids=[0, 0, 0, 0],
        leaf_weights=_tensor([1.0, 2.0, 3.0, 4.0]),
        membership_values=_tensor([1.0, 2.0, float("nan")]),
        n_targets=1,
    )


def _behind() -> Any:
    """Trees whose columns come of other operators."""
    take = helper.make_node("Gather", ["x", "columns"], ["taken"], axis=1)
    scaler = helper.make_node(
        "Scaler",
        ["taken"],
        ["scaled"],
        domain="ai.onnx.ml",
        offset=[0.0] * WIDTH,
        scale=[1.0] * WIDTH,
    )
    columns = numpy_helper.from_array(np.array([3, 2, 1, 0]), "columns")
    return _graph([take, scaler, _regressor("scaled")], more=[columns])


def _beside() -> Any:
    """Weights in a file of their own."""
    weights = numpy_helper.from_array(np.zeros((WIDTH, 1), np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", "offset": "8", "length": "16"}.items():
        weights.external_data.add(key=key, value=value)
    return _graph([helper.make_node("MatMul", ["x", "w"], ["y"])], more=[weights])


def _with_function() -> Any:
    body = [
        helper.make_node("Constant", [], ["two"], value=_tensor([2.0])),
        helper.make_node("Mul", ["v", "two"], ["w"]),
    ]
    doubled = helper.make_function(
        "own", "Double", ["v"], ["w"], body, [helper.make_opsetid("", 17)]
    )
    nodes = [
        helper.make_node("Double", ["x"], ["d"], domain="own"),
        helper.make_node("ReduceSum", ["d", "axes"], ["y"], keepdims=1),
    ]
    model = _graph(nodes, more=[numpy_helper.from_array(np.array([1]), "axes")])
    model.functions.append(doubled)
    return model


def _linear() -> Any:
    linear = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "p"],
        domain="ai.onnx.ml",
        coefficients=[0.1 * i for i in range(2 * WIDTH)],
        intercepts=[0.1, -0.1],
        classlabels_ints=[0, 1],
        post_transform="LOGISTIC",
        multi_class=0,
    )
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2]),
    ]
    return _graph([linear], outputs=outputs)
