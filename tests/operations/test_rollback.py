"""Earlier results are put back without computing, by commit, and on the record."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nightscore.cli.app import build_app
from nightscore.errors import InvalidJobError
from nightscore.ledger.layout import predictions_store
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.operations.clean import clean
from nightscore.operations.history import run_history
from nightscore.operations.partitions import partition_statuses
from nightscore.operations.replay import replay
from nightscore.operations.rollback import (
    choose_target,
    plan_rollback,
    publications,
    restorable_run,
    roll_back,
)
from nightscore.outputs.guarantees import decisions
from nightscore.outputs.publish import open_publisher
from nightscore.reports.run_page import _decision_step, _repair_step
from nightscore.runs.execution import Execution, RunInterrupted
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-02-29"

OF_THE_RESTORED_RUN = {"canary", "model", "inputs", "in_order", "counts", "quarantine"}
"""Fields of a rollback's record that say again what the restored run's record says."""
OF_THE_ROLLBACK = {
    *("schema_version", "run_id", "status", "job", "partition_key", "partition", "attempts"),
    *("started_at", "finished_at", "host", "pid", "engine", "location", "warnings", "error"),
    *("restores", "replaces"),
    "fingerprint",  # of a run now, so that a nightly run leaves the rollback alone
    "output",  # the same files, where this commit has put them
    "measures",  # what this has cost
}
"""Fields that are the rollback's own."""
ONLY_OF_THE_RESTORED_RUN = {
    *("forced", "replays", "libraries", "policy", "predictor", "columns", "gates", "drift"),
    *("estimate", "decision", "sample", "challengers", "champion_run_id", "champion_model"),
    "flag",
}
"""Fields that `restores` leads to: a rollback computes, compares and judges nothing."""


def put_back(lake: Lake, job: ScoringJob, **options: Any) -> Manifest:
    (item,) = plan_rollback(job, [DAY], **options)
    assert item.action == "roll back", item
    assert item.target is not None
    return roll_back(job, DAY, item.target, item.live_run_id, datetime.now(UTC), lake.cache)


def history_of(job: ScoringJob) -> list[Manifest]:
    """The runs that published the partition, the one that readers see last."""
    return publications(run_history(job, DAY, everything=False))[::-1]


def predictions(lake: Lake, job: ScoringJob) -> Any:
    return lake.read(job).sort_values("id").reset_index(drop=True)


def test_the_results_before_come_back_and_stay(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(300))
    first = any_lake.run(any_lake.job("hgb_binary"))
    old = predictions(any_lake, any_lake.job())
    second = any_lake.run(any_lake.job("logistic"))
    new = predictions(any_lake, any_lake.job())
    assert not np.array_equal(old["probability"], new["probability"])
    job = any_lake.job("logistic")

    back = put_back(any_lake, job)

    assert (back.status, back.restores, back.model.name) == (
        "published",
        first.run_id,
        "hgb_binary",
    )
    assert back.run_id not in (first.run_id, second.run_id)
    assert back.counts == first.counts
    assert predictions(any_lake, job).equals(old)
    # The same job finds it published, though its model is the other: somebody decided so.
    assert any_lake.run(job).status == "unchanged"
    (status,) = partition_statuses(job, PinnedModel.resolve(job, any_lake.cache), [DAY])
    assert status.state == "published"
    assert status.reasons == (f"rolled back to run {first.run_id}; nothing has changed since",)
    # New input is another matter.
    any_lake.write(DAY, make_frame(310))
    assert any_lake.run(job).status == "published"
    assert len(predictions(any_lake, job)) == 310
    # And back and forth, by run and by time.
    assert put_back(any_lake, job, run_id=second.run_id).restores == second.run_id
    assert predictions(any_lake, job).equals(new)
    assert first.finished_at is not None
    assert put_back(any_lake, job, before=first.finished_at).restores == first.run_id
    assert predictions(any_lake, job).equals(old)
    history = publications(run_history(job, DAY, everything=False))
    assert [m.restores for m in history][:2] == [first.run_id, second.run_id]
    assert len(history) == 6


def test_what_clean_has_removed_is_refused(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(100))
    first = any_lake.run(any_lake.job("hgb_binary"))
    any_lake.run(any_lake.job("logistic"))
    job = any_lake.job("logistic")
    seen = predictions(any_lake, job)
    later = datetime.now(UTC) + timedelta(seconds=5)
    clean(job, later, timedelta(0), delete=True)
    (item,) = plan_rollback(job, [DAY])
    assert item.action == "roll back"  # without being asked to, it keeps what was replaced
    clean(job, later, timedelta(0), timedelta(0), delete=True)
    (item,) = plan_rollback(job, [DAY])
    assert item.action == "roll back"  # readers may have them open
    clean(job, later + timedelta(days=1), timedelta(0), timedelta(days=1), delete=True)
    (item,) = plan_rollback(job, [DAY])
    assert item.action == "refuse"
    assert item.reason.startswith("its results were removed: ")
    assert predictions(any_lake, job).equals(seen)
    (item,) = plan_rollback(job, [DAY], run_id=first.run_id)
    assert item.action == "refuse"


def test_a_run_that_came_between_is_a_conflict(lake: Lake) -> None:
    lake.write(DAY, make_frame(50))
    lake.run(lake.job("hgb_binary"))
    lake.run(lake.job("logistic"))
    job = lake.job("logistic")
    (item,) = plan_rollback(job, [DAY])
    between = lake.run(job, force=True)
    assert item.target is not None
    refused = roll_back(job, DAY, item.target, item.live_run_id, datetime.now(UTC), lake.cache)
    assert refused.error
    assert refused.error.type == "ConflictError"
    live = open_publisher(Workspace(job)).live(DAY)
    assert live is not None
    assert live.run_id == between.run_id


