"""Where the decision between a job's model and its challenger stands."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from sklearn.metrics import log_loss

from nightscore.cli.app import build_app
from nightscore.errors import LabelError, ScoringError
from nightscore.ledger.evaluation_files import (
    list_evaluations,
    newest_evaluations,
    write_evaluation,
)
from nightscore.ledger.manifest_files import write_manifest
from nightscore.ledger.run_record import RunRecord
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.performance.champion_columns import OTHER_OUTPUT
from nightscore.monitoring.performance.metrics.paired_losses import compare_binary
from nightscore.operations.evaluate import evaluate
from nightscore.operations.standing import decide, find_comparison, standings
from nightscore.schemas.challenger_jobs import challenger_job, challenger_jobs
from nightscore.schemas.comparison import LossSums, PairedRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import ModelRecord
from nightscore.schemas.performance import EstimateRecord, MetricRecord
from tests.support.evaluations import recorded
from tests.support.lake import Lake
from tests.support.outcomes import NOW, labelled_job, labels_of, predictions, publish, write_labels
from tests.support.publications import run_id

CHALLENGER = "models:/m/8"


def days(n_days: int) -> list[str]:
    first = date(2024, 3, 1)
    return [str(first + timedelta(days=day)) for day in range(n_days)]


def job_with_challenger(lake: Lake, **changes: Any) -> ScoringJob:
    return labelled_job(lake, release={"challenger": CHALLENGER}, **changes)


def publish_both(
    job: ScoringJob,
    day: str,
    champion: pl.DataFrame,
    challenger: pl.DataFrame,
    n: int,
    *,
    champion_version: str = "7",
    estimated: tuple[float, float] | None = None,
) -> None:
    """A day that both models have scored, as a run with a challenger publishes it."""
    own = challenger_job(job, CHALLENGER)
    columns = [name for name in champion.columns if name.startswith(("prediction", "probability"))]
    beside = champion.select(pl.col(columns).name.prefix("champion_"))
    runs = publish(job, day, champion, n), publish(own, day, challenger.hstack(beside), 500 + n)

    for place, (spec, run) in enumerate(zip((job, own), runs, strict=True)):
        update: dict[str, Any] = {
            "model": ModelRecord(
                uri=spec.model, name="m", version="8" if place else champion_version
            )
        }
        if place:
            update["champion_run_id"] = runs[0].run_id
            update["champion_model"] = ModelRecord(
                uri=job.model, name="m", version=champion_version
            )
        if estimated is not None:
            value = estimated[place]
            metric = MetricRecord(
                name="log_loss", value=value, low=value - 0.01, high=value + 0.01, n=100
            )
            update["estimate"] = EstimateRecord(metrics=(metric,))

        folder = f"ds={day}"
        write_manifest(Workspace(spec).state, folder, run.model_copy(update=update))


def noisy(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Scores of a model that knows less."""
    noise = np.random.default_rng(seed).normal(0, 1.2, rows.height)
    score = rows["probability"].to_numpy().clip(0.01, 0.99)
    worse = 1 / (1 + np.exp(-(np.log(score / (1 - score)) + noise)))
    return rows.with_columns(probability=worse, prediction=(worse > 0.5).astype("int64"))


def publish_nights(
    lake: Lake, n_nights: int, *, is_better: bool = True, n_rows: int = 200
) -> tuple[ScoringJob, dict[str, tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]]]:
    """Nights of a model and of one that knows more, with all labels: champion's, challenger's rows
    and labels by day."""
    job = job_with_challenger(lake)
    nights = {}
    for n, day in enumerate(days(n_nights)):
        rows = predictions(n_rows, seed=n)
        both = (noisy(rows, n), rows) if is_better else (rows, noisy(rows, n))
        publish_both(job, day, *both, n=n)
        nights[day] = (*both, labels_of(rows, day, seed=n))

    write_labels(lake, pl.concat(labels for _, _, labels in nights.values()))
    return job, nights


def test_evaluate_pairs_both_models_on_the_same_rows(bare_lake: Lake) -> None:
    job, nights = publish_nights(bare_lake, 2)
    done = evaluate(job, NOW)
    done.check()

    records = done.challengers["8"].records
    assert [record.partition for record in records] == days(2)
    for record in records:
        champion, challenger, labels = nights[record.partition or ""]
        losses = [log_loss(labels["late"], rows["probability"]) for rows in (champion, challenger)]
        assert record.paired is not None
        assert record.paired.losses[0].champion == pytest.approx(losses[0])
        assert record.paired.losses[0].difference == pytest.approx(losses[1] - losses[0])
        assert (record.paired.n, record.paired.champion_version) == (200, "7")

    assert all(record.paired is None for record in done.records)
    again = evaluate(job, NOW)
    assert again.challengers["8"].unchanged == tuple(days(2))


