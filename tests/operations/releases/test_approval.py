"""Where a job wants approval, a version is proposed, and goes live when somebody else approves it."""

import contextlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from nightscore.errors import (
    ConflictError,
    InvalidJobError,
    ModelDigestError,
    ReleaseError,
    ScoringError,
)
from nightscore.operations.check import check_job
from nightscore.operations.checklist import Check
from nightscore.operations.releases.completion import abandon
from nightscore.operations.releases.proposals import describe_overtaken, describe_proposal
from nightscore.operations.releases.queries import describe, read_releases
from nightscore.operations.releases.target import find_target
from tests.operations.releases.conftest import Lab

REQUIRED = {"release": {"approval": "required"}}


@pytest.fixture(autouse=True)
def approval_is_required(request: pytest.FixtureRequest) -> None:
    name = "any_lab" if "any_lab" in request.fixturenames else "lab"
    request.getfixturevalue(name).changes |= REQUIRED


def test_a_proposal_moves_nothing_and_an_approval_makes_it_live(any_lab: Lab) -> None:
    lab = any_lab
    result = lab.promote("2", note="trained on June")
    assert (lab.live, lab.told(), result.release) == ("1", [], None)
    assert result.proposal is not None
    assert (result.is_new, result.proposal.after.version) == (True, "2")

    found = read_releases(lab.job).proposal
    assert found == result.proposal
    assert found.evidence is not None
    again = lab.promote(None)
    assert (again.is_new, again.proposal) == (False, found), "the same command changes nothing"

    done = lab.approve("2", note="looks right")
    assert lab.live == "2"
    assert lab.told() == [("promoted", "1", "2", "done")]
    assert done.is_new
    (release,) = lab.log()
    entry = release.entry
    assert (entry.by, entry.proposed_at) == ("anna@host", found.at)
    assert (entry.evidence, entry.note) == (found.evidence, "trained on June")
    assert entry.decision is not None
    assert (entry.decision.by, entry.decision.note) == ("carl@host", "looks right")
    assert "by anna@host, approved by carl@host: trained on June" in describe(release)

    assert read_releases(lab.job).proposal is None
    assert lab.approve("2").was_live
    assert lab.demote().is_new, "a demotion waits for nobody"
    assert lab.live == "1"


def test_a_rejected_version_stays_in_the_log_and_may_be_proposed_again(lab: Lab) -> None:
    lab.promote("2")
    release = lab.reject("2", note="not yet")
    assert lab.reject("2").entry == release.entry, "the same command changes nothing"
    assert lab.told() == [("rejected", "1", "2", "")]
    assert not release.is_pending
    assert describe(release).startswith("version 2 was proposed by anna@host and rejected by carl")
    assert describe(release).endswith("UTC: not yet")
    with pytest.raises(ConflictError, match="does not wait for a decision") as caught:
        lab.approve("2")
    assert "rejected by carl@host" in caught.value.found

    lab.promote("3")
    lab.approve("3")
    assert lab.told() == [("rejected", "1", "2", ""), ("promoted", "1", "3", "done")]
    lab.promote("2")
    lab.reject("2", by="anna@host")
    lab.demote()
    assert lab.live == "1"
    lab.promote("2")
    lab.reject("2")
    assert lab.demote().was_live, "a rejection does not let a demotion lead further back"


def test_nobody_approves_what_they_proposed(lab: Lab) -> None:
    lab.promote("2", by="anna@host")
    for by in ("anna@host", "anna@laptop", "anna, flow run 7"):
        with pytest.raises(ReleaseError, match="Whoever proposes a version cannot approve it"):
            lab.approve("2", by=by)
    assert (lab.live, lab.told()) == ("1", [])


def test_a_person_in_prefect_is_a_person_and_a_run_alone_is_itself(lab: Lab) -> None:
    lab.promote("2", by="anna, flow run 7")
    with pytest.raises(ReleaseError, match="cannot approve"):
        lab.approve("2", by="anna@host")
    lab.reject("2", by="anna@host")

    lab.promote("2", by="flow run 8")
    with pytest.raises(ReleaseError, match="cannot approve"):
        lab.approve("2", by="flow run 8")
    lab.approve("2", by="flow run 9")
    assert lab.live == "2"


def test_another_version_is_neither_approved_nor_proposed_meanwhile(lab: Lab) -> None:
    with pytest.raises(ConflictError, match="Version 2 does not wait for a decision"):
        lab.approve("2")
    lab.promote("2")
    with pytest.raises(ConflictError, match="Another version is proposed") as caught:
        lab.promote("3")
    assert f"reject {lab.job.given_as} --release 2" in caught.value.next_step
    for decide in (lab.approve, lab.reject):
        with pytest.raises(ConflictError) as caught:
            decide("3")
        assert caught.value.found == "version 2, proposed by anna@host"
        with pytest.raises(InvalidJobError, match="This is no version"):
            decide("v2")
    with pytest.raises(ConflictError, match="No release of") as caught:
        abandon(find_target(lab.job), "anna@host", "wrong")
    assert "--release VERSION` drops a proposal" in caught.value.next_step

    lab.changes |= {"release": {"approval": "none"}}
    assert lab.promote("2").proposal is not None, "also without the key it waits"
    assert lab.live == "1"


