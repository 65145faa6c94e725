"""Decisions and replays that die half way, or meet another's."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from nightscore.errors import ConflictError, StorageError
from nightscore.ledger.layout import decision_path, state_store
from nightscore.ledger.manifest_files import write_manifest
from nightscore.models.pinned import PinnedModel
from nightscore.operations.approve import approve
from nightscore.operations.decision import find_held
from nightscore.operations.reject import reject
from nightscore.schemas.manifest import Manifest
from tests.operations.test_replay import MISSING_PASSES, STRICT, again
from tests.operations.test_replay import write as write_with_missing
from tests.runs.test_gates import DAY, held
from tests.support.lake import Lake

Tell = Callable[[str, str, Manifest | str], None]


def test_an_approval_that_died_after_its_commit_cannot_be_rejected(
    any_lake: Lake, report: Tell
) -> None:
    job, manifest, _ = held(any_lake)
    approve(job, manifest, datetime.now(UTC))
    write_manifest(state_store(job), f"ds={DAY}", manifest)  # as before: its last word is lost
    with pytest.raises(ConflictError, match="its approval came to its commit"):
        reject(job, find_held(job, DAY), datetime.now(UTC))
    assert len(any_lake.read(job)) == 1_000
    report(
        f"approval dies after its commit ({any_lake.formats})",
        "then it is rejected",
        "refused, readers see it",
    )
    assert approve(job, find_held(job, DAY), datetime.now(UTC)).status == "published"
    assert len(any_lake.read(job)) == 1_000


def test_of_two_verdicts_at_once_one_counts(any_lake: Lake, report: Tell) -> None:
    for approved_first in (True, False):
        job, manifest, before = held(any_lake)
        state = state_store(job)
        state.create(decision_path(manifest.run_id), b"approved" if approved_first else b"rejected")
        second = reject if approved_first else approve
        with pytest.raises(ConflictError, match="Somebody else decided"):
            second(job, manifest, datetime.now(UTC))
        assert any_lake.read(job).equals(before)
        first = approve if approved_first else reject
        first(job, manifest, datetime.now(UTC))  # the one that died half way is given again
        assert len(any_lake.read(job)) == (1_000 if approved_first else 300)
        for late in (approve, reject):
            with pytest.raises(ConflictError):
                late(job, manifest, datetime.now(UTC))
        assert len(any_lake.read(job)) == (1_000 if approved_first else 300)
        any_lake.run(any_lake.job(), force=True)
    report(f"approve and reject at once ({any_lake.formats})", "either first", "the first counts")


def test_a_run_that_was_published_meanwhile_stays(
    any_lake: Lake, report: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_with_missing(any_lake)
    job = any_lake.job(**STRICT)
    any_lake.run(job)
    newer: list[Manifest] = []
    of = PinnedModel.resolve

    def publish_first(*arguments: Any) -> PinnedModel:
        if not newer:
            newer.append(Manifest.model_construct())
            newer[0] = any_lake.run(job, force=True)
        return of(*arguments)

    monkeypatch.setattr(PinnedModel, "resolve", publish_first)
    manifest = again(any_lake, any_lake.job(**MISSING_PASSES))
    assert newer[0].status == "published"
    assert manifest.error
    assert manifest.error.type == "ConflictError"
    assert set(any_lake.read(job)["run_id"]) == {newer[0].run_id}
    report(
        f"replay beside a run ({any_lake.formats})", "published before the replay looks", manifest
    )


def test_a_decision_is_there_with_its_verdict_or_not_at_all(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_store(lake.job())

    def die(descriptor: int) -> None:
        raise OSError(5, "the machine went down")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        with pytest.raises(StorageError):
            state.create("decisions/x", b"approved")
    assert not state.exists("decisions/x")
    state.create("decisions/x", b"approved")
    with pytest.raises(ConflictError):
        state.create("decisions/x", b"rejected")
    assert state.read_bytes("decisions/x") == b"approved"
    assert not state.list_spools()
