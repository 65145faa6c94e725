"""A binary HistGradientBoosting model as an ONNX graph, written node by node, in double precision.

`skl2onnx` writes float32, which changes the scores of rows near a threshold.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

INPUT, OUTPUT = "features", "probability"
LEAF_IS_LESS_OR_EQUAL = 0
"""BRANCH_LEQ of ai.onnx.ml's TreeEnsemble: `x <= threshold` goes to the true branch."""
SUM, NO_TRANSFORM = 1, 0
OPSETS = {"": 21, "ai.onnx.ml": 5}
IR_VERSION = 10


def onnx_path(model: Path) -> Path:
    """Where the graph of an MLflow model folder is kept."""
    return model.with_suffix(".onnx")


def write_graph(model: Path) -> Path:
    """The graph of the estimator in an MLflow folder, written if it is not there."""
    path = onnx_path(model)
    if path.exists():
        return path
    import mlflow
    import onnx

    estimator = mlflow.sklearn.load_model(str(model))
    spool = path.with_suffix(".onnx-part")
    spool.write_bytes(make_graph(estimator).SerializeToString())
    onnx.checker.check_model(str(spool))
    spool.rename(path)
    return path


def make_graph(estimator: Any) -> Any:
    """The probability of the positive class, shape (n, 1), of features as float64, shape (n, k)."""
    from onnx import TensorProto, helper

    trees = [iteration[0].nodes for iteration in estimator._predictors]
    ensemble = helper.make_node(
        "TreeEnsemble",
        [INPUT],
        ["sums"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=SUM,
        post_transform=NO_TRANSFORM,
        **_attributes(trees),
    )
    baseline = helper.make_tensor(
        "baseline", TensorProto.DOUBLE, [1], [float(estimator._baseline_prediction.item())]
    )
    graph = helper.make_graph(
        [
            ensemble,
            helper.make_node("Add", ["sums", "baseline"], ["raw"]),
            helper.make_node("Sigmoid", ["raw"], [OUTPUT]),
        ],
        "hist_gradient_boosting",
        [
            helper.make_tensor_value_info(
                INPUT, TensorProto.DOUBLE, [None, estimator.n_features_in_]
            )
        ],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, [None, 1])],
        [baseline],
    )
    opsets = [helper.make_opsetid(domain, number) for domain, number in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _attributes(trees: list[npt.NDArray[Any]]) -> dict[str, Any]:
    """Inner nodes and leaves of all trees in one list each, as TreeEnsemble wants them."""
    from onnx import TensorProto, helper

    columns: dict[str, list[int]] = {
        f"nodes_{name}": []
        for name in (
            *("featureids", "missing_value_tracks_true"),
            *("truenodeids", "trueleafs", "falsenodeids", "falseleafs"),
        )
    }
    roots: list[int] = []
    thresholds: list[float] = []
    weights: list[float] = []
    for nodes in trees:
        is_leaf = nodes["is_leaf"].astype(bool)
        if is_leaf[0]:
            raise ValueError("a tree without an inner node has no place in a TreeEnsemble")
        places = np.where(
            is_leaf,
            len(weights) + np.cumsum(is_leaf) - 1,
            len(thresholds) + np.cumsum(~is_leaf) - 1,
        )
        inner = nodes[~is_leaf]
        roots.append(len(thresholds))
        thresholds += inner["num_threshold"].tolist()
        weights += nodes["value"][is_leaf].tolist()
        columns["nodes_featureids"] += inner["feature_idx"].tolist()
        columns["nodes_missing_value_tracks_true"] += inner["missing_go_to_left"].tolist()
        for side, child in (("true", "left"), ("false", "right")):
            columns[f"nodes_{side}nodeids"] += places[inner[child]].tolist()
            columns[f"nodes_{side}leafs"] += is_leaf[inner[child]].astype(int).tolist()

    modes = bytes([LEAF_IS_LESS_OR_EQUAL]) * len(thresholds)
    return columns | {
        "tree_roots": roots,
        "nodes_modes": helper.make_tensor(
            "modes", TensorProto.UINT8, [len(modes)], modes, raw=True
        ),
        "nodes_splits": helper.make_tensor(
            "splits", TensorProto.DOUBLE, [len(thresholds)], thresholds
        ),
        "leaf_targetids": [0] * len(weights),
        "leaf_weights": helper.make_tensor("weights", TensorProto.DOUBLE, [len(weights)], weights),
    }
