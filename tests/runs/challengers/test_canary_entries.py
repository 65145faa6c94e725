"""When a canary began and ended, as the release log has it; what backfills make of that."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from nightscore.arrow.assignment import Assignment
from nightscore.cli.app import build_app
from nightscore.engine.base_pool import BasePool
from nightscore.errors import StorageError
from nightscore.flows.ui.artifacts import state_message
from nightscore.ledger.canary_log import CanaryLog, canary_at
from nightscore.ledger.release_log import ReleaseLog
from nightscore.models.cache import ModelCache
from nightscore.operations.backfill import plan_backfill
from nightscore.operations.backfill_runner import score_items
from nightscore.runs.challengers import canary
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord, FindingRecord, read_record
from nightscore.schemas.release_entry import CanaryEntry, OutcomeRecord, ReleaseEntry, VersionRecord
from tests.support.lake import Lake
from tests.support.models import KnownModel, copy_registry, make_frame, register

GOLDEN = Path(__file__).parents[2] / "golden"
TODAY = datetime.now(UTC).date()
N_ROWS = 60


@pytest.fixture(scope="module")
def versions(
    tmp_path_factory: pytest.TempPathFactory, registry_root: Path, models: dict[str, KnownModel]
) -> str:
    """A registry in which `hgb_binary` has a second version, the challenger."""
    root = tmp_path_factory.mktemp("canaries")
    uri = copy_registry(registry_root, root)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    register(client, "hgb_binary", registry_root / "models" / "pipeline_strict")
    client.set_registered_model_alias("hgb_binary", "challenger", "2")
    return uri


@pytest.fixture
def lake(tmp_path: Path, versions: str, pool: BasePool, cache: ModelCache) -> Lake:
    lake = Lake(str(tmp_path / "lake"), {}, versions, pool, cache, formats="parquet")
    for n_days in range(-2, 3):
        lake.write(day(n_days), make_frame(N_ROWS, seed=n_days + 2))
    return lake


def day(n_days: int) -> str:
    """The date so many days after today."""
    return (TODAY + timedelta(days=n_days)).isoformat()


def canary_job(lake: Lake, **changes: Any) -> ScoringJob:
    """A job with a canary, whose models are aliases."""
    release = {
        "challenger": "models:/hgb_binary@challenger",
        "mode": "canary",
        "share": 0.5,
        "salt": "one",
    }
    return lake.job("models:/hgb_binary@champion", release=release | changes)


def entries_of(job: ScoringJob) -> list[CanaryEntry]:
    return CanaryLog(ReleaseLog(job, "hgb_binary", "champion"), job.name).read()


def versions_of(lake: Lake, job: ScoringJob, value: str) -> pd.Series:
    """The version of each row of a partition, by key."""
    rows = lake.read(job)
    return rows[rows["ds"] == value].set_index("id")["model_version"].astype(str).sort_index()


def expected_of(lake: Lake, share: float, salt: str, n_days: int) -> list[str]:
    """The versions of a partition's rows, by key."""
    rows = make_frame(N_ROWS, seed=n_days + 2)
    import pyarrow as pa

    arm = Assignment(by=("id",), salt=salt, share=share).arm(pa.table({"id": rows["id"]}))
    return np.where(arm, "2", "1").tolist()


def test_a_run_enters_its_arms_once(lake: Lake) -> None:
    job = canary_job(lake)
    for n_days in (0, 1):
        assert lake.run(job, day(n_days)).canary is not None

    (started,) = entries_of(job)
    assert (started.kind, started.number, started.canary.version) == ("started", 1, "2")
    assert (started.canary.share, started.canary.label) == (0.5, "challenger")

    lake.run(canary_job(lake, share=0.75), day(2))
    lake.run(lake.job("models:/hgb_binary@champion", release={}), day(-1))
    lake.run(lake.job("models:/hgb_binary@champion", release={}), day(-2))
    assert [entry.kind for entry in entries_of(job)] == ["started", "started", "ended"]
    assert ReleaseLog(job, "hgb_binary", "champion").read()[0].entry.kind == "moved"


def test_a_job_whose_section_was_removed_ends_its_canary_once(lake: Lake) -> None:
    job = canary_job(lake)
    assert lake.run(job, day(0)).canary is not None

    plain = lake.job("models:/hgb_binary@champion")
    assert lake.run(plain, day(1)).status == lake.run(plain, day(2)).status == "published"
    assert [entry.kind for entry in entries_of(job)] == ["started", "ended"]
    assert canary_at(entries_of(job), datetime.now(UTC)) is None


