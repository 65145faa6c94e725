"""A challenger scores beside the job's own model: both as if alone, and the champion untouched."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nightscore.engine.events import Event, RunPlanned
from nightscore.engine.shard import ChallengerResult, ShardResult, ShardTask
from nightscore.errors import StorageError
from nightscore.ledger.workspace import Workspace
from nightscore.operations import backfill_runner
from nightscore.operations.backfill import BackfillItem
from nightscore.operations.history import run_history
from nightscore.operations.verify import verify
from nightscore.runs.challengers import group, publication
from nightscore.runs.execution import RunInterrupted
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from tests.fakes.pool import InProcessPool
from tests.operations.releases.conftest import DAYS, Lab, any_lab, lab, save_version, write_input
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame

__all__ = ["any_lab", "lab"]
DAY = DAYS[0]
SHADOW = {"release": {"challenger": "models:/delay@challenger"}}


@pytest.fixture
def shadowed(lab: Lab) -> Lab:
    return with_challenger(lab)


def with_challenger(lab: Lab) -> Lab:
    lab.registry.set_alias("delay", "challenger", "2")
    lab.changes = SHADOW
    return lab


def own_job(lab: Lab) -> ScoringJob:
    return challenger_jobs(lab.job)["challenger"]


def own_runs(lab: Lab) -> list[Manifest]:
    return run_history(own_job(lab))


def test_both_are_published_each_into_its_own_table(any_lab: Lab) -> None:
    lab = with_challenger(any_lab)

    manifest = lab.lake.run(lab.job, DAY)

    (record,) = manifest.challengers
    assert (manifest.status, record.status, record.rows) == ("published", "published", 4)
    assert (record.version, record.uri) == ("2", "models:/delay@challenger")
    assert lab.predictions() == {DAY: 0.5}
    own = lab.lake.read(own_job(lab))
    assert own["prediction"].tolist() == [1.5] * 4
    assert own["champion_prediction"].tolist() == [0.5] * 4
    assert set(own["model_version"]) == {"2"}
    assert set(own["run_id"]) == {record.run_id}

    (own_run,) = own_runs(lab)
    assert (own_run.status, own_run.run_id) == ("published", record.run_id)
    assert own_run.champion_run_id == manifest.run_id
    assert own_run.champion_model is not None
    assert own_run.champion_model.version == "1"
    assert own_run.drift is not None
    assert run_history(lab.job) == [manifest]


def test_a_challenger_s_table_is_verified_as_any_other(shadowed: Lab) -> None:
    lab = shadowed
    lab.lake.run(lab.job, DAY)

    found = verify(own_job(lab), DAY, lab.lake.pool, lab.lake.cache, sample_rows=4, seed=1)

    assert (found.is_sound, found.n_rows) == (True, 4), found


@pytest.mark.parametrize("engine", ["library", pytest.param("auto", marks=pytest.mark.thorough)])
def test_predictions_are_those_of_either_model_alone(
    lake: Lake, models: dict[str, KnownModel], engine: str
) -> None:
    if engine == "library":
        lake.pool = InProcessPool()
    frame = make_frame(300)
    lake.write(DAY, frame)
    job = lake.job("hgb_binary", engine=engine, release={"challenger": "models:/logistic/1"})

    manifest = lake.run(job, DAY)

    assert manifest.error is None
    assert [one.status for one in manifest.challengers] == ["published"], manifest.warnings
    champion = lake.read(job).sort_values("id", ignore_index=True)
    own = lake.read(challenger_jobs(job)["1"]).sort_values("id", ignore_index=True)
    first, second = models["hgb_binary"].estimator, models["logistic"].estimator
    features = frame.sort_values("id")[NUMBERS]
    assert np.array_equal(champion["probability"], first.predict_proba(features)[:, 1])
    assert np.array_equal(own["champion_probability"], champion["probability"])
    assert np.array_equal(own["champion_prediction"], champion["prediction"])

    alone = lake.job("logistic", engine=engine, output=f"{lake.root}/alone")
    lake.run(alone, DAY)
    expected = lake.read(alone).sort_values("id", ignore_index=True)
    assert np.array_equal(own["probability"], expected["probability"])
    assert np.array_equal(own["prediction"], second.predict(features))


def test_what_is_published_is_not_scored_again_for_a_new_challenger(lab: Lab) -> None:
    first = lab.lake.run(lab.job, DAY)
    with_challenger(lab)

    again = lab.lake.run(lab.job, DAY)

    assert (again.status, again.run_id) == ("unchanged", first.run_id)
    assert not own_runs(lab)
    forced = lab.lake.run(lab.job, DAY, force=True)
    assert [one.status for one in forced.challengers] == ["published"]
    assert [run.forced for run in own_runs(lab)] == [True]


def test_each_of_several_challengers_goes_on_without_the_others(shadowed: Lab) -> None:
    lab = shadowed
    challengers = ["models:/delay/9", "models:/delay@challenger", "models:/delay/3"]
    lab.changes = {"release": {"challenger": challengers}}

    manifest = lab.lake.run(lab.job, DAY)

    shown = [(one.label, one.status, one.rows) for one in manifest.challengers]
    assert shown == [("9", "refused", 0), ("challenger", "published", 4), ("3", "published", 4)]
    tables = challenger_jobs(lab.job)
    assert lab.lake.read(tables["3"])["prediction"].tolist() == [2.5] * 4


class FailingPool(InProcessPool):
    """Its workers say that each challenger has ended."""

    def score(self, tasks: Sequence[ShardTask], *arguments: Any) -> Iterator[ShardResult]:
        alone = [replace(task, challengers=()) for task in tasks]
        for task, result in zip(tasks, super().score(alone, *arguments), strict=True):
            ended = ChallengerResult(failure="it took 2.5 times the champion's time", cpu_s=0.5)
            yield replace(result, challengers=tuple(ended for _ in task.challengers))


def test_a_challenger_that_ends_leaves_the_champion_as_it_is(shadowed: Lab) -> None:
    lab = shadowed
    lab.lake.pool = FailingPool()

    manifest = lab.lake.run(lab.job, DAY)

    assert (manifest.status, lab.predictions()) == ("published", {DAY: 0.5})
    (record,) = manifest.challengers
    assert (record.status, record.overhead_s) == ("failed", 0.5)
    assert "it took 2.5 times the champion's time" in record.why
    (note,) = [note for note in manifest.warnings if "challenger" in note]
    assert note == (
        "challenger delay version 2 (@challenger) was not published: It ended before all rows were "
        "scored: it took 2.5 times the champion's time; `nightscore runs test@challenger --json` says more"
    )
    (own,) = own_runs(lab)
    assert (own.status, own.error and own.error.type) == ("failed", "ChallengerError")
    assert not Workspace(own_job(lab)).predictions.list_files()
    assert run_history(lab.job) == [manifest], "the stored record says the same"


def test_a_challenger_that_raises_leaves_the_champion_as_it_is(shadowed: Lab) -> None:
    lab = shadowed
    folder = save_version(lab.lake.cache.root / "bad", 1.0)
    (folder / "weights.json").write_text(json.dumps({"a": 1.0, "weather": 1.0}))
    lab.registry.add("delay", folder)
    lab.registry.set_alias("delay", "challenger", "4")

    manifest = lab.lake.run(lab.job, DAY)

    assert (manifest.status, lab.predictions()) == ("published", {DAY: 0.5})
    assert [one.status for one in manifest.challengers] == ["failed"]
    assert [run.status for run in own_runs(lab)] == ["failed"]


def test_a_held_run_does_not_hold_its_challenger(shadowed: Lab) -> None:
    lab = shadowed
    hold = {"gates": {"prediction_range": {"max": -1, "action": "hold"}}}
    lab.changes = SHADOW | hold

    manifest = lab.lake.run(lab.job, DAY)

    assert manifest.status == "held"
    assert [one.status for one in manifest.challengers] == ["published"]
    (own,) = own_runs(lab)
    assert own.status == "published"
    (gate,) = [gate for gate in own.gates if gate.gate == "prediction_range"]
    assert (gate.action, gate.passed) == ("warn", False)


def test_a_run_that_fails_publishes_no_challenger(shadowed: Lab) -> None:
    lab = shadowed
    lab.changes = SHADOW | {"gates": {"prediction_range": {"max": -1}}}

    manifest = lab.lake.run(lab.job, DAY)

    assert (manifest.status, manifest.error and manifest.error.type) == ("failed", "GateError")
    (own,) = own_runs(lab)
    assert own.status == "failed"
    assert own.error is not None
    assert "The run of the job's own model failed" in own.error.what
    assert not Workspace(own_job(lab)).predictions.list_files()


def test_a_table_that_cannot_be_written_costs_the_challenger_only(
    shadowed: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = shadowed

    def refuse(*_: object) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(publication, "publish", refuse)

    manifest = lab.lake.run(lab.job, DAY)

    assert (manifest.status, lab.predictions()) == ("published", {DAY: 0.5})
    assert [(one.status, one.why) for one in manifest.challengers] == [
        ("failed", "The disk is full.")
    ]


def test_an_interruption_while_scoring_ends_both(shadowed: Lab) -> None:
    lab = shadowed

    def interrupt(event: Event) -> None:
        if isinstance(event, RunPlanned):
            raise KeyboardInterrupt

    with pytest.raises(RunInterrupted):
        lab.lake.run(lab.job, DAY, listeners=[interrupt])

    for run in (*run_history(lab.job), *own_runs(lab)):
        assert (run.status, run.error and run.error.type) == ("failed", "InterruptedRunError")
    assert lab.lake.run(lab.job, DAY).status == "published"


def test_an_interruption_after_the_publication_ends_the_challenger_only(
    shadowed: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = shadowed

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(group, "publish_challenger", interrupt)

    with pytest.raises(RunInterrupted) as caught:
        lab.lake.run(lab.job, DAY)

    assert caught.value.manifest.status == "published"
    assert lab.predictions() == {DAY: 0.5}
    assert run_history(lab.job) == [caught.value.manifest]
    assert [run.status for run in own_runs(lab)] == ["failed"]
    monkeypatch.undo()
    assert lab.lake.run(lab.job, DAY).status == "unchanged"


def test_shards_that_are_scored_again_have_no_challenger(shadowed: Lab) -> None:
    lab = shadowed

    class Forgetful(InProcessPool):
        def score(self, *arguments: Any) -> Iterator[ShardResult]:
            for result in super().score(*arguments):
                yield replace(result, challengers=())

    lab.lake.pool = Forgetful()
    manifest = lab.lake.run(lab.job, DAY)

    (record,) = manifest.challengers
    assert (manifest.status, record.status) == ("published", "failed")
    assert "left out of 1 shard that had to be scored again" in record.why


@pytest.mark.parametrize("formats", ["delta", "parquet"])
def test_several_partitions_of_a_backfill(
    shadowed: Lab, formats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are under way at once, and each is published with its challenger."""
    lab = shadowed
    lab.lake.formats = formats
    monkeypatch.setattr(backfill_runner, "open_pool", lambda _: InProcessPool())
    days = ["2024-03-03", "2024-03-02", "2024-03-01", *reversed(DAYS)]
    for day in days:
        write_input(lab.lake, day)
    items = [
        BackfillItem(day, "score", "", model="models:/delay/1", n_rows=4, n_bytes=9) for day in days
    ]

    manifests = backfill_runner.score_items(lab.job, items, lab.lake.cache, [])

    assert [one.status for one in manifests] == ["published"] * 5
    assert [[one.status for one in m.challengers] for m in manifests] == [["published"]] * 5
    frame = lab.lake.read(own_job(lab))
    assert sorted(set(frame["ds"].astype(str))) == sorted(days)
    assert len(frame) == 4 * len(days)
