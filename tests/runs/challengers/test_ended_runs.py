"""The process dies after the champion was published: every command says what became of the rest."""

import json
from typing import Any

import pytest

from nightscore.ledger.workspace import Workspace
from nightscore.operations.backfill import plan_backfill
from nightscore.operations.history import run_history
from nightscore.operations.plan import plan_runs
from nightscore.runs.challengers import group, publication
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.manifest import Manifest
from tests.operations.releases.conftest import DAYS, Lab, any_lab, lab

__all__ = ["any_lab", "lab"]
DAY = DAYS[0]
GONE_PID = 2**22 + 1
"""Above what any Linux gives to a process."""
AGAIN = f"`nightscore run test {DAY} --force` scores the partition by both again"


class DiedError(BaseException):
    """The process goes no further."""


def shadow(lab: Lab) -> Lab:
    lab.registry.set_alias("delay", "challenger", "2")
    lab.changes = {"release": {"challenger": "models:/delay@challenger"}}
    return lab


def run_and_die(lab: Lab, patch: pytest.MonkeyPatch, *, is_committed: bool) -> None:
    """Run until just before the challenger's commit, or just after it."""
    publish = publication.publish

    def die(*_: Any) -> None:
        raise DiedError

    def publish_and_die(*arguments: Any) -> None:
        if is_committed:
            publish(*arguments)
        die()

    with patch.context() as patched:
        patched.setattr(publication, "publish", publish_and_die)
        patched.setattr(group.Challengers, "fail", lambda *_: None)
        patched.setattr(group.Challengers, "_amend", die)
        with pytest.raises(DiedError):
            lab.lake.run(lab.job, DAY)

    for job in (lab.job, challenger_jobs(lab.job)["challenger"]):
        workspace = Workspace(job)
        workspace.state.delete_tree("leases")
        for path, record in records(workspace).items():
            document = json.loads(record.model_dump_json()) | {"pid": GONE_PID}
            workspace.state.write_bytes(path, json.dumps(document).encode())


def records(workspace: Workspace) -> dict[str, Manifest]:
    """The records of the day as they stand in the store."""
    entries = workspace.state.list_files(f"runs/{workspace.folder(DAY)}")
    read = workspace.state.read_bytes
    return {entry.path: Manifest.model_validate_json(read(entry.path)) for entry in entries}


def stored_status(lab: Lab) -> str:
    """What the champion's record says of the challenger."""
    (manifest,) = records(Workspace(lab.job)).values()
    return manifest.challengers[0].status


def test_before_the_challenger_was_published(any_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = shadow(any_lab)
    run_and_die(lab, monkeypatch, is_committed=False)
    assert stored_status(lab) == "unfinished"

    (shown,) = run_history(lab.job)
    (record,) = shown.challengers
    assert (shown.status, record.status) == ("published", "failed")
    assert record.why == f"the process ended before the challenger was published; {AGAIN}"
    assert record.text in shown.warnings
    assert stored_status(lab) == "unfinished", "to look at it writes nothing"

    for _ in range(2):
        again = lab.lake.run(lab.job, DAY)
        assert (again.status, again.challengers) == ("unchanged", shown.challengers)
        assert again.warnings.count(record.text) == 1
        assert stored_status(lab) == "failed"

    forced = lab.lake.run(lab.job, DAY, force=True)
    assert [one.status for one in forced.challengers] == ["published"]


def test_after_the_challenger_was_published(any_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither record says so, and its table does."""
    lab = shadow(any_lab)
    run_and_die(lab, monkeypatch, is_committed=True)

    (shown,) = run_history(lab.job)
    (record,) = shown.challengers
    assert (record.status, record.rows, record.why) == ("published", 4, "")
    assert record.difference is not None and record.difference.n == 4
    assert not any("challenger" in note for note in shown.warnings)

    again = lab.lake.run(lab.job, DAY)
    assert (again.status, again.challengers) == ("unchanged", shown.challengers)
    assert stored_status(lab) == "published"


def test_a_run_that_is_under_way_is_not_said_to_have_failed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = shadow(lab)
    run_and_die(lab, monkeypatch, is_committed=False)
    own_space = Workspace(challenger_jobs(lab.job)["challenger"])
    monkeypatch.setattr("nightscore.ledger.liveness.is_running", lambda pid: pid == GONE_PID)

    (shown,) = run_history(lab.job)

    assert [one.text for one in shown.challengers] == [
        "challenger delay version 2 is not published yet"
    ]
    assert [one.status for one in records(own_space).values()] == ["running"]


def test_a_record_that_was_removed_is_no_publication(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = shadow(lab)
    run_and_die(lab, monkeypatch, is_committed=False)
    own_space = Workspace(challenger_jobs(lab.job)["challenger"])
    own_space.state.delete_tree("runs")

    (shown,) = run_history(lab.job)
    assert [one.status for one in shown.challengers] == ["failed"]


def test_plans_name_what_a_challenger_lacks(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = shadow(lab)
    run_and_die(lab, monkeypatch, is_committed=False)
    lab.lake.run(lab.job, DAYS[1])

    (note,) = plan_backfill(lab.job, lab.lake.cache, DAYS, ["missing"]).notes
    assert note == (
        f"test@challenger has no results of 1 published partition ({DAY}): they were scored "
        "without it, or its run failed; `--mode all` scores a range by both, and `nightscore runs "
        "test@challenger` lists its runs"
    )
    assert not plan_backfill(lab.job, lab.lake.cache, DAYS, ["all"]).notes
    assert not plan_backfill(lab.job, lab.lake.cache, DAYS[1:], ["missing"]).notes

    for day, n_notes in ((DAY, 1), (DAYS[1], 0)):
        (planned,) = plan_runs(lab.job, [day], pool=lab.lake.pool, cache=lab.lake.cache, force=True)
        (challenger,) = planned.challengers
        notes = [note for note in challenger.notes if "last run" in note]
        assert len(notes) == n_notes
        assert all(AGAIN in note for note in notes)
