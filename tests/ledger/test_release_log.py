"""The files of a release log: what was written once is read for ever, and nothing is written twice."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nightscore.errors import ConflictError, StorageError
from nightscore.ledger.release_log import ReleaseLog, next_number
from nightscore.schemas.manifest import read_record
from nightscore.schemas.release_entry import OutcomeRecord, ReleaseEntry, ReleaseJobRecord
from nightscore.storage.store import Store
from tests.support.lake import Lake

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS: dict[str, type[Any]] = {
    "release-1b.json": ReleaseEntry,
    "release-1c.json": ReleaseEntry,
    "release-1d.json": ReleaseEntry,
    "release-1.outcome.json": OutcomeRecord,
    "release-1.job.json": ReleaseJobRecord,
    "release-2.json": ReleaseEntry,
    "release-2.proposal.json": ReleaseEntry,
}


@pytest.mark.parametrize("name", KINDS)
def test_an_entry_written_once_is_read_for_ever(name: str) -> None:
    text = (GOLDEN / name).read_text()
    record = read_record(text, KINDS[name])
    assert json.loads(record.model_dump_json(exclude_unset=True)) == json.loads(text)


def test_an_entry_from_before_comparisons_is_read() -> None:
    text = (GOLDEN / "release-1.json").read_text()
    entry = read_record(text, ReleaseEntry)
    assert entry.evidence is not None
    assert entry.evidence.comparison is None, "not stored"

    assert not entry.evidence.live[0].is_selection, "not stored"
    assert entry.evidence.no_comparison == ("the job names no labels",)
    assert json.loads(entry.model_dump_json(exclude_unset=True)) == json.loads(text)


def test_an_entry_of_a_later_version_is_read_or_refused_with_its_place(
    bare_lake: Lake,
) -> None:
    log = ReleaseLog(bare_lake.job(), "flight_delay", "champion")
    state = Store(f"{bare_lake.root}/predictions.nightscore")
    path = "releases/flight_delay@champion/00000001.json"
    raw = json.loads((GOLDEN / "release-1.json").read_text())

    state.write_bytes(path, json.dumps(raw | {"added_later": True}).encode())
    (release,) = log.read()
    assert release.entry.after.version == "7"
    assert release.is_pending

    for content in (json.dumps(raw | {"schema_version": 9}).encode(), b"{"):
        state.write_bytes(path, content)
        with pytest.raises(StorageError, match="cannot be read") as caught:
            log.read()
        assert caught.value.where.endswith(path)


def test_entries_are_created_once_and_have_one_outcome(bare_lake: Lake) -> None:
    log = ReleaseLog(bare_lake.job(), "a/b model", "champion")
    assert log.place.endswith("/predictions.nightscore/releases/a%2Fb%20model@champion")
    assert (log.newest(), next_number(log.read())) == (None, 1)

    entry = read_record((GOLDEN / "release-1.json").read_text(), ReleaseEntry)
    log.append(entry)
    with pytest.raises(ConflictError):
        log.append(entry)

    first = read_record((GOLDEN / "release-1.outcome.json").read_text(), OutcomeRecord)
    assert log.end(first) == first
    second = first.model_copy(update={"outcome": "abandoned", "by": "somebody else"})
    assert log.end(second) == first, "the first one stands"
    (release,) = log.read()
    assert (release.is_effective, release.effective_at) == (True, first.at)
    assert next_number(log.read()) == 2


def test_jobs_are_noted_once(bare_lake: Lake) -> None:
    job = bare_lake.job().remember("jobs/late.yaml")
    log = ReleaseLog(job, "m", "champion")
    now = datetime(2026, 11, 30, tzinfo=UTC)
    log.note_job(job, now)
    log.note_job(job, datetime(2027, 1, 1, tzinfo=UTC))
    (record,) = log.jobs()
    assert (record.job, record.file, record.at) == ("test", "jobs/late.yaml", now)


def test_a_log_that_jobs_share_has_a_folder_for_each_alias(bare_lake: Lake) -> None:
    root = f"{bare_lake.root}/releases"
    job = bare_lake.job(release={"log": f"{root}/"})
    assert ReleaseLog(job, "m", "champion").place == f"{root}/m@champion"
    assert ReleaseLog(job, "m", "night").place == f"{root}/m@night"