def test_a_stopped_canary_starts_again_after_a_promotion_or_with_another_salt(lake: Lake) -> None:
    job = canary_job(lake)
    first = lake.run(job, day(0))
    assert first.canary is not None
    stop(job, number=2)

    alone = lake.run(job, day(1))
    assert alone.status == "published" and alone.canary is None
    assert "the canary was stopped on" in " ".join(alone.warnings)
    assert "score: it fell" in " ".join(alone.warnings)
    n_rows = first.canary.rows
    assert f"; canary: {n_rows} rows by version 2" in state_message(first, job)
    assert "; the canary is stopped" in state_message(alone, job)
    assert lake.run(canary_job(lake, share=0.75), day(1), force=True).canary is None

    assert lake.run(canary_job(lake, salt="two"), day(1), force=True).canary is not None
    promote(job)
    assert lake.run(job, day(2)).canary is not None


def stop(job: ScoringJob, number: int) -> None:
    """Enter that a critical finding has stopped the canary."""
    log = CanaryLog(ReleaseLog(job, "hgb_binary", "champion"), job.name)
    newest = entries_of(job)[-1]
    changes = {"kind": "stopped", "number": number, "why": "score: it fell"}
    log.append(newest.model_copy(update=changes | {"at": datetime.now(UTC)}))


def promote(job: ScoringJob) -> None:
    """Enter a promotion that was completed."""
    log, now = ReleaseLog(job, "hgb_binary", "champion"), datetime.now(UTC)
    newest = log.read()[-1].entry
    number, version = newest.number + 1, VersionRecord(version="1")
    changes = {"kind": "promoted", "number": number, "before": version, "after": version, "at": now}
    log.append(ReleaseEntry.model_validate(newest.model_copy(update=changes).model_dump()))
    log.end(OutcomeRecord(number=number, outcome="done", by="somebody", at=now))


def find_something_critical(
    monkeypatch: pytest.MonkeyPatch, role: str = "feature", *, in_both: bool = False
) -> None:
    """Have each run of a challenger find something critical, or each run of both models."""
    from nightscore.runs.drift_check import DriftCheck

    def assess(check: Any) -> None:
        finding = FindingRecord(
            column="a",
            role=role,
            reference="baseline",
            severity="critical",
            reasons=("PSI 3.1",),
        )
        if in_both or check._execution.job.champion is not None:
            record = DriftRecord(verdict="critical", findings=(finding,))
            check._execution.record.update(drift=record)

    monkeypatch.setattr(DriftCheck, "assess", assess)


