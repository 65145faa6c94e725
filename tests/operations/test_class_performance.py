"""A real model of three classes, all the way: baseline with labels, runs, estimates and truth."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from nightscore.cli.commands.performance import _print_confusion
from nightscore.errors import InputError
from nightscore.flows.ui.drift import estimate_lines
from nightscore.monitoring.performance.estimates.adjusted import ONLY_BINARY
from nightscore.monitoring.performance.estimates.estimation import ExpectedConfusion
from nightscore.operations.baseline import record_baseline
from nightscore.operations.evaluate import evaluate
from nightscore.operations.history import run_history
from nightscore.operations.judge_evaluations import judge_evaluations
from nightscore.operations.performance import estimate_performance, recorded_between
from nightscore.operations.report import read_report
from nightscore.schemas.job import ScoringJob
from tests.cli.test_commands import answer, nightscore, save
from tests.support.lake import Lake
from tests.support.models import copy_registry, make_frame
from tests.support.outcomes import NOW, labelled_job, write_labels

DAY, EARLIER = "2024-02-29", "2024-02-28"
OF_ALL = (
    "roc_auc_macro",
    "log_loss",
    "brier",
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
)
GATES = {"estimated": {"metric": "roc_auc_macro", "max_drop": 0.1, "action": "hold"}}


@pytest.fixture
def own(lake: Lake, registry_root: Path, tmp_path: Path) -> Lake:
    """A lake with a registry of its own, whose versions get baselines."""
    lake.registry = copy_registry(registry_root, tmp_path / "registry")
    return lake


def labelled(n_rows: int, seed: int) -> pd.DataFrame:
    """The classes that the model knows, which depend on chance too."""
    frame = make_frame(n_rows, seed=seed)
    noise = np.random.default_rng(seed).normal(0, 0.5, n_rows)
    places = np.digitize(frame["a"] + frame["d"] + noise, [-0.5, 0.5])
    return frame.assign(size_class=np.array(["low", "mid", "high"])[places])


def baseline_data(lake: Lake, frame: pd.DataFrame) -> str:
    path = Path(lake.root) / "training.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path)
    return str(path)


def log_baseline(lake: Lake, job: ScoringJob, frame: pd.DataFrame) -> None:
    path = baseline_data(lake, frame)
    record_baseline(job, path, lake.pool, lake.cache, label="size_class")


def estimate_all(lake: Lake, job: ScoringJob):  # type: ignore[no-untyped-def]
    return estimate_performance(job, recorded_between(job, None, None, 30), lake.cache)


def test_estimates_and_truth_of_three_classes_stand_side_by_side(
    own: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"column": "size_class"}
    job = labelled_job(own, labels=labels, model="models:/hgb_multi/1", gates=GATES)
    log_baseline(own, job, labelled(4_000, seed=9))

    truth = {EARLIER: labelled(1_500, seed=3), DAY: labelled(1_500, seed=4)}
    for day, frame in truth.items():
        own.write(day, frame.drop(columns="size_class"))
        assert own.run(job, day).status == "published"

    found = estimate_all(own, job)
    partition, (model,) = found.partitions[1], found.models
    names = [metric.name for metric in partition.estimated]
    assert tuple(names[:7]) == OF_ALL
    assert names[7:10] == ["roc_auc[high]", "roc_auc[low]", "roc_auc[mid]"]
    assert names[-3:] == ["rows[high]", "rows[low]", "rows[mid]"]
    assert (model.n_partitions, model.n_rows) == (2, 3_000)

    (manifest,) = run_history(job, DAY, everything=False)
    assert manifest.estimate is not None
    assert manifest.estimate.metrics == partition.estimated, "the run has recorded it"
    assert manifest.estimate.baseline == model.baseline
    (gate,) = [gate for gate in manifest.gates if gate.gate == "estimated"]
    assert gate.passed
    assert gate.expected.startswith("roc_auc_macro of at least 0.")
    assert "Estimated mean AUC of the classes" in " ".join(estimate_lines(manifest.estimate))

    outcomes = pd.concat(frame[["id", "size_class"]].assign(ds=day) for day, frame in truth.items())
    write_labels(own, pl.from_pandas(outcomes))
    evaluated = evaluate(job, NOW)
    evaluated.check()
    partition = estimate_all(own, job).partitions[1]
    realised = {metric.name: metric.value for metric in partition.realised}
    scored = own.read(job)
    scored = scored[scored["ds"] == DAY].set_index("id")
    right = scored["prediction"] == truth[DAY].set_index("id")["size_class"].reindex(scored.index)
    assert realised["accuracy"] == pytest.approx(right.mean())

    measured = [one for one in partition.estimated if not one.name.startswith("rows[")]
    missed = []
    for metric in measured:
        assert (metric.note, metric.n) == ("", 1_500), metric
        truth_of_day = realised[metric.name]
        assert None not in (truth_of_day, metric.value, metric.low, metric.high)
        half_width = (metric.high - metric.low) / 2  # type: ignore[operator]
        distance = abs(truth_of_day - metric.value) / half_width  # type: ignore[operator]
        assert distance < 1.5, metric
        missed += [metric.name] if distance > 1 else []
    assert len(missed) <= 1, f"of {len(measured)} bands of 95 %: {missed}"

    judged = judge_evaluations(job, evaluated.records)
    assert [one.metric.name for one in judged] == ["roc_auc_macro"] * 2
    assert {one.severity for one in judged} == {"ok"}

    assert "mean AUC of the classes" in read_report(job, manifest, own.cache)
    path = str(save(job, tmp_path))
    document = answer(own, "performance", path, DAY)
    (alone,) = document["partitions"]
    assert {one["name"] for one in alone["estimated"]} == {*names}

    assert document["confusion"]["classes"] == ["high", "low", "mid"]
    confusion = np.array(document["confusion"]["rows"])
    predicted = scored["prediction"].value_counts()
    assert confusion.sum(0) == pytest.approx(predicted[["high", "low", "mid"]].to_numpy())
    metrics = {metric["name"]: metric["value"] for metric in alone["estimated"]}
    assert np.trace(confusion) / 1_500 == pytest.approx(metrics["accuracy"])
    assert confusion[1].sum() == pytest.approx(metrics["rows[low]"])
    assert estimate_all(own, job).confusion is None, "of two partitions"
    _print_confusion(ExpectedConfusion(("high", "low"), ((1_200.4, 3), (0, 7))))
    shown = " ".join(capsys.readouterr().out.split())
    assert "class predicted high predicted low high 1,200 3 low 0 7" in shown
    page = tmp_path / "performance.html"
    several = nightscore(own, "performance", path, "-o", str(page))
    assert "mean F1 of the classes" in several.stdout
    assert "concept drift" in several.stdout
    assert "2 of 2 matured partitions came true within the band" in page.read_text()


def test_labels_of_no_class_of_the_model_are_named(own: Lake) -> None:
    job = own.job("hgb_multi")
    frame = labelled(600, seed=5)
    frame.loc[:2, "size_class"] = "huge"
    frame.loc[7, "size_class"] = "tiny"
    path = baseline_data(own, frame)

    with pytest.raises(InputError, match="4 labels of no class that the model knows") as caught:
        record_baseline(job, path, own.pool, own.cache, label="size_class")
    assert caught.value.expected == "high, low, mid"
    assert caught.value.found == "huge: 3 labels; tiny: 1 label"


def test_labels_of_two_classes_may_be_spelled_otherwise(own: Lake) -> None:
    frame = make_frame(2_000, seed=6)
    late = frame["a"] + frame["b"] * frame["c"] > 0.2
    frame["came_true"] = np.where(late, "late", "on time")
    path = baseline_data(own, frame)

    with pytest.raises(InputError, match="2,000 labels of no class") as caught:
        record_baseline(own.job("hgb_binary"), path, own.pool, own.cache, label="came_true")
    assert "labels.positive" in caught.value.next_step

    spelled = {"column": "came_true", "positive": "late"}
    job = labelled_job(own, labels=spelled, estimate={"sample_rows": 200})
    record_baseline(job, path, own.pool, own.cache, label="came_true")
    own.write(DAY, make_frame(1_500, seed=7))
    (partition,) = [own.run(job, DAY)] and estimate_all(own, job).partitions
    baseline = {metric.name: metric.value or 0.0 for metric in partition.baseline}
    assert 0.7 < baseline["accuracy"] < 1
    assert partition.adjusted_note.startswith(("covariate shift", "no covariate shift"))


def test_a_class_that_is_too_rare_is_no_number(own: Lake) -> None:
    job = own.job("hgb_multi")
    log_baseline(own, job, labelled(1_200, seed=8))
    day = labelled(4_000, seed=9)
    low = (day["a"] + day["d"] < -0.5).to_numpy()
    kept = np.flatnonzero(~low | (np.cumsum(low) <= 10))
    own.write(DAY, day.iloc[kept].drop(columns="size_class"))
    own.run(job, DAY)

    (partition,) = estimate_all(own, job).partitions
    found = {metric.name: metric for metric in partition.estimated}
    assert found["precision[low]"].value is None
    assert found["precision[low]"].note.startswith("too few: ")
    assert found["f1_macro"].note == found["f1[low]"].note
    assert found["precision[high]"].value is not None
    assert found["accuracy"].value is not None


def test_nothing_is_estimated_if_the_baseline_lacks_a_class_that_is_predicted(own: Lake) -> None:
    job = own.job("hgb_multi", estimate={"sample_rows": 200})
    seen = labelled(2_000, seed=8)
    log_baseline(own, job, seen[seen["size_class"] != "low"])
    own.write(DAY, labelled(1_200, seed=9).drop(columns="size_class"))
    own.run(job, DAY)

    (partition,) = estimate_all(own, job).partitions
    assert {metric.value for metric in partition.estimated} == {None}
    notes = {metric.note for metric in partition.estimated}
    assert any("are predicted to be low; the baseline has no row with such" in one for one in notes)
    assert partition.adjusted_note == ONLY_BINARY