def test_rows_that_one_has_refused_are_in_no_pair(bare_lake: Lake) -> None:
    job = job_with_challenger(bare_lake)
    rows = predictions(100)
    is_refused = pl.col("id") < 30
    champion = rows.with_columns(
        pl.when(~is_refused).then("prediction"), pl.when(~is_refused).then("probability")
    )
    publish_both(job, days(1)[0], champion, rows, n=1)
    write_labels(bare_lake, labels_of(rows, days(1)[0]))

    (record,) = evaluate(job, NOW).challengers["8"].records
    assert record.paired is not None
    assert (record.counts.labelled, record.paired.n) == (100, 70)


def test_corrected_labels_give_a_new_record(bare_lake: Lake) -> None:
    job, nights = publish_nights(bare_lake, 1)
    evaluate(job, NOW)
    champion, challenger, labels = nights[days(1)[0]]
    write_labels(bare_lake, labels.with_columns(late=1 - pl.col("late")))

    (record,) = evaluate(job, NOW + timedelta(days=1)).challengers["8"].records
    assert record.number == 2
    assert record.paired is not None
    losses = [log_loss(1 - labels["late"], rows["probability"]) for rows in (champion, challenger)]
    assert record.paired.losses[0].difference == pytest.approx(losses[1] - losses[0])


@pytest.mark.parametrize("is_better", [True, False])
def test_nights_decide(bare_lake: Lake, is_better: bool) -> None:
    job, _ = publish_nights(bare_lake, 1, is_better=is_better, n_rows=1_500)
    evaluate(job, NOW)

    # Evaluations of six more nights, as others like it would write them.
    own = challenger_job(job, CHALLENGER)
    for n, day in enumerate(days(7)[1:], start=1):
        rows = predictions(1_500, seed=n)
        champion, challenger = (noisy(rows, n), rows) if is_better else (rows, noisy(rows, n))
        paired = compare_binary(
            champion["probability"].to_numpy(),
            challenger["probability"].to_numpy(),
            labels_of(rows, day, seed=n)["late"].to_numpy() == 1,
            threshold=0.5,
        ).model_copy(update={"champion_name": "m", "champion_version": "7"})
        recorded(own, day, (0.7, 0.6, 0.8), model_version="8", paired=paired)

    (found,) = standings(job)

    assert (found.champion, found.challenger, found.by) == ("7", "8", "labels")
    assert found.verdict == ("better" if is_better else "worse")
    assert (found.nights, found.rows, found.first) == (7, 10_500, "2024-03-01")
    assert found.mcnemar is not None
    assert {area.name for area in found.areas} > {"roc_auc_difference"}

    assert find_comparison(job, "7", "8", "m") == found
    assert find_comparison(job, "6", "8", "m") is None, "another version was live"
    assert find_comparison(job, "7", "9", "m") is None
    assert find_comparison(job, "7", "8", "other") is None, "a version 8 of another model"


def test_nights_that_are_no_fair_comparison_are_left_out(bare_lake: Lake) -> None:
    job, nights = publish_nights(bare_lake, 4)
    evaluate(job, NOW)

    first, rows = days(4)[0], nights[days(4)[0]]
    publish_both(job, first, rows[0], rows[1], n=20, champion_version="6")
    soon = datetime(2024, 3, 6, tzinfo=UTC)
    publish_both(job, days(4)[3], *nights[days(4)[3]][:2], n=30)
    immature = job.model_copy(
        update={"labels": job.labels and job.labels.model_copy(update={"matured_after": "3d"})}
    )
    evaluate(immature, soon)

    found = decide(job, CHALLENGER)
    assert (found.verdict, found.nights) == ("undecided", 2)
    assert found.notes == (
        "1 partition left out: of other versions",
        "1 partition left out: not matured, or the labelled rows are a selection by score",
    )