def test_a_critical_finding_in_the_challengers_run_stops_the_canary(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_something_critical(monkeypatch)
    job = canary_job(lake)
    manifest = lake.run(job, day(0))
    assert manifest.canary is not None
    assert "so the canary ends: a: PSI 3.1" in " ".join(manifest.warnings)
    assert [entry.kind for entry in entries_of(job)] == ["started", "stopped"]
    assert lake.run(job, day(1)).canary is None

    goes_on = canary_job(lake, on_critical="none", salt="two")
    assert lake.run(goes_on, day(2)).canary is not None
    assert entries_of(job)[-1].kind == "started"


@pytest.mark.parametrize(("role", "kinds"), [("feature", []), ("prediction", ["stopped"])])
def test_an_input_that_is_critical_for_both_models_stops_no_canary(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, role: str, kinds: list[str]
) -> None:
    """Weather that both baselines do not know says nothing of the challenger."""
    find_something_critical(monkeypatch, role, in_both=True)
    job = canary_job(lake)

    lake.run(job, day(0))

    assert [entry.kind for entry in entries_of(job)] == ["started", *kinds]


def test_a_stop_is_entered_beside_another_run_that_begins_other_arms(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_something_critical(monkeypatch)
    append, at_once = CanaryLog.append, iter(["started"])

    def append_second(log: CanaryLog, entry: CanaryEntry) -> None:
        if entry.kind == "stopped" and (kind := next(at_once, None)):
            others = entry.canary.model_copy(update={"share": 0.75})
            append(log, entry.model_copy(update={"kind": kind, "canary": others}))
        append(log, entry)

    monkeypatch.setattr(CanaryLog, "append", append_second)
    job = canary_job(lake)
    assert lake.run(job, day(0)).canary is not None
    assert [entry.kind for entry in entries_of(job)] == ["started", "started", "stopped"]
    assert lake.run(job, day(1)).canary is None


def test_a_run_that_had_begun_does_not_start_a_stopped_canary_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = canary_job(lake)
    lake.run(job, day(0))
    stop(job, number=2)

    # It has looked at the log before the other run has stopped the canary.
    monkeypatch.setattr(canary, "why_stopped", lambda *_: "")
    assert lake.run(canary_job(lake, share=0.75), day(1)).canary is not None
    assert [entry.kind for entry in entries_of(job)] == ["started", "stopped"]
    assert canary_at(entries_of(job), datetime.now(UTC)) is None


def test_fewer_rows_than_in_its_shadow_do_not_stop_a_canary(lake: Lake) -> None:
    for n_days in (-1, 0):
        lake.write(day(n_days), make_frame(1_200, seed=n_days + 2))
    release = {"challenger": "models:/hgb_binary@challenger"}
    shadow = lake.job("models:/hgb_binary@champion", release=release)
    assert [record.status for record in lake.run(shadow, day(-1)).challengers] == ["published"]

    job = canary_job(lake, share=0.05)
    manifest = lake.run(job, day(0))
    assert manifest.canary is not None
    assert [record.status for record in manifest.challengers] == ["published"]
    assert "so the canary ends" not in " ".join(manifest.warnings)
    assert [entry.kind for entry in entries_of(job)] == ["started"]
    assert lake.run(job, day(1)).canary is not None


def test_a_backfill_months_later_has_the_arms_of_each_date(lake: Lake) -> None:
    job = canary_job(lake)
    before = versions_of(lake, job, day(0)) if lake.run(job, day(0)).canary else None
    assert before is not None

    # Months later: another share and salt, another alias, and in the end no canary at all.
    later = canary_job(lake, share=0.25, salt="two")
    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    client.set_registered_model_alias("hgb_binary", "challenger", "1")
    try:
        backfill(lake, later)
    finally:
        client.set_registered_model_alias("hgb_binary", "challenger", "2")

    pd.testing.assert_series_equal(versions_of(lake, job, day(0)), before)
    assert versions_of(lake, job, day(0)).tolist() == expected_of(lake, 0.5, "one", 0)

    # Never published: as the log says of their dates, and alone before its first entry.
    assert versions_of(lake, job, day(1)).tolist() == expected_of(lake, 0.5, "one", 1)
    assert set(versions_of(lake, job, day(-1))) == {"1"}

    plain = lake.job("models:/hgb_binary@champion", release=None)
    backfill(lake, plain)
    pd.testing.assert_series_equal(versions_of(lake, job, day(0)), before)
    assert set(versions_of(lake, job, day(-2))) == {"1"}


def test_a_plan_says_which_dates_have_arms_and_why(lake: Lake) -> None:
    job, plain = canary_job(lake), lake.job("models:/hgb_binary@champion", release={})
    days = [day(n_days) for n_days in range(-2, 3)]
    assert lake.run(plain, day(-2)).canary is None

    # The job has just become a canary: nothing has arms, and each date says why.
    plan = plan_backfill(job, lake.cache, days, ["all"])
    reasons = {item.value: item.arms for item in plan.items}
    assert {item.share for item in plan.items} == {None}
    assert reasons.pop(day(-2)) == "published without any, and a backfill keeps that"
    assert set(reasons.values()) == {"the release log has no canary of this job yet"}
    assert f"No arms in 4 partitions ({day(-1)} to {day(2)}): the release log" in plan.notes[1]
    again = "`nightscore run test PARTITION`, with `--force` if it is published, scores a partition"
    assert again in plan.notes[-1]

    # Its first night has begun it, and what is planned is what is scored.
    assert lake.run(job, day(0)).canary is not None
    plan = plan_backfill(job, lake.cache, days, ["all"])
    items = {item.value: item for item in plan.items}
    arms = "version 2 scores 50 % of the keys (by id, salt one)"
    assert items[day(0)].arms == f"{arms}, as published"
    assert items[day(1)].arms == f"{arms}, by the release log at the end of the date"
    assert items[day(-1)].arms == f"before {TODAY}, when the job's first canary began"
    assert f"Arms in 2 partitions ({day(1)} to {day(2)}): {arms}" in " ".join(plan.notes)

    scored = score_items(job, plan.to_score, lake.cache)
    shares = [one.canary.share if one.canary else None for one in scored]
    assert shares == [item.share for item in plan.to_score]

    # Arms are told of a job that has no canary any more; one that never had any is told nothing.
    assert "No arms in 2 partitions" in plan_backfill(plain, lake.cache, days, ["all"]).notes[0]
    assert not plan_backfill(plain, lake.cache, days[:1], ["all"]).notes


def backfill(lake: Lake, job: ScoringJob) -> None:
    """Score all partitions again."""
    values = [day(n_days) for n_days in range(-2, 3)]
    plan = plan_backfill(job, lake.cache, values, ["all"])
    manifests = score_items(job, plan.to_score, lake.cache)
    assert [one.status for one in manifests] == ["published"] * len(values)


def test_the_log_says_which_arms_were_in_force_when(lake: Lake) -> None:
    job = canary_job(lake)
    lake.run(job, day(0))
    stop(job, number=2)
    started, stopped = entries_of(job)

    second = timedelta(microseconds=1)
    assert canary_at([started, stopped], started.at - second) is None
    assert canary_at([started, stopped], started.at) == started.canary
    assert canary_at([started, stopped], stopped.at) is None
    assert canary_at([started], stopped.at + timedelta(days=400)) == started.canary
    assert date.fromisoformat(day(0)) == TODAY


def test_by_command(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    path = tmp_path / "job.json"
    path.write_text(canary_job(lake).model_dump_json())

    def call(*arguments: str) -> str:
        assert not build_app()([*arguments], standalone_mode=False)
        return capsys.readouterr().out

    told = call("run", str(path), day(0))
    n_rows = expected_of(lake, 0.5, "one", 0).count("2")
    arms = f"version 2 scored 50 % of the keys (by id, salt one), {n_rows} rows"
    assert f"canary:      {arms}; model_version says which" in told
    assert f"canary: {arms}" in call("explain", str(path), day(0)).replace("\n", " ")

    page = tmp_path / "page.html"
    call("report", str(path), day(0), "-o", str(page))
    assert "version 2 scored 50 % of the keys" in page.read_text()
    assert "nightscore report test@challenger" in page.read_text()

    at = ("--at", day(0))
    assert "A canary was under way: version 2 scored 50 %" in call("releases", str(path), *at)
    assert json.loads(call("releases", str(path), *at, "--json"))["canary"]["share"] == 0.5

    stop(canary_job(lake), number=2)
    for command in (("check", str(path)), ("plan", str(path), day(1))):
        said = " ".join(call(*command).split())
        assert "would not score: The canary was stopped on" in said
        assert "another release.salt starts it again" in said
    assert "A canary" not in call("releases", str(path), "--at", day(1))
    shown = call("releases", str(path))
    assert "Canaries of this job" in shown and "score: it fell" in shown
    kinds = [entry["kind"] for entry in json.loads(call("releases", str(path), "--json"))]
    assert kinds == ["moved", "started", "stopped"]


def test_a_canary_ends_once_its_challenger_is_the_champion(lake: Lake) -> None:
    job = canary_job(lake)
    assert lake.run(job, day(0)).canary is not None

    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    client.set_registered_model_alias("hgb_binary", "champion", "2")
    try:
        alone = lake.run(job, day(1))
        lake.run(job, day(2))
    finally:
        client.set_registered_model_alias("hgb_binary", "champion", "1")

    assert alone.canary is None and alone.model.version == "2" and not alone.challengers
    assert [entry.kind for entry in entries_of(job)] == ["started", "ended"]


def test_an_entry_written_once_is_read_for_ever() -> None:
    text = (GOLDEN / "canary-1.json").read_text()
    entry = read_record(text, CanaryEntry)
    assert json.loads(entry.model_dump_json()) == json.loads(text)
    assert entry.canary.assigned[3:] == [0.05, "2026-11", ["customer_id"], "xxh64"]


def test_a_broken_entry_is_named_and_costs_no_run(lake: Lake) -> None:
    job = canary_job(lake)
    lake.run(job, day(0))
    log = ReleaseLog(job, "hgb_binary", "champion")
    store, folder = log.canaries(job.name)
    store.write_bytes(f"{folder}/00000001.json", b"{")

    with pytest.raises(StorageError, match="cannot be read") as caught:
        CanaryLog(log, job.name).read()
    assert caught.value.where.endswith("/canaries/test/00000001.json")

    manifest = lake.run(job, day(1))
    assert manifest.status == "published"
    assert "the release log was not looked at" in " ".join(manifest.warnings)
