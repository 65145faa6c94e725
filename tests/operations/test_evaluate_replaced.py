"""Results that readers no longer see can still be compared with labels."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from nightscore.cli.app import build_app
from nightscore.errors import InvalidJobError, PartitionNotFoundError
from nightscore.ledger.evaluation_files import (
    evaluations_of,
    list_all_evaluations,
    list_evaluations,
)
from nightscore.ledger.layout import state_store
from nightscore.ledger.manifest_files import write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.operations.evaluate import evaluate
from nightscore.operations.judge_evaluations import judge_evaluations
from nightscore.operations.metric_history import metric_history
from nightscore.operations.performance import performance_known_at
from nightscore.operations.rollback import roll_back
from nightscore.schemas.gates import Estimated, Gates
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.performance import EstimateRecord, MetricRecord
from tests.cli.test_commands import save
from tests.support.lake import Lake
from tests.support.outcomes import (
    DAY,
    NOW,
    labelled_job,
    labels_of,
    predictions,
    publish,
    write_labels,
)
from tests.support.publications import run_id


def replaced_day(lake: Lake, **changes: object) -> tuple[ScoringJob, Manifest, Manifest]:
    """A day that was published twice, with labels. The first scores were the better ones."""
    job = labelled_job(lake, **changes)
    rows = predictions(200)
    first = publish(job, DAY, rows, n=1)
    second = publish(job, DAY, rows.with_columns(probability=1 - pl.col("probability")), n=2)
    write_labels(lake, labels_of(rows, DAY))
    return job, first, second


def auc_of(rows: pl.DataFrame) -> float:
    return float(roc_auc_score(labels_of(rows, DAY)["late"], rows["probability"]))


@pytest.mark.parametrize("output_format", ["delta", "parquet"])
@pytest.mark.parametrize("partition", [{"column": "ds"}, None])
def test_a_replaced_run_is_evaluated_by_its_id(
    bare_lake: Lake, output_format: str, partition: dict[str, str] | None
) -> None:
    lake = replace(bare_lake, formats=output_format)
    job, first, second = replaced_day(lake, labels={"partition": partition})
    (published,) = evaluate(job, NOW).records
    assert (published.run_id, published.is_replaced) == (second.run_id, False)

    (before,) = evaluate(job, NOW, run_id=first.run_id).records
    assert (before.run_id, before.is_replaced, before.number) == (first.run_id, True, 2)
    auc = before.metric("roc_auc")
    assert auc is not None
    assert auc.value == pytest.approx(auc_of(predictions(200)))

    again = evaluate(job, NOW + timedelta(days=1), run_id=first.run_id)
    assert (again.records, again.unchanged) == ((), (DAY,))
    assert evaluate(job, NOW + timedelta(days=1)).unchanged == (DAY,), "it is as published"

    by_run = evaluations_of(Workspace(job), [first, second])
    assert by_run == {first.run_id: before, second.run_id: published}, "each report has its own"

    (day,) = metric_history(job, "roc_auc")
    assert day.run_id == second.run_id, "a partition's newest evaluation is of what readers see"


def test_the_published_run_by_its_id_is_the_same_evaluation(bare_lake: Lake) -> None:
    job, _, second = replaced_day(bare_lake)
    (record,) = evaluate(job, NOW, run_id=second.run_id).records
    assert (record.partition, record.is_replaced) == (DAY, False)
    assert evaluate(job, NOW).unchanged == (DAY,)


def test_results_that_come_back_are_evaluated_as_published(bare_lake: Lake) -> None:
    job, first, _ = replaced_day(bare_lake)
    evaluate(job, NOW, run_id=first.run_id)
    publish(job, DAY, predictions(200), n=1)

    (record,) = evaluate(job, NOW).records
    assert (record.run_id, record.is_replaced) == (first.run_id, False)
    files = list_all_evaluations(state_store(job))[f"ds={DAY}"]
    assert [(file.number, file.is_replaced) for file in files] == [(1, True), (2, False)]
    assert list_evaluations(state_store(job))[f"ds={DAY}"] == files[1:]


def test_results_that_readers_no_longer_see_are_no_news(bare_lake: Lake) -> None:
    gates = Gates(estimated=Estimated(metric="roc_auc", min=0.999))
    job, first, _ = replaced_day(bare_lake, gates=gates)
    records = evaluate(job, NOW, run_id=first.run_id).records
    assert [record.is_replaced for record in records] == [True]
    assert judge_evaluations(job, records) == []
    published = evaluate(job, NOW).records
    assert [one.severity for one in judge_evaluations(job, published)] == ["critical"]


def test_what_cannot_be_evaluated_says_why(bare_lake: Lake) -> None:
    job, first, _ = replaced_day(bare_lake)
    with pytest.raises(PartitionNotFoundError, match="no run of this id") as caught:
        evaluate(job, NOW, run_id=run_id(9))
    assert caught.value.next_step == "`nightscore runs test` lists the newest runs"

    state_store(job).delete_tree("sealed")
    for path in Path(bare_lake.root).rglob(f"{first.run_id}*.parquet"):
        path.unlink()
    with pytest.raises(PartitionNotFoundError, match="were removed") as caught:
        evaluate(job, NOW, run_id=first.run_id)
    assert caught.value.problems
    assert f"nightscore history test {DAY}" in caught.value.next_step


def test_what_was_published_and_known_at_a_time(bare_lake: Lake) -> None:
    job, first, second = replaced_day(bare_lake)
    assert first.finished_at is not None
    assert second.finished_at is not None
    later = second.finished_at + timedelta(days=1)
    evaluate(job, later)
    evaluate(job, later, run_id=first.run_id)

    (known,) = performance_known_at(job, [DAY], later).partitions
    assert (known.run_id, known.labelled_share) == (second.run_id, 1.0)
    (known,) = performance_known_at(job, [DAY], second.finished_at).partitions
    assert (known.run_id, known.realised) == (second.run_id, ()), "nothing had been evaluated"
    (known,) = performance_known_at(job, [DAY], first.finished_at).partitions
    assert (known.run_id, known.note) == (first.run_id, "The run has estimated nothing.")

    before = first.finished_at - timedelta(seconds=1)
    with pytest.raises(PartitionNotFoundError, match="nothing to estimate") as caught:
        performance_known_at(job, [DAY], before)
    assert caught.value.found == f"no published results of {DAY} before {before:%F %T} UTC"


def test_a_rollback_is_known_by_what_the_restored_run_has_estimated(bare_lake: Lake) -> None:
    job, first, second = replaced_day(bare_lake)
    estimate = EstimateRecord(metrics=(MetricRecord(name="roc_auc", value=0.9, n=200),))
    restored = first.model_copy(update={"estimate": estimate})
    write_manifest(state_store(job), f"ds={DAY}", restored)
    now = datetime.now(UTC)
    back = roll_back(job, DAY, restored, second.run_id, now, bare_lake.cache)
    assert back.status == "published"
    assert back.finished_at is not None
    assert (back.run_id != first.run_id, back.estimate) == (True, None)

    (known,) = performance_known_at(job, [DAY], back.finished_at).partitions
    assert (known.run_id, known.note) == (first.run_id, "")
    assert known.estimated == estimate.metrics
    evaluate(job, now + timedelta(days=30))
    (known,) = performance_known_at(job, [DAY], now + timedelta(days=31)).partitions
    assert (known.run_id, known.labelled_share) == (first.run_id, 1.0)


def test_by_command(bare_lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job, first, second = replaced_day(bare_lake)
    path = str(save(job, tmp_path))

    def call(*arguments: str) -> str:
        build_app()([*arguments], standalone_mode=False)
        return capsys.readouterr().out

    assert first.run_id in call("evaluate", path, "--run-id", first.run_id)
    with pytest.raises(InvalidJobError, match="A run and a range") as caught:
        call("evaluate", path, "--run-id", first.run_id, "--from", DAY)
    assert caught.value.next_step == f"nightscore evaluate {path} --run-id {first.run_id}"

    call("evaluate", path)
    then = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%d %H:%M:%S}"
    shown = json.loads(call("performance", path, "--as-known-at", then, "--json"))
    (partition,) = shown["partitions"]
    assert (partition["run_id"], partition["labelled_share"]) == (second.run_id, 1.0)
    assert "came true" in call("performance", path, "--as-known-at", then)