def test_records_from_before_names_of_champions_are_no_evidence_until_evaluated_again(
    bare_lake: Lake,
) -> None:
    job, _ = publish_nights(bare_lake, 2)
    evaluate(job, NOW)
    own = challenger_job(job, CHALLENGER)

    state = Workspace(own).state
    for day, (file,) in list_evaluations(state).items():
        record = json.loads(state.read_bytes(file.path))
        del record["paired"]["champion_name"]
        older = replace(file, work="0123")
        state.write_bytes(older.path, json.dumps(record | {"work": "0123"}).encode())
        state.delete([file.path])
        assert day.startswith("ds=2024-03")

    found = decide(job, CHALLENGER)
    assert (found.verdict, found.nights) == ("unknown", 0)
    assert found.notes[-1] == (
        "2 partitions left out: evaluated before records named the champion's registered model; "
        "`nightscore evaluate` does it again"
    )

    assert len(evaluate(job, NOW).challengers["8"].records) == 2
    assert decide(job, CHALLENGER).nights == 2


def test_nights_with_a_champion_of_another_model_are_left_out(bare_lake: Lake) -> None:
    job, _ = publish_nights(bare_lake, 2)
    evaluate(job, NOW)
    own = challenger_job(job, CHALLENGER)
    (record, _) = newest_evaluations(Workspace(own).state, None)
    assert record.paired is not None

    paired = record.paired.model_copy(update={"champion_name": "another"})
    changes = {"paired": paired, "partition": days(3)[2]}
    write_evaluation(Workspace(own).state, record.model_copy(update=changes), b"", b"")

    found = decide(job, CHALLENGER)
    assert (found.nights, found.notes) == (2, ("1 partition left out: of other versions",))


def test_a_replaced_run_that_is_evaluated_is_no_night(bare_lake: Lake) -> None:
    job, nights = publish_nights(bare_lake, 2)
    first, (champion, _, labels) = days(2)[0], nights[days(2)[0]]
    evaluate(job, NOW)
    before = decide(job, CHALLENGER)

    own = challenger_job(job, CHALLENGER)
    replaced = run_id(500)
    publish_both(job, first, champion, champion, n=50)
    between = decide(job, CHALLENGER)
    assert (between.nights, between.notes) == (
        1,
        (
            "1 partition left out: published again since they were evaluated; "
            "`nightscore evaluate` evaluates what is new",
        ),
    )

    evaluate(job, NOW)
    after = decide(job, CHALLENGER)
    assert (after.nights, after.notes) == (2, ())
    assert after.losses[0].difference > before.losses[0].difference + 0.01

    write_labels(bare_lake, labels.with_columns(late=1 - pl.col("late")))
    (record,) = evaluate(own, NOW + timedelta(days=1), run_id=replaced).records
    assert (record.is_replaced, record.partition) == (True, first)
    assert decide(job, CHALLENGER) == after


@pytest.mark.parametrize(
    ("first", "second", "verdict", "is_of"),
    [
        ((9, -0.03), (12, -0.03), "better", "b"),
        ((9, -0.03), (9, 0.0), "no_difference", "b"),
        ((12, -0.03), (7, 0.05), "worse", "b"),
        ((12, -0.03), (4, -0.03), "better", "8"),
    ],
)
def test_of_two_challengers_of_one_version_the_better_evidence_counts(
    bare_lake: Lake,
    first: tuple[int, float],
    second: tuple[int, float],
    verdict: str,
    is_of: str,
) -> None:
    uris = CHALLENGER, "models:/m@b"
    job = labelled_job(bare_lake, release={"challenger": list(uris)})
    rng = np.random.default_rng(1)

    for uri, (n_nights, difference) in zip(uris, (first, second), strict=True):
        for day in days(n_nights):
            sums = LossSums(
                name="log_loss",
                n=400,
                champion=0.4,
                difference=difference + float(rng.normal(0, 0.0005)),
                variance=1e-4,
            )
            pairs = PairedRecord(champion_name="m", champion_version="7", n=400, losses=(sums,))
            own = challenger_job(job, uri)
            recorded(own, day, (0.7, 0.6, 0.8), model_version="8", paired=pairs)

    found = find_comparison(job, "7", "8", "m")
    assert found is not None
    assert (found.verdict, found.n_challengers) == (verdict, 2)
    assert found.notes[-1].startswith(f"of challenger {is_of}; of the same version are also ")


@pytest.mark.parametrize(
    ("estimates", "verdict"), [((0.50, 0.40), "no_harm_seen"), ((0.40, 0.50), "worse")]
)
def test_without_labels_it_is_never_better(
    bare_lake: Lake, estimates: tuple[float, float], verdict: str
) -> None:
    job = job_with_challenger(bare_lake)
    rng = np.random.default_rng(1)
    for n, day in enumerate(days(8)):
        champion, challenger = (value + float(rng.normal(0, 0.002)) for value in estimates)
        rows = predictions(5, seed=n)
        publish_both(job, day, rows, rows, n=n, estimated=(champion, challenger))

    found = decide(job, CHALLENGER)
    assert (found.verdict, found.by, found.nights) == (verdict, "estimates", 8)
    assert not found.is_better_by_labels


