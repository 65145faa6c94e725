"""The bars' words, and the peer that is written by hand. No times are asserted."""

import numpy as np
import pytest

from tests.bench.bars.figures import as_text, at_least, at_most
from tests.bench.bars.report import BARS
from tests.bench.engine.peers.onnx_graph import INPUT, OUTPUT, make_graph


def test_a_bar_is_met_if_all_its_figures_are() -> None:
    figures = [
        at_most(1, "share of polars' wall time", 0.125, 0.2, basis="1.00 s, 8.00 s"),
        at_most(4, "a partition", 25.25, 20.0, unit=" ms"),
        at_least(4, "times its speed", 3.0, 3.0),
    ]
    assert list(as_text(figures)) == [
        "bar 1: met, 1 of 1 figures",
        "    met    share of polars' wall time: 0.125, asked at most 0.2  (1.00 s, 8.00 s)",
        "bar 4: MISSED, 1 of 2 figures",
        "    MISSED a partition: 25.2 ms, asked at most 20 ms",
        "    met    times its speed: 3, asked at least 3",
    ]


def test_what_cannot_be_measured_is_missed() -> None:
    figures = [at_most(3, "growth", float("nan"), 1.0), at_least(3, "gain", float("nan"), 0.9)]
    assert [figure.is_met for figure in figures] == [False, False]


def test_there_are_nine_bars() -> None:
    assert list(BARS) == list(range(1, 10))


@pytest.mark.slow
def test_the_graph_of_onnx_runtime_gives_the_models_own_scores() -> None:
    import onnxruntime
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000, 4))
    x[rng.random(x.shape) < 0.1] = np.nan
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0)
    model.fit(x, np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) ** 2 > 0.5)

    session = onnxruntime.InferenceSession(
        make_graph(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (scores,) = session.run([OUTPUT], {INPUT: x})
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores[:, 0], model.predict_proba(x)[:, 1], rtol=1e-12)
