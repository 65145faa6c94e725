"""The walk of a release, by command, on MLflow's own registry."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from nightscore.cli.app import build_app
from nightscore.cli.options import read_moment
from nightscore.cli.release_text import show_evidence
from nightscore.errors import InvalidJobError, ReleaseError
from nightscore.flows.ui.release_page import _partition_lines
from nightscore.ledger.workspace import Workspace
from nightscore.models.model_versions import resolve
from nightscore.operations.releases.evidence import baseline_evidence
from nightscore.schemas.performance import MetricRecord
from nightscore.schemas.release_entry import EvidenceRecord, PartitionEvidence
from tests.support.lake import Lake
from tests.support.models import KnownModel, make_frame
from tests.support.releases import DAYS, write_aliased_job


@pytest.fixture
def job_file(
    lake: Lake,
    models: dict[str, KnownModel],
    registry_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A job whose alias means version 1 of a model that has two versions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    return write_aliased_job(lake, registry_root, tmp_path, is_pinned=False)


def test_a_version_is_promoted_and_demoted_by_command(
    lake: Lake, job_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = str(job_file)

    def call(*arguments: str) -> str:
        code = build_app()([*arguments], standalone_mode=False)
        assert not code, code
        return capsys.readouterr().out

    def document(*arguments: str) -> Any:
        return json.loads(call(*arguments, "--json"))

    assert document("releases", job) == []
    assert "none is logged in" in call("releases", job)
    document("run", job, DAYS[0])
    old = lake.read(lake.job())

    with pytest.raises(ReleaseError) as caught:
        call("promote", job)
    problems = {problem.partition(":")[0] for problem in caught.value.problems}
    assert problems == {"pin", "model", "evidence"}, "an unpinned pickle is not even loaded"
    call("pin", "models:/hgb_binary/2", "--registry", lake.registry)

    looked = document("promote", job, "--to", "2", "--without-labels", "--dry-run")
    assert (looked["before"], looked["after"], looked["problems"]) == ("1", "2", [])
    with pytest.raises(ReleaseError, match="1 reason"):
        call("promote", job, "--dry-run")
    assert "Nothing shows by labels that it is better" in capsys.readouterr().out
    code = build_app()(["promote", job, "--dry-run", "--json"], standalone_mode=False)
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert code == 1 and problem.startswith("evidence: nothing shows that it is better")
    assert document("releases", job) == []

    told = call("promote", job, "--to", "2", "--without-labels", "--note", "on June")
    assert told.startswith("hgb_binary@champion: version 1 -> 2, entry 1 of the log\n")
    assert "outputs:" in told or "the same:" in told
    assert "Jobs that this moves: test\n" in told
    assert f"`nightscore demote {job}` takes it back." in told
    assert "version 2 is live already" in call("promote", job)

    (entry,) = document("releases", job)
    assert (entry["kind"], entry["state"], entry["note"]) == ("promoted", "done", "on June")
    assert entry["evidence"]["without_labels"] is True
    assert "1 -> 2" in call("releases", job)
    live = document("releases", job, "--at", "2100-01-01")
    assert (live["version"], live["possibly"], live["entry"]) == ("2", None, 1)
    assert live["canary"] is None
    assert "Version 2 was live at 2100-01-01 23:59 UTC." in call(
        "releases", job, "--at", "2100-01-01"
    )
    with pytest.raises(InvalidJobError, match="does not say what was live then"):
        call("releases", job, "--at", "2020-01-01")

    reasons = document("explain", job, DAYS[0])["reasons"]
    assert reasons[0] == "model: published with hgb_binary version 1, now hgb_binary version 2"
    assert reasons[1].startswith("release: version 2 was promoted to champion at ")
    assert reasons[1].endswith(": on June")

    document("run", job, DAYS[0])
    document("run", job, DAYS[1])
    back = build_app()(["demote", job, "--with-predictions", "--json"], standalone_mode=False)
    assert back == 1, "one day was published by no other version"
    done = json.loads(capsys.readouterr().out)
    assert done["release"]["after"]["version"] == "1"
    assert [(item["partition"], item["action"]) for item in done["predictions"]] == [
        (DAYS[0], "roll back"),
        (DAYS[1], "refuse"),
    ]
    stale = ["backfill", job, "--from", DAYS[1], "--to", DAYS[1], "--mode", "stale"]
    assert f"`nightscore {' '.join(stale)}` scores them" in done["next_step"]
    assert [item["action"] for item in document(*stale, "--dry-run")["plan"]] == ["score"]
    day = lake.read(lake.job())
    day = day[day["ds"] == DAYS[0]].reset_index(drop=True)
    assert day.equals(old)

    diff = document(
        "model", "diff", "models:/hgb_binary/1", "models:/hgb_binary/2", "--registry", lake.registry
    )
    assert set(diff["changes"]) | set(diff["same"]) | set(diff["not_stored"]) == {
        *("features", "outputs", "parameters", "flavors", "libraries", "baseline", "size")
    }
    assert "size" in diff["changes"]
    shown = call(
        "model", "diff", "models:/hgb_binary/1", "models:/hgb_binary/2", "--registry", lake.registry
    )
    assert shown.startswith("models:/hgb_binary/1 -> models:/hgb_binary/2\n")
    for why in diff["not_stored"].values():
        assert why.startswith("of both: ")
        assert f"not stored for either version: {why.removeprefix('of both: ')}" in shown


def test_a_version_is_proposed_and_decided_on_by_command(
    lake: Lake,
    job_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = str(job_file)
    text = job_file.read_text()
    job_file.write_text(text.replace("release: null", "release: {approval: required}"))

    def call(*arguments: str) -> str:
        code = build_app()([*arguments], standalone_mode=False)
        assert not code, code
        return capsys.readouterr().out

    call("pin", "models:/hgb_binary/2", "--registry", lake.registry)
    told = call("promote", job, "--without-labels")
    assert told.startswith("The version is proposed; the alias was not moved.\nVersion 2 is")
    assert f"`nightscore approve {job} --release 2`" in told
    assert f"`nightscore reject {job} --release 2`" in call("releases", job)
    (proposal,) = json.loads(call("releases", job, "--json"))
    assert (proposal["state"], proposal["number"]) == ("proposed", 1)

    with pytest.raises(ReleaseError, match="cannot approve it"):
        call("approve", job, "--release", "2")
    for wrong in (("approve", job), ("reject", job, DAYS[0], "--release", "2")):
        with pytest.raises(InvalidJobError, match="decides on one thing"):
            call(*wrong)

    assert "entry 1 of the log; nothing has moved" in call("reject", job, "--release", "2")
    assert "rejected" in call("releases", job)
    call("promote", job, "--without-labels")
    monkeypatch.setattr("nightscore.cli.commands.approve.user_and_host", lambda: "carl@host")
    told = call("approve", job, "--release", "2", "--note", "looks right")
    assert told.startswith("hgb_binary@champion: version 1 -> 2, entry 2 of the log\n")
    assert ", approved by carl@" in told
    assert f"`nightscore demote {job}` takes it back." in told


def test_a_baseline_is_logged_for_a_version_that_is_not_live_yet_and_is_evidence(
    lake: Lake, job_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.features.delete([f"ds={DAYS[0]}/part-0.parquet"])
    lake.write(DAYS[0], make_frame(1_000))
    data = f"{lake.features.uri}/ds={DAYS[0]}"
    command = ["baseline", str(job_file), "--from", data, "--label", "flag", "--model-version"]
    with pytest.raises(InvalidJobError, match="has no version champion"):
        build_app()([*command, "champion"], standalone_mode=False)
    build_app()([*command, "1", "--json"], standalone_mode=False)
    logged = json.loads(capsys.readouterr().out)
    assert logged["version"] == "1"

    version = resolve("models:/hgb_binary/1", lake.registry)
    evidence = baseline_evidence(Workspace(lake.job()), version, lake.cache)
    assert (evidence.baseline, evidence.note) == (logged["sha256"], "")
    metrics = {metric.name: metric for metric in evidence.metrics}
    assert 0.4 < (metrics["roc_auc"].value or 0.0) < 0.6, "the label is chance"
    shown = next(show_evidence(EvidenceRecord(baselines=(evidence,))))
    assert shown.startswith("Baseline of version 1: AUC 0.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24", "2026-11-24T23:59:59.999999+00:00"),
        ("2026-11-24T00:00:00", "2026-11-24T00:00:00+00:00"),
        ("2026-11-24 03:20", "2026-11-24T03:20:00+00:00"),
        ("2026-11-24T01:00:00+02:00", "2026-11-23T23:00:00+00:00"),
    ],
)
def test_a_date_means_its_end_and_a_time_itself(text: str, expected: str) -> None:
    assert read_moment(text).isoformat() == expected
    with pytest.raises(typer.BadParameter, match="is no time; write it as"):
        read_moment(text + "?")


def test_evidence_tells_labels_that_stand_for_all_rows_from_others() -> None:
    known = (MetricRecord(name="roc_auc", value=0.8),)

    def partition(day: int, **changes: Any) -> PartitionEvidence:
        fields = {"realised": known, "is_matured": True} | changes
        return PartitionEvidence(partition=f"2026-11-{day:02}", run_id="run", **fields)

    partitions = (
        partition(1),
        partition(2, is_selection=True),
        partition(3, is_matured=False),
        partition(4, realised=()),
    )
    line, realised = show_evidence(EvidenceRecord(live=partitions))
    assert realised == "  came true on 2026-11-01: AUC 0.800", "of what stands for all rows"
    assert line.endswith(
        "1 of its latest 4 partitions have come true, 1 so far, with more labels to come, "
        "1 by a selection of labelled rows"
    )
    page = "\n".join(_partition_lines(partitions, "### A version"))
    assert "| 2026-11-02 (a selection by score) |" in page
    assert "| 2026-11-03 (more labels to come) |" in page
    assert "| 2026-11-04 |" in page