def test_nothing_is_known_of_a_challenger_that_has_not_run(bare_lake: Lake) -> None:
    job = job_with_challenger(bare_lake)
    found = decide(job, CHALLENGER)
    assert (found.verdict, found.notes) == ("unknown", ("no run of the challenger is published",))
    assert standings(labelled_job(bare_lake)) == []

    publish(job, days(1)[0], predictions(50))
    write_labels(bare_lake, labels_of(predictions(50), days(1)[0]))
    done = evaluate(job, NOW)
    done.check()
    assert done.challengers["8"].records == ()


def test_a_night_in_which_the_challenger_failed_hides_no_earlier_one(bare_lake: Lake) -> None:
    job = job_with_challenger(bare_lake)
    publish_both(job, days(1)[0], predictions(60), noisy(predictions(60), 1), 1)
    write_labels(bare_lake, labels_of(predictions(60), days(1)[0]))
    evaluate(job, NOW).check()

    workspace = Workspace(challenger_job(job, CHALLENGER))
    RunRecord(workspace, days(2)[1], NOW, "0").fail(ScoringError("The model has no such alias."))
    found = decide(job, CHALLENGER)
    assert (found.champion, found.challenger, found.nights) == ("7", "8", 1)


def test_models_with_other_outputs_are_not_compared(bare_lake: Lake) -> None:
    job = job_with_challenger(bare_lake)
    rows = predictions(50)
    numbers = rows.select("id", prediction=pl.col("probability"))
    publish_both(job, days(1)[0], numbers, rows, n=1)
    write_labels(bare_lake, labels_of(rows, days(1)[0]))

    (record,) = evaluate(job, NOW).challengers["8"].records
    assert record.paired is not None
    assert record.paired.notes == (OTHER_OUTPUT,)
    assert decide(job, CHALLENGER).verdict == "unknown"


def test_commands_print_where_the_decision_stands(
    bare_lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, _ = publish_nights(bare_lake, 3)
    path = tmp_path / "job.yaml"
    document = job.model_dump(mode="json", exclude_defaults=True, exclude={"labels", "release"})
    labels = job.labels.model_dump(mode="json", exclude_defaults=True) if job.labels else {}
    document |= {"labels": labels, "release": {"challenger": CHALLENGER}}
    path.write_text(yaml.safe_dump(document))

    build_app()(["evaluate", str(path)], standalone_mode=False)
    told = capsys.readouterr().out
    assert "test@8: 3 partitions evaluated, 0 unchanged." in told
    assert "Challenger 8 against 7: undecided after 3 nights" in told
    assert "log loss: -" in told

    build_app()(["evaluate", str(path), "--json"], standalone_mode=False)
    own = json.loads(capsys.readouterr().out)["challengers"]["8"]
    assert (own["unchanged"], own["standing"]["verdict"]) == (days(3), "undecided")

    build_app()(["performance", str(path)], standalone_mode=False)
    assert "Challenger 8 against 7: undecided after 3 nights" in capsys.readouterr().out

    page = tmp_path / "page.html"
    build_app()(["performance", str(path), "--json", "-o", str(page)], standalone_mode=False)
    (standing,) = json.loads(capsys.readouterr().out)["challengers"]
    assert standing == own["standing"]
    assert "challenger 8 against 7" in page.read_text()
    assert "undecided after 3 nights" in page.read_text()

    build_app()(["compare", str(path)], standalone_mode=False)
    assert "Challenger 8 against 7: undecided after 3 nights" in capsys.readouterr().out
    build_app()(["compare", str(path), "--json"], standalone_mode=False)
    (compared,) = json.loads(capsys.readouterr().out)["challengers"]
    assert compared["standing"] == own["standing"]


def test_a_challenger_that_cannot_be_evaluated_is_named(bare_lake: Lake) -> None:
    """The champion's records are written all the same."""
    job, _ = publish_nights(bare_lake, 1)
    (own,) = challenger_jobs(job).values()
    rows = predictions(50).rename({"id": "another"})
    publish(own, days(1)[0], rows, n=900)

    done = evaluate(job, NOW)
    assert [record.partition for record in done.records] == days(1)
    (problem,) = done.all_problems
    assert problem.startswith("challenger 8, ")
    assert "do not have each key" in problem
    with pytest.raises(LabelError, match="1 partition could not be evaluated; the others were"):
        done.check()
