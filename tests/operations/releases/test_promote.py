"""A version goes live by a checked, logged move of the alias, and comes back by one command."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nightscore.cli.release_text import show_evidence
from nightscore.errors import (
    ConflictError,
    InvalidJobError,
    ModelDigestError,
    ReleaseError,
    StorageError,
)
from nightscore.ledger.canary_log import CanaryLog
from nightscore.ledger.release_log import ReleaseLog
from nightscore.models.registries.protocol import BASELINE_TAG, ModelVersion
from nightscore.operations.releases.completion import abandon
from nightscore.operations.releases.entries import NewEntry, begin
from nightscore.operations.releases.suitability import find_problems
from nightscore.operations.releases.target import find_target
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.performance import MetricRecord
from nightscore.schemas.release_entry import (
    BaselineEvidence,
    CanaryEntry,
    EvidenceRecord,
    VersionRecord,
)
from nightscore.storage.protocol import FILES_ONLY
from tests.fakes.memory_store import MemoryBackend
from tests.operations.releases.conftest import DAYS, Lab


def begin_by_another(lab: Lab, version: str) -> None:
    """Somebody else begins a promotion, and dies before the alias moves."""
    target = find_target(lab.job, "promote")
    new = NewEntry(
        kind="promoted",
        before=VersionRecord(version=lab.live or ""),
        after=VersionRecord(version=version),
        by="carl@host",
    )
    begin(target, lab.log(), new)


def test_the_alias_moves_and_the_log_says_who_why_and_on_what_grounds(any_lab: Lab) -> None:
    any_lab.lake.run(any_lab.job, DAYS[0])
    result = any_lab.promote("2", note="trained on June")

    assert any_lab.live == "2"
    assert any_lab.told() == [("promoted", "1", "2", "done")]
    assert result.is_new
    assert result.affected.names == ("test",)

    entry = any_lab.log()[0].entry
    assert (entry.by, entry.note, entry.job) == ("anna@host", "trained on June", "test")
    assert entry.after.digest == any_lab.registry.versions["delay"]["2"].digest_tag
    assert entry.diff is not None
    assert entry.diff.changes == {}, "both have the same columns, libraries and size"
    assert entry.diff.not_stored == {
        "parameters": "of both: neither a training run nor a logged model has any"
    }

    evidence = entry.evidence
    assert evidence is not None
    assert evidence.without_labels
    checks = {check.name: check for check in evidence.checks}
    assert checks["columns"].found.startswith("2 features")
    assert checks["partition"].found == f"{DAYS[1]}: 4 rows in 1 file"
    assert {one.version: one.note for one in evidence.baselines} == {
        "1": "none is logged",
        "2": "none is logged",
    }

    place = ReleaseLog(any_lab.job, "delay", "champion").place
    assert any_lab.registry.tags["delay"] == {"nightscore.release_log.champion": place}


def test_without_a_version_the_newest_goes_live_and_live_ones_stay(lab: Lab) -> None:
    assert lab.promote(None).release
    assert lab.live == "3"
    again = lab.promote(None)
    assert again.was_live
    assert lab.told() == [("promoted", "1", "3", "done")]


def test_an_alias_that_does_not_exist_yet_is_made(lab: Lab) -> None:
    del lab.registry.aliases["delay"]["champion"]
    lab.promote("1")
    assert lab.live == "1"
    assert lab.told() == [("promoted", None, "1", "done")]


def test_all_that_keeps_a_version_from_going_live_is_told_at_once(lab: Lab) -> None:
    versions = lab.registry.versions["delay"]
    old, new = versions["1"], versions["2"]
    versions["1"] = ModelVersion(old.name, "1", old.location, old.digest_tag, "{}")
    versions["2"] = ModelVersion(new.name, "2", new.location, None)
    (Path(new.location) / "MLmodel").write_text(
        (Path(new.location) / "MLmodel").read_text().replace('"b", "type"', '"c", "type"')
    )

    with pytest.raises(ReleaseError) as caught:
        lab.promote("2", without_labels=False)

    problems = {problem.partition(":")[0]: problem for problem in caught.value.problems}
    assert [*problems] == ["pin", "columns", "baseline", "evidence"], caught.value
    assert f"`nightscore pin models:/delay/2 --registry {lab.job.registry}`" in problems["pin"]
    assert "--model-version 2" in problems["baseline"]
    assert problems["evidence"] == (
        "evidence: nothing shows that it is better with labels: no rows are stored that both "
        "version 1 and version 2 have scored; their baselines are of rows of their own; with "
        "`release: {challenger: models:/delay/2}` runs would score them; the job names no labels, by "
        "which predictions could be compared; if you accept that, add --without-labels"
    )
    assert lab.live == "1"
    assert lab.log() == []
    assert lab.registry.tags == {}, "not even the tag"


def test_artifacts_that_are_not_those_of_the_pin_never_go_live(lab: Lab) -> None:
    folder = Path(lab.registry.versions["delay"]["2"].location)
    (folder / "weights.json").write_text(json.dumps({"a": 9.0, "b": 9.0}))
    with pytest.raises(ReleaseError, match="not those that were pinned"):
        lab.promote("2")
    assert lab.live == "1"

    lab.promote("3")
    first = Path(lab.registry.versions["delay"]["1"].location)
    (first / "weights.json").write_text(json.dumps({"a": 9.0, "b": 9.0}))
    with pytest.raises(ModelDigestError):
        lab.demote()
    assert lab.live == "3"


def test_a_gate_of_estimates_needs_a_baseline_with_labels(lab: Lab) -> None:
    lab.changes = {"gates": {"estimated": {"metric": "rmse", "max": 1.0, "action": "hold"}}}
    with pytest.raises(ReleaseError, match="baseline: delay version 2 has none"):
        lab.promote("2")


def test_a_job_pinned_by_number_is_refused_with_the_edit_to_make(lab: Lab) -> None:
    job = lab.lake.job("models:/delay/1").remember("jobs/late.yaml")
    with pytest.raises(InvalidJobError, match="pinned by number") as caught:
        find_target(job, "promote")
    assert caught.value.expected == "model: models:/delay@champion"
    assert "change it in jobs/late.yaml" in caught.value.next_step

    logged = lab.lake.job(f"models:/m-{'0' * 32}")
    with pytest.raises(InvalidJobError, match="logged model"):
        find_target(logged)


@pytest.mark.parametrize(
    ("gate", "values", "reason"),
    [
        ({"metric": "roc_auc", "min": 0.7}, (0.8, 0.71), ""),
        ({"metric": "roc_auc", "min": 0.7}, (0.8, 0.69), "expected roc_auc of at least 0.7"),
        ({"metric": "roc_auc", "max_drop": 0.03}, (0.8, 0.76), "at least 0.77 (the baseline's 0.8"),
        ({"metric": "roc_auc", "max_drop": 0.05}, (0.8, 0.76), ""),
        ({"metric": "rmse", "max": 2.0}, (1.0, 2.1), "expected rmse of at most 2"),
        ({"metric": "rmse", "max": 2.0}, (1.0, None), "rmse is not known of the new version's"),
    ],
)
def test_a_version_whose_own_baseline_breaks_the_gate_is_refused(
    lab: Lab, gate: dict[str, Any], values: tuple[float, float | None], reason: str
) -> None:
    def known(version: str, value: float | None) -> BaselineEvidence:
        metrics = (MetricRecord(name=gate["metric"], value=value),) if value is not None else ()
        return BaselineEvidence(version=version, baseline="sha256:a", metrics=metrics, note="few")

    lab.changes = {"gates": {"estimated": gate | {"action": "hold"}}}
    candidate = replace(lab.registry.versions["delay"]["2"], baseline_tag="{}")
    evidence = EvidenceRecord(
        baselines=(known("1", values[0]), known("2", values[1])), without_labels=True
    )
    problems = find_problems(lab.job, None, candidate, [], evidence)
    assert len(problems) == bool(reason)
    assert reason in "".join(problems)


@pytest.mark.parametrize(
    ("given", "right"), [("v2", "2"), ("02", "2"), ("²", "VERSION"), ("champion", "VERSION")]
)
def test_what_is_no_version_is_refused_with_the_corrected_call(
    lab: Lab, given: str, right: str
) -> None:
    for command, verb in ((lab.promote, "promote"), (lab.demote, "demote")):
        with pytest.raises(InvalidJobError, match="This is no version") as caught:
            command(given)
        assert caught.value.next_step == f"nightscore {verb} test --to {right}"


def test_a_store_that_cannot_tell_who_was_first_is_refused(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.changes = {"release": {"log": "fake://bucket/log"}}
    monkeypatch.setattr(MemoryBackend, "capabilities", FILES_ONLY)
    with pytest.raises(StorageError, match="two promotions could both take effect"):
        lab.promote("2")
    with pytest.raises(StorageError, match="nightscore demote"):
        lab.demote()
    assert lab.live == "1"


def test_a_second_place_for_the_log_is_refused_with_both(lab: Lab, tmp_path: Path) -> None:
    lab.promote("2")
    first = ReleaseLog(lab.job, "delay", "champion").place
    lab.changes = {"release": {"log": f"{tmp_path}/other"}}

    for refused in (lab.promote, lab.demote):
        with pytest.raises(InvalidJobError, match="logged in another place") as caught:
            refused("1")
        assert first in caught.value.expected
        assert caught.value.found == f"{tmp_path}/other/delay@champion"
        assert f"release: {{log: {first.rpartition('/')[0]}}}" in caught.value.next_step
    assert lab.live == "2"


def test_the_log_of_another_registry_is_refused(lab: Lab) -> None:
    lab.promote("2")
    lab.registry.tags.clear()  # as in another registry, which has not noted the log
    lab.changes = {"registry": f"{lab.job.registry}-2"}
    with pytest.raises(InvalidJobError, match="another registry's"):
        lab.promote("3")
    assert lab.live == "2"


def test_jobs_that_share_the_alias_are_named(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    folder = tmp_path / "jobs"
    folder.mkdir()
    monkeypatch.setenv("NIGHTSCORE_JOBS", str(folder))
    monkeypatch.chdir(tmp_path)
    document = lab.job.model_dump(mode="json")
    for name, changes in (
        ("hourly", {}),
        ("fixed", {"model": "models:/delay/1"}),
        ("elsewhere", {"registry": "stub://other"}),
    ):
        text = yaml.safe_dump(document | {"name": name} | changes)
        (folder / f"{name}.yaml").write_text(text)
    (folder / "broken.yaml").write_text("model: [")

    result = lab.promote("2")
    assert result.affected.names == ("hourly", "test")
    assert result.affected.unreadable == ("broken",)
    assert lab.log()[0].entry.jobs == ("hourly", "test")

    (empty := tmp_path / "empty").mkdir()
    monkeypatch.setenv("NIGHTSCORE_JOBS", str(empty))
    monkeypatch.chdir(empty)
    lab.changes = {"name": "third"}
    assert lab.promote("3").affected.names == ("test", "third"), "the log has noted the first"


def test_of_two_promoters_the_second_is_refused_with_what_completes_the_first(any_lab: Lab) -> None:
    begin_by_another(any_lab, "3")
    with pytest.raises(ConflictError, match="was begun and is not completed") as caught:
        any_lab.promote("2")
    assert "nightscore promote test --to 3" in caught.value.next_step
    with pytest.raises(ConflictError, match="was begun"):
        any_lab.demote()
    assert any_lab.live == "1"

    result = any_lab.promote("3")
    assert (any_lab.live, result.is_new) == ("3", False)
    assert any_lab.told() == [("promoted", "1", "3", "done")]
    assert any_lab.log()[0].entry.by == "carl@host"


def test_a_release_that_was_begun_can_be_given_up(lab: Lab) -> None:
    begin_by_another(lab, "3")
    target = find_target(lab.job, "promote")
    abandon(target, "anna@host", "wrong version")
    lab.promote("2")
    assert lab.told() == [("promoted", "1", "3", "abandoned"), ("promoted", "1", "2", "done")]
    with pytest.raises(ConflictError, match="No release of delay@champion is under way"):
        abandon(target, "anna@host", "again")

    begin_by_another(lab, "3")
    lab.move_by_hand("3")
    with pytest.raises(ConflictError, match="was moved already"):
        abandon(target, "anna@host", "too late")


def test_an_alias_that_was_moved_by_hand_is_noticed_and_left(any_lab: Lab) -> None:
    any_lab.promote("2")
    any_lab.move_by_hand("3")
    for command in (any_lab.promote, any_lab.demote):
        before = any_lab.told()
        if before[-1][0] == "moved":
            continue
        with pytest.raises(ConflictError, match="by other means; it was left as it is") as caught:
            command("1")
        assert "entry 2 now" in caught.value.found
    assert any_lab.live == "3"
    assert any_lab.told() == [("promoted", "1", "2", "done"), ("moved", "2", "3", "")]

    any_lab.demote()
    assert any_lab.live == "2", "the log knows now what was before"


def test_a_move_by_hand_between_log_and_alias_is_not_overwritten(any_lab: Lab) -> None:
    any_lab.promote("2")
    begin_by_another(any_lab, "1")
    any_lab.move_by_hand("3")

    with pytest.raises(ConflictError, match="since this release was begun") as caught:
        any_lab.promote("1")
    assert (caught.value.expected, caught.value.found) == ("version 2", "version 3")
    assert any_lab.live == "3"
    assert any_lab.told() == [
        ("promoted", "1", "2", "done"),
        ("promoted", "2", "1", "abandoned"),
        ("moved", "2", "3", ""),
    ]
    any_lab.promote("1")
    assert any_lab.live == "1"


def test_a_baseline_that_cannot_be_read_keeps_only_the_new_version_back(lab: Lab) -> None:
    versions = lab.registry.versions["delay"]
    for number in ("1", "3"):
        known = versions[number]
        versions[number] = ModelVersion(
            known.name, number, known.location, known.digest_tag, "no JSON"
        )
    with pytest.raises(ReleaseError) as caught:
        lab.promote("3")
    (problem,) = caught.value.problems
    assert problem.startswith(f"baseline: The tag {BASELINE_TAG} of delay version 3")

    versions["2"] = replace(versions["2"], baseline_tag="no JSON")
    versions["3"] = replace(versions["3"], baseline_tag=None)
    with pytest.raises(ReleaseError, match="baseline: delay version 3 has none"):
        lab.promote("3")


def test_a_canary_that_was_stopped_is_told_before_its_version_goes_live(lab: Lab) -> None:
    lab.changes = {"release": {"challenger": "models:/delay/2"}}
    log = CanaryLog(ReleaseLog(lab.job, "delay", "champion"), "test")
    arms = CanaryRecord(
        label="2", name="delay", version="2", digest="", share=0.1, salt="s", by=("id",)
    )
    started = CanaryEntry(
        number=1, kind="started", job="test", canary=arms, by="a", at=datetime.now(UTC), engine="0"
    )
    stop = {"number": 2, "kind": "stopped", "why": "score: PSI 3.1"}
    log.append(started)
    log.append(started.model_copy(update=stop))

    lab.promote("3")
    lab.promote("2")
    of_third, of_second = (release.entry.evidence for release in lab.log())
    assert of_third is not None and of_second is not None
    assert "canary" not in [check.name for check in of_third.checks], "it had none"
    assert "challengers" not in [
        check.name for check in of_third.checks if check.state != "skipped"
    ]

    (check,) = [check for check in of_second.checks if check.name == "canary"]
    assert check.state == "warning"
    assert check.found.endswith("UTC, by a critical finding: score: PSI 3.1")
    assert f"Canary of the new version: {check.found}" in [*show_evidence(of_second)]
