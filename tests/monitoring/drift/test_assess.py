"""Runs profile their columns, and compare them with the model's baseline and with the days before."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.errors import InputError
from nightscore.ledger.layout import state_store
from nightscore.models.baseline import fetch_baseline
from nightscore.models.model_versions import resolve
from nightscore.models.registries.protocol import BASELINE_TAG
from nightscore.monitoring.drift.wording import verdict_text
from nightscore.operations.approve import approve
from nightscore.operations.baseline import record_baseline
from nightscore.operations.clean import clean
from nightscore.operations.decision import find_held
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.table import Key, from_bytes
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord, FindingRecord, Manifest
from nightscore.storage.store import Store
from tests.cli.test_commands import answer, nightscore, save
from tests.operations.test_replay import STRICT, again
from tests.operations.test_replay import write as write_with_missing
from tests.support.lake import Lake
from tests.support.models import NUMBERS, copy_registry, make_frame

DAY = "2024-02-29"


@pytest.fixture
def own(lake: Lake, registry_root: Path, tmp_path: Path) -> Lake:
    """A lake with a registry of its own, whose versions get baselines."""
    lake.registry = copy_registry(registry_root, tmp_path / "registry")
    return lake


def stored(job: ScoringJob, manifest: Manifest) -> dict[Key, Any]:
    assert manifest.drift
    content = state_store(job).read_bytes(manifest.drift.profile)
    return {column.key: column.profile for column in from_bytes(content)}


def give_baseline(lake: Lake, job: ScoringJob, frame: pd.DataFrame) -> str:
    path = Path(lake.root) / "training.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path)
    return record_baseline(job, str(path), lake.pool, lake.cache).sha256


def test_the_profile_is_that_of_the_rows_however_they_are_cut(any_lake: Lake) -> None:
    frame = make_frame(6_000)
    frame.loc[[1, 2_500, 5_999], "a"] = None
    for name, rows in (("a", frame.iloc[:1_000]), ("b", frame.iloc[1_000:])):
        any_lake.write(DAY, rows, name, row_group_size=700)
    profiles = []
    for workers in (1, 2):
        job = any_lake.job(
            workers={"count": workers}, drift={"columns": ["count"]}, pass_through=["count"]
        )
        manifest = any_lake.run(job, force=True)
        assert manifest.drift
        assert manifest.drift.verdict == "insufficient data"
        profiles.append(stored(job, manifest))
    one, two = profiles
    assert one.keys() == two.keys()
    assert {("feature", name, "") for name in NUMBERS} < one.keys()
    assert ("pass_through", "count", "") in one
    for key, profile in one.items():
        assert isinstance(profile, NumberProfile | CategoryProfile)
        if isinstance(profile, NumberProfile):
            assert profile.counts.tolist() == two[key].counts.tolist(), key
            assert (profile.n_rows, profile.n_null) == (two[key].n_rows, two[key].n_null)
    a = one["feature", "a", ""]
    assert (a.n_rows, a.n_null, a.n_finite) == (6_000, 3, 5_997)
    assert (a.least, a.greatest) == (frame["a"].min(), frame["a"].max())
    assert a.total == pytest.approx(frame["a"].sum())
    assert one["prediction", "probability", ""].n_finite == 6_000


def test_a_version_brings_its_own_baseline(own: Lake) -> None:
    job = own.job()
    digest = give_baseline(own, job, make_frame(20_000, seed=1))
    own.write(DAY, make_frame(5_000, seed=2))
    calm = own.run(job)
    assert calm.drift
    assert calm.drift.references == {"baseline": digest}
    assert calm.drift.verdict in ("ok", "info"), calm.drift.findings
    assert not [warning for warning in calm.warnings if "baseline" in warning]

    shifted = make_frame(5_000, seed=3)
    shifted["a"] += 2
    own.write("2024-03-01", shifted)
    manifest = own.run(job, "2024-03-01")

    assert manifest.status == "published"
    assert manifest.drift
    assert manifest.drift.verdict == "critical"
    first = manifest.drift.findings[0]
    assert (first.column, first.role, first.severity) == ("a", "feature", "critical")
    assert (first.status, first.since, first.reference) == ("new", "2024-03-01", "baseline")
    assert first.impact
    moved = own.read(job).query("ds == '2024-03-01'")["probability"].mean()
    was = own.read(job).query(f"ds == '{DAY}'")["probability"].mean()
    assert manifest.drift.score == "probability"
    assert manifest.drift.score_movement == pytest.approx(moved - was, abs=0.02)
    assert first.impact == pytest.approx(moved - was, abs=0.25 * abs(moved - was)), (
        "the shift explains the movement"
    )
    assert any("drift: expected no critical finding" in warning for warning in manifest.warnings)
    own.write("2024-03-02", shifted)
    own.write("2024-03-03", make_frame(5_000, seed=4))
    ongoing, over = own.run(job, "2024-03-02"), own.run(job, "2024-03-03")
    assert ongoing.drift
    assert over.drift
    assert (ongoing.drift.findings[0].status, ongoing.drift.findings[0].since) == (
        "ongoing",
        "2024-03-01",
    )
    assert "a" in over.drift.resolved
    assert sorted(over.drift.references) == ["baseline", "previous"]


def test_without_a_baseline_the_days_before_are_compared(lake: Lake) -> None:
    job = lake.job()
    lake.write(DAY, make_frame(5_000, seed=1))
    first = lake.run(job)
    assert first.drift
    assert first.drift.references == {}
    assert any("has no baseline" in warning for warning in first.warnings)
    lake.write("2024-03-01", make_frame(5_000, seed=2))
    calm = lake.run(job, "2024-03-01")
    assert calm.drift
    assert calm.drift.references == {"previous": first.run_id}
    assert calm.drift.verdict in ("ok", "info")
    shifted = make_frame(5_000, seed=3)
    shifted["b"] = None
    lake.write("2024-03-02", shifted)
    drift = lake.run(job, "2024-03-02").drift
    assert drift
    assert ("b", "critical") in [(f.column, f.severity) for f in drift.findings]


def test_the_same_weekdays_calm_what_is_the_season(own: Lake) -> None:
    job = own.job()
    give_baseline(own, job, make_frame(10_000, seed=1))
    for seed, day in enumerate(["2024-03-01", "2024-03-08", "2024-03-15"]):
        fridays = make_frame(4_000, seed=10 + seed)
        fridays["a"] += 2
        own.write(day, fridays)
        manifest = own.run(job, day)
    assert manifest.drift
    assert len(manifest.drift.references["weekdays"].split(", ")) == 2
    (a,) = [f for f in manifest.drift.findings if f.column == "a"]
    assert (a.severity, a.is_seasonal) == ("critical", True)
    assert manifest.drift.verdict in ("ok", "info")


@pytest.mark.parametrize("is_late", [False, True])
def test_what_a_column_uses_to_do_is_no_alarm(own: Lake, is_late: bool) -> None:
    """A column that is another one each day, whichever order the days were scored in."""
    job = own.job()
    give_baseline(own, job, make_frame(10_000, seed=1))
    days = [f"2024-03-{day:02d}" for day in range(1, 17)]
    for seed, day in enumerate(days):
        frame = make_frame(1_500, seed=20 + seed)
        frame["a"] = frame["a"] / 3 + [-1.5, 0.5, 2.0][seed % 3]
        own.write(day, frame)
    order = [*reversed(days[:-1]), days[-1]] if is_late else days
    last = [own.run(job, day) for day in order][-1].drift
    assert last
    (a,) = [f for f in last.findings if f.column == "a" and f.role == "feature"]
    assert (a.severity, a.is_seasonal) == ("critical", True)
    worse = make_frame(1_500, seed=50)
    worse["a"] = worse["a"] / 3 + 6.0
    own.write("2024-03-17", worse)
    drift = own.run(job, "2024-03-17").drift
    assert drift
    (a,) = [f for f in drift.findings if f.column == "a" and f.role == "feature"]
    assert (a.severity, a.is_seasonal, a.status) == ("critical", False, "new")


def test_one_huge_value_is_no_reason_to_lose_a_night(lake: Lake) -> None:
    frame = make_frame(2_000)
    frame.loc[7, "a"] = 1.7976931348623157e308
    lake.write(DAY, frame)
    lake.write("2024-03-01", frame)
    for day in (DAY, "2024-03-01"):
        manifest = lake.run(lake.job(), day)
        assert manifest.status == "published", manifest.error
        assert manifest.drift
        assert not manifest.drift.errors


@pytest.mark.parametrize("gate", ["warn", "hold"])
def test_a_damaged_profile_costs_the_comparison_only(lake: Lake, gate: str) -> None:
    job = lake.job(drift={"gate": gate})
    lake.write(DAY, make_frame(2_000))
    first = lake.run(job)
    assert first.drift
    state = state_store(job)
    content = bytearray(state.read_bytes(first.drift.profile))
    lake.write("2024-03-01", make_frame(2_000, seed=2))
    for place in range(40, len(content), len(content) // 20):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        state.write_bytes(first.drift.profile, bytes(damaged))
        assert lake.run(job, "2024-03-01", force=True).status == "published"


def test_a_comparison_that_fails_lets_a_person_decide(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("nightscore.monitoring.drift.assess.assess", fail)
    lake.write(DAY, make_frame(500))
    warned = lake.run(lake.job())
    assert warned.status == "published"
    assert any("could not be compared" in warning for warning in warned.warnings)
    held = lake.run(lake.job(drift={"gate": "hold"}), force=True)
    assert held.status == "held"
    (gate,) = [gate for gate in held.gates if gate.gate == "drift"]
    assert "a defect" in gate.found


def test_what_cannot_be_counted_is_named(lake: Lake) -> None:
    frame = make_frame(300)
    frame["raw"] = [b"x"] * 300
    job = lake.job(pass_through=["raw"], drift={"columns": ["raw"]})
    lake.write(DAY, frame)
    manifest = lake.run(job)
    assert manifest.drift
    assert manifest.drift.errors == {"raw": "binary is not profiled"}


def test_an_empty_partition_lacks_no_columns(own: Lake) -> None:
    job = own.job()
    give_baseline(own, job, make_frame(2_000))
    own.write(DAY, make_frame(1).iloc[:0])
    manifest = own.run(job)
    assert manifest.status == "published"
    assert manifest.drift
    assert not [f for f in manifest.drift.findings if f.role == "schema"]


def test_a_finding_goes_on_while_runs_are_held(own: Lake) -> None:
    job = own.job(drift={"gate": "hold"})
    give_baseline(own, job, make_frame(5_000, seed=1))
    findings = []
    for day in ("2024-03-01", "2024-03-02"):
        shifted = make_frame(3_000, seed=3)
        shifted["a"] += 2
        own.write(day, shifted)
        manifest = own.run(job, day)
        assert manifest.status == "held"
        assert manifest.drift
        findings.append(next(f for f in manifest.drift.findings if f.column == "a"))
    assert [(f.status, f.since) for f in findings] == [
        ("new", "2024-03-01"),
        ("ongoing", "2024-03-01"),
    ]


def test_the_gate_holds_until_a_person_decides(own: Lake) -> None:
    job = own.job(drift={"gate": "hold"})
    give_baseline(own, job, make_frame(10_000, seed=1))
    shifted = make_frame(3_000, seed=3)
    shifted["a"] += 2
    own.write(DAY, shifted)
    held = own.run(job)
    assert held.status == "held"
    (gate,) = [gate for gate in held.gates if gate.gate == "drift"]
    assert "a critical: " in gate.found
    done = approve(job, find_held(job, DAY), datetime.now(UTC), "expected")
    assert (done.status, len(own.read(job))) == ("published", 3_000)
    off = own.run(own.job(drift={"gate": "off"}), force=True)
    assert off.status == "published"
    assert not [warning for warning in off.warnings if "drift" in warning]
    nothing = own.run(own.job(drift={"profile": False}), force=True)
    assert nothing.drift is None


def test_a_finding_says_which_segments_drive_it(own: Lake) -> None:
    def with_country(n_rows: int, seed: int, shift: float) -> pd.DataFrame:
        frame = make_frame(n_rows, seed=seed)
        frame["country"] = ["AT" if i % 3 else "CH" for i in range(n_rows)]
        frame.loc[frame["country"] == "CH", "a"] += shift
        return frame

    job = own.job(pass_through=["country"], drift={"segments": ["country"]})
    give_baseline(own, job, with_country(12_000, 1, 0.0))
    own.write(DAY, with_country(6_000, 2, 3.0))
    manifest = own.run(job)
    assert manifest.drift
    assert not manifest.drift.errors
    assert manifest.drift.n_columns == len(NUMBERS) + 3
    (a,) = [f for f in manifest.drift.findings if f.column == "a"]
    assert [(d.segment, d.kind) for d in a.drivers] == [("country=CH", "within")]
    assert a.drivers[0].share == pytest.approx(1.0, abs=0.1)
    profiles = stored(job, manifest)
    rows = {label: profiles["feature", "a", f"country={label}"].n_rows for label in ("AT", "CH")}
    assert rows == {"AT": 4_000, "CH": 2_000}
    table = pl.read_parquet(f"{state_store(job).url}/drift/**/*.parquet")
    assert set(table["segment"]) == {"", "country=AT", "country=CH"}
    misspelt = own.job(pass_through=["country"], drift={"segments": ["contry"]})
    unknown = own.run(misspelt, force=True)
    assert unknown.error
    assert (
        "drift.segments: contry is neither a feature nor a key nor passed through; "
        "did you mean country?" in unknown.error.message
    )


def test_without_a_reference_segments_come_from_the_first_rows(lake: Lake) -> None:
    frame = make_frame(1_000)
    frame["country"] = ["AT", "CH"] * 500
    job = lake.job(pass_through=["country"], drift={"segments": ["country"]})
    lake.write(DAY, frame)
    first = stored(job, lake.run(job))
    assert first["feature", "a", "country=CH"].n_rows == 500
    frame["country"] = ["CH", "DE"] * 500
    lake.write("2024-03-01", frame)
    second = stored(job, lake.run(job, "2024-03-01"))
    labels = {key[2] for key in second}
    assert labels == {"", "country=CH", "country=(other)"}, (
        "counted as the day before, so that days can be added up"
    )


def test_changes_of_schema_and_of_rows_are_findings(own: Lake) -> None:
    job = own.job()
    frame = make_frame(4_000, seed=1)
    give_baseline(own, job, frame)
    own.write(DAY, frame)
    assert own.run(job).status == "published"
    changed = make_frame(900, seed=2)
    changed["a"] = changed["a"].astype("float32")
    changed["news"] = 1
    own.write("2024-03-01", changed)
    manifest = own.run(job, "2024-03-01")
    assert manifest.drift
    findings = {
        (f.role, f.column): f for f in manifest.drift.findings if f.role in ("schema", "rows")
    }
    assert findings["schema", "a"].reasons == ("type changed from double to float",)
    assert findings["schema", "a"].severity == "info", "numbers both"
    assert findings["schema", "news"].reasons == ("is new in the input, and unused",)
    rows = findings["rows", "rows"]
    assert (rows.severity, rows.reference) == ("warning", "previous")
    assert rows.reasons == ("900 rows, 4,000 in the partition before",)


def test_a_baseline_that_was_logged_later_is_said_on_an_unchanged_run(own: Lake) -> None:
    job = own.job()
    own.write(DAY, make_frame(200))
    first = own.run(job)
    assert own.run(job).warnings == first.warnings

    digest = give_baseline(own, job, make_frame(2_000, seed=1))
    unchanged = own.run(job)
    assert unchanged.status == "unchanged"
    assert unchanged.warnings[-1].startswith("these results were not compared with the model's")
    assert f"`{job.command('run', DAY, '--force')}` scores" in unchanged.warnings[-1]

    forced = own.run(job, force=True)
    assert forced.drift
    assert forced.drift.references["baseline"] == digest
    assert own.run(job).warnings == forced.warnings


def test_labels_say_what_rate_to_expect(own: Lake) -> None:
    job = own.job()
    frame = make_frame(20_000, seed=1)
    frame["came_true"] = frame["a"] > 0
    path = Path(own.root) / "training.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path)
    record_baseline(job, str(path), own.pool, own.cache, label="came_true")
    shifted = make_frame(5_000, seed=2)
    shifted["a"] += 1
    own.write(DAY, shifted)
    drift = own.run(job).drift
    assert drift
    assert drift.baseline_rate == pytest.approx(frame["came_true"].mean())
    assert drift.expected_rate
    assert drift.expected_rate > drift.baseline_rate + 0.05
    with pytest.raises(InputError, match="20,000 labels of no class that the model knows"):
        frame.assign(came_true="yes").to_parquet(path)
        record_baseline(job, str(path), own.pool, own.cache, label="came_true")


def test_statistics_of_all_runs_are_one_table(own: Lake) -> None:
    job = own.job()
    give_baseline(own, job, make_frame(10_000, seed=1))
    for day in ("2024-03-01", "2024-03-02"):
        own.write(day, make_frame(2_000, seed=len(day)))
        own.run(job, day)
    table = pl.read_parquet(f"{state_store(job).url}/drift/**/*.parquet")
    series = table.filter(
        (pl.col("column") == "a")
        & (pl.col("statistic") == "psi_adjusted")
        & (pl.col("reference") == "baseline")
    )
    assert sorted(series["partition"]) == ["2024-03-01", "2024-03-02"]
    assert series["threshold"].to_list() == [0.1, 0.1]
    assert series["value"].null_count() == 0
    assert set(table["role"]) == {"feature", "prediction", "rows"}
    own = table.filter(pl.col("reference") == "none")
    assert own.filter(pl.col("column") == "rows")["value"].to_list() == [2_000, 2_000]
    assert {"mean", "std", "null_rate", "nan_rate", "distinct"} <= set(own["statistic"])


def test_a_baseline_that_was_changed_is_refused(own: Lake) -> None:
    job = own.job()
    give_baseline(own, job, make_frame(1_000))
    version = resolve(job.model, job.registry)
    assert fetch_baseline(version, job.registry, own.cache)
    tag = json.loads(version.baseline_tag or "")
    place = Path(tag["uri"].removeprefix("file://"))
    place.write_bytes(place.read_bytes() + b"x")
    own.write(DAY, make_frame(100))
    own.cache.baseline(tag["sha256"])
    own.cache._baseline(tag["sha256"]).unlink()
    manifest = own.run(job)
    assert manifest.error
    assert manifest.error.type == "ModelDigestError"
    assert "is not the one that was logged" in manifest.error.message
    place.unlink()
    gone = own.run(job)
    assert gone.status == "published", "a baseline that cannot be had is no reason to lose a night"
    assert any("no comparison with the model's baseline" in warning for warning in gone.warnings)
    client = mlflow.MlflowClient(tracking_uri=own.registry, registry_uri=own.registry)
    client.set_model_version_tag(
        version.name, version.version, BASELINE_TAG, '{"uri": "x", "sha256": "../../x"}'
    )
    odd = own.run(job, force=True)
    assert odd.error
    assert "cannot be read" in odd.error.message


def test_a_replay_keeps_the_partition_s_profile(lake: Lake) -> None:
    write_with_missing(lake)
    then = lake.run(lake.job(**STRICT))
    manifest = again(lake, lake.job(**STRICT | {"policy": {}}))
    assert manifest.status == "published"
    assert manifest.drift == then.drift
    assert stored(lake.job(), manifest)["feature", "b", ""].n_null == 7


def test_clean_removes_profiles_of_runs_that_came_to_nothing(lake: Lake) -> None:
    lake.write(DAY, make_frame(300))
    job = lake.job()
    manifest = lake.run(job)
    state, gone = state_store(job), "01a20b33-0000-7000-8000-000000000000"
    for kind in ("profiles", "drift"):
        state.write_bytes(f"{kind}/ds={DAY}/{gone}.parquet", b"of a run that lost a race")
    later = datetime.now(UTC) + timedelta(days=1)
    removed = clean(job, later, timedelta(0), delete=True)
    assert sorted(path.split("/")[0] for path in removed) == ["drift", "profiles"]
    assert all(gone in path for path in removed)
    assert stored(job, manifest)


def test_by_command(own: Lake, tmp_path: Path) -> None:
    path = tmp_path / "training"
    path.mkdir()
    for name in ("a", "b"):
        make_frame(500).to_parquet(path / f"{name}.parquet")
    job = str(save(own.job(), tmp_path))
    baseline = answer(own, "baseline", job, "--from", str(path))
    assert baseline["columns"] == len(NUMBERS) + 2
    assert resolve(own.job().model, own.registry).baseline_tag
    nothing = nightscore(own, "report", job, DAY)
    assert nothing.returncode == 1
    assert "No run of this partition" in nothing.stderr
    shifted = make_frame(2_000, seed=7)
    shifted["a"] += 2
    own.write(DAY, shifted)
    assert "drift:       critical: a" in nightscore(own, "run", job, DAY).stdout
    own.write("2024-03-01", make_frame(2_000, seed=8))
    assert own.run(own.job(), "2024-03-01").status == "published"
    told = answer(own, "report", job, DAY)
    assert (told["verdict"], told["findings"][0]["column"], told["status"]) == (
        "critical",
        "a",
        "published",
    )
    shown = nightscore(own, "report", job, DAY)
    assert "mean probability: " in shown.stdout
    assert f"{DAY} (new)" in shown.stdout
    empty = tmp_path / "empty.parquet"
    pq.write_table(pa.Table.from_pandas(make_frame(1), preserve_index=False).slice(0, 0), empty)
    shown = nightscore(own, "baseline", job, "--from", str(empty))
    assert shown.returncode == 1
    assert "have no rows" in shown.stderr


def test_profiles_on_s3(s3_lake: Lake) -> None:
    job = s3_lake.job()
    for day in (DAY, "2024-03-01"):
        s3_lake.write(day, make_frame(2_000, seed=len(day)))
        manifest = s3_lake.run(job, day)
    assert manifest.drift
    assert manifest.drift.verdict in ("ok", "info")
    assert Store(state_store(job).uri, s3_lake.options).list_files("drift")


def test_a_column_with_several_findings_is_named_once() -> None:
    """A text that became a number differs as a feature and in the schema."""
    findings = [
        FindingRecord(column=column, role=role, reference="previous", severity="critical")
        for column, role in (("shop", "feature"), ("shop", "schema"), ("price", "feature"))
    ]
    drift = DriftRecord(verdict="critical", references={"previous": "x"}, findings=tuple(findings))
    assert verdict_text(drift) == "critical: shop, price"