def test_a_failed_or_interrupted_run_is_no_result(lake: Lake) -> None:
    lake.write(DAY, make_frame(50))
    first = lake.run(lake.job())

    def interrupt(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(RunInterrupted):
        lake.run(lake.job("logistic"), listeners=[interrupt])
    (item,) = plan_rollback(lake.job(), [DAY])
    assert (item.action, item.reason) == ("refuse", "there are no earlier results")
    (item,) = plan_rollback(lake.job(), ["2024-03-01"])
    assert (item.action, item.reason) == ("leave", "nothing was ever published")
    with pytest.raises(InvalidJobError, match="published none of these"):
        plan_rollback(lake.job(), [DAY], run_id="nobody")
    with pytest.raises(InvalidJobError, match="not both"):
        plan_rollback(lake.job(), [DAY], run_id=first.run_id, before=datetime.now(UTC))


def test_the_target_is_chosen_by_what_was_seen(lake: Lake) -> None:
    lake.write(DAY, make_frame(10))
    a = lake.run(lake.job("hgb_binary"))
    b = lake.run(lake.job("logistic"))
    c = put_back(lake, lake.job("logistic"))
    history = publications([a, b, c])
    assert [m.run_id for m in history] == [c.run_id, b.run_id, a.run_id]
    live = a.run_id
    assert choose_target(history, live, None, None)[0] == "leave", (
        "given again it would undo itself"
    )
    assert choose_target(history[1:], b.run_id, None, None)[2] == a
    assert choose_target(history, live, c.run_id, None)[0] == "leave"
    assert b.finished_at is not None
    assert choose_target(history, live, None, b.finished_at)[2] == b
    assert choose_target(history, live, None, datetime(2020, 1, 1, tzinfo=UTC))[0] == "refuse"


def test_by_command(lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake.write(DAY, make_frame(20))
    first = lake.run(lake.job("hgb_binary"))
    second = lake.run(lake.job("logistic"))
    assert restorable_run(lake.job(), first) is None, "there was nothing before it"
    assert restorable_run(lake.job(), second) == first.run_id
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(lake.job("logistic").model_dump(mode="json")))

    def call(*arguments: str) -> Any:
        code = build_app()([*arguments, "--json"], standalone_mode=False)
        return code or 0, json.loads(capsys.readouterr().out)

    dates = ("--from", "2024-02-28", "--to", DAY, "--cache-dir", str(lake.cache.root))
    code, planned = call("rollback", str(path), *dates, "--dry-run")
    assert code == 0
    assert [(item["partition"], item["action"]) for item in planned["plan"]] == [
        ("2024-02-28", "leave"),
        (DAY, "roll back"),
    ]
    assert not planned["runs"]
    code, done = call("rollback", str(path), *dates)
    assert [run["status"] for run in done["runs"]] == ["published"]
    _, shown = call("history", str(path), DAY)
    assert [row["results"] for row in shown] == ["seen now", "can be put back", "restored above"]
    assert shown[0]["rollback to"] == shown[2]["run"]
    assert len(predictions_store(lake.job()).list_files()) > 0


def test_no_advice_that_would_be_refused(lake: Lake) -> None:
    """A report names a rollback, and a held run its approval, only where these can be done."""
    job = lake.job().remember("late.yaml")
    record = Execution(
        Workspace(job), DAY, pool=lake.pool, cache=lake.cache, now=datetime.now(UTC)
    ).record.manifest
    assert "no earlier results" in _repair_step(job, record, None)
    rollback = f"`nightscore rollback late.yaml --from {DAY} --to {DAY} --run-id 01a`"
    assert _repair_step(job, record, "01a").endswith(rollback)

    held = record.model_copy(update={"status": "held"})
    assert decisions(held, "late.yaml") == (
        f"nightscore approve late.yaml {DAY}",
        f"nightscore reject late.yaml {DAY}",
    )
    on_azure = {"output": held.output.model_copy(update={"uri": "az://lake/predictions"})}
    held = held.model_copy(update=on_azure)
    assert decisions(held, "late.yaml") == ()
    assert "approve" not in _decision_step(job, held)
    assert f"`nightscore run late.yaml {DAY} --force`" in _decision_step(job, held)


def test_every_field_of_a_rollback_s_record_is_decided(lake: Lake) -> None:
    groups = (OF_THE_RESTORED_RUN, OF_THE_ROLLBACK, ONLY_OF_THE_RESTORED_RUN)
    named = [name for group in groups for name in group]
    assert sorted(named) == sorted(Manifest.model_fields), "decide who fills a new field"

    frame = make_frame(50)
    frame.loc[[3, 7], "b"] = None
    lake.write(DAY, frame)
    strict = lake.job(policy={"missing": "quarantine"}, limits={"max_quarantined_rows": 10})
    lake.run(strict)
    lake.features.delete([entry.path for entry in lake.features.list_files()])
    loose = lake.job()
    now = datetime.now(UTC)
    replayed = replay(loose, DAY, pool=lake.pool, cache=lake.cache, now=now)
    assert not replayed.in_order
    lake.write(DAY, make_frame(60))
    lake.run(loose)

    for target in history_of(loose):
        back = put_back(lake, loose, run_id=target.run_id)
        for name in OF_THE_RESTORED_RUN:
            assert getattr(back, name) == getattr(target, name), name
        for name in ONLY_OF_THE_RESTORED_RUN:
            assert getattr(back, name) == Manifest.model_fields[name].default, name
        assert back.output.files, "these are visible again"