def test_a_proposal_is_void_once_somebody_has_moved_the_alias(lab: Lab) -> None:
    lab.promote("2")
    lab.approve("2")
    lab.promote("1")
    lab.move_by_hand("3")
    with pytest.raises(ConflictError, match="by other means"):
        lab.approve("1")
    with pytest.raises(ConflictError, match="does not wait"):
        lab.approve("1")
    assert lab.live == "3"
    lab.promote("1")
    assert lab.approve("1").is_new


def test_what_has_changed_since_the_proposal_is_not_approved(lab: Lab) -> None:
    """Before the first entry nothing tells that the alias was moved, but the proposal itself."""
    lab.promote("2")
    lab.move_by_hand("3")
    with pytest.raises(ConflictError, match="means another version than when version 2"):
        lab.approve("2")
    lab.move_by_hand("1")

    versions = lab.registry.versions["delay"]
    versions["2"] = replace(versions["2"], digest_tag="sha256:other")
    with pytest.raises(ReleaseError, match="pinned to other bytes than when it was proposed"):
        lab.approve("2")
    assert (lab.live, lab.told()) == ("1", [])


def test_artifacts_that_changed_since_the_proposal_never_go_live(lab: Lab) -> None:
    lab.promote("2")
    folder = Path(lab.registry.versions["delay"]["2"].location)
    (folder / "weights.json").write_text(json.dumps({"a": 9.0, "b": 9.0}))
    with pytest.raises(ModelDigestError):
        lab.approve("2")
    assert (lab.live, lab.told()) == ("1", [])


def test_a_demotion_never_makes_a_version_live_that_nobody_approved(lab: Lab) -> None:
    lab.promote("2")
    lab.approve("2")
    with pytest.raises(ReleaseError, match="Version 3 never was live") as caught:
        lab.demote("3")
    assert caught.value.expected == "a version that was: 1, 2"
    assert lab.demote("1").is_new


def test_refused_versions_are_not_proposed(lab: Lab) -> None:
    with pytest.raises(ReleaseError, match="must not go live yet"):
        lab.promote("2", without_labels=False)
    assert read_releases(lab.job).proposal is None
    with pytest.raises(ScoringError):
        lab.approve("2")


def test_a_demotion_makes_a_proposal_void_and_says_so(lab: Lab) -> None:
    lab.promote("2")
    lab.approve("2")
    proposal = lab.promote("3").proposal
    assert proposal is not None

    done = lab.demote()
    assert (lab.live, done.overtaken) == ("1", proposal)
    assert describe_overtaken(lab.job, proposal) == (
        "The proposal of version 3 by anna@host is void now, since another version is live. "
        "`nightscore promote test --to 3` proposes it again."
    )
    assert read_releases(lab.job).proposal is None
    with pytest.raises(ConflictError, match="does not wait for a decision"):
        lab.approve("3")
    assert lab.promote("3").is_new


def test_a_demotion_that_changes_nothing_leaves_a_proposal_waiting(lab: Lab) -> None:
    lab.promote("2")
    lab.approve("2")
    lab.demote()
    proposal = lab.promote("3").proposal

    again = lab.demote()
    assert (again.was_live, again.overtaken) == (True, None)
    assert read_releases(lab.job).proposal == proposal


def test_a_proposal_that_nobody_looks_at_says_for_how_long_it_has_waited(lab: Lab) -> None:
    proposal = lab.promote("2").proposal
    assert proposal is not None
    for days, words in ((2.9, "--release 2`."), (3.1, "--release 2`. It has waited for 3 days.")):
        told = describe_proposal(lab.job, proposal, proposal.at + timedelta(days=days))
        assert told.endswith(f"`nightscore reject test {words}")


def test_the_check_of_a_job_names_a_version_that_waits(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> Check:
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(lab.job.model_dump(mode="json")))
        workers = contextlib.nullcontext(lab.lake.pool)
        checks = check_job(str(path), lab.lake.cache, open_workers=lambda _: workers)
        (check,) = [check for check in checks if check.name == "release"]
        return check

    assert found().found == "no version waits for approval"
    lab.promote("2")
    assert (found().found, [*found().warnings]) == ("version 2 waits for approval", [])

    monkeypatch.setattr("nightscore.operations.check.waiting_days", lambda *_: 9)
    (warning,) = found().warnings
    assert warning.startswith(
        "version 2 has waited for approval for 9 days: somebody other than anna@"
    )
    assert "approve" in warning
    assert "--release 2`" in warning
