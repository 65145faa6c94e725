"""The bars' words, and the peer that is written by hand. No times are asserted."""

import platform
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.bench.bars import readme, report
from tests.bench.bars.bench import Bench
from tests.bench.bars.figures import Figure, as_text, at_least, at_most
from tests.bench.bars.report import BARS
from tests.bench.bars.results import read_results
from tests.bench.bars.sizes import SMALL
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


def _figures(bench: Bench) -> Iterator[Figure]:
    yield at_most(1, "share of wall time", 0.5, 1.0)


def _interrupted(bench: Bench) -> Iterator[Figure]:
    yield at_most(2, "not finished", 0.5, 1.0)
    raise KeyboardInterrupt


def _broken(bench: Bench) -> Iterator[Figure]:
    raise RuntimeError("polars has written other predictions")
    yield


def test_an_interrupt_keeps_the_bars_that_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "BARS", {1: _figures, 2: _interrupted, 3: _figures})
    path = tmp_path / SMALL.file

    assert not report.measure(SMALL, tmp_path)
    assert list(read_results(path)) == [1]
    assert "not measured: make bench BENCH=bars ONLY=2,3" in capsys.readouterr().out

    monkeypatch.setattr(report, "BARS", {1: _broken, 2: _figures, 3: _figures})
    assert report.measure(SMALL, tmp_path, [2, 3])
    results = read_results(path)
    assert list(results) == [1, 2, 3]
    assert results[2].figures == list(_figures(None))  # type: ignore[arg-type]

    assert not report.measure(SMALL, tmp_path, [1])
    assert list(read_results(path)) == [2, 3], "what cannot be measured any more is not kept"
    assert "bar 1: NOT MEASURED: polars has written" in capsys.readouterr().out
    assert [path.name for path in tmp_path.glob("run-*")] == []


def test_the_figures_of_the_readme_are_those_that_were_measured() -> None:
    results = read_results(readme.MEASURED)
    text = readme.README.read_text()
    assert readme.with_figures(text, readme.figures_text(results)) == text, "make bench-readme"
    assert results[1].machine["cpu"] in text
    assert str(readme.PICTURE) in text


def test_the_results_of_the_project_name_neither_host_nor_folder() -> None:
    text = readme.MEASURED.read_text()
    assert not re.search(r'[" (=]/\w', text)
    assert platform.node() not in text


def test_results_of_several_processors_are_not_the_readmes() -> None:
    results = read_results(readme.MEASURED)
    assert readme.problem_of(results) == ""
    other = replace(results[4], machine=results[4].machine | {"cpu": "another"})
    assert "another" in readme.problem_of(results | {4: other})
    some = {number: results[number] for number in (1, 5)}
    assert "ONLY=4,7" in readme.problem_of(some)


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
