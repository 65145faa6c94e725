"""One command back, and with it what the version has published; the log answers what was live when."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nightscore.cli.release_text import show_doubt
from nightscore.errors import ConflictError, InvalidJobError, ReleaseError
from nightscore.ledger.release_history import version_at, version_before
from nightscore.ledger.release_log import Release, ReleaseLog
from nightscore.operations.backfill import choose_models
from nightscore.operations.releases.put_back import plan_put_back, put_back
from nightscore.operations.releases.queries import how_it_became_live, live_at, read_releases
from nightscore.operations.releases.target import find_target
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.release_entry import OutcomeRecord, ReleaseEntry, VersionRecord
from tests.operations.releases.conftest import DAYS, Lab, write_input

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def put_all_back(lab: Lab) -> list[Manifest]:
    target = find_target(lab.job, "demote")
    return list(put_back(target, plan_put_back(target), lab.lake.cache))


def about_releases(manifest: Manifest) -> list[str]:
    return [warning for warning in manifest.warnings if "champion" in warning]


def test_one_command_leads_back_once_and_further_only_by_name(any_lab: Lab) -> None:
    any_lab.promote("2")
    any_lab.promote("3")
    assert any_lab.demote(note="worse at night").is_new
    assert any_lab.live == "2"
    again = any_lab.demote()
    assert (again.was_live, any_lab.live) == (True, "2"), "given again it does not lead further"
    any_lab.demote("1")
    assert any_lab.live == "1"
    assert any_lab.told() == [
        ("promoted", "1", "2", "done"),
        ("promoted", "2", "3", "done"),
        ("demoted", "3", "2", "done"),
        ("demoted", "2", "1", "done"),
    ]
    assert any_lab.log()[2].entry.note == "worse at night"


def test_a_log_that_knows_nothing_before_says_so(lab: Lab) -> None:
    with pytest.raises(ReleaseError, match="knows no version before version 1") as caught:
        lab.demote()
    assert "nightscore demote test --to VERSION" in caught.value.next_step
    assert lab.live == "1"


def test_what_the_version_has_published_is_put_back(any_lab: Lab) -> None:
    for day in DAYS:
        any_lab.lake.run(any_lab.job, day)
    before = any_lab.predictions()
    any_lab.promote("2")
    for day in DAYS:
        assert any_lab.lake.run(any_lab.job, day).status == "published"
    write_input(any_lab.lake, "2024-03-01")
    any_lab.lake.run(any_lab.job, "2024-03-01")
    assert set(any_lab.predictions().values()) == {1.5}

    any_lab.demote()
    items = plan_put_back(find_target(any_lab.job))
    assert [(item.value, item.action) for item in items] == [
        *((day, "roll back") for day in DAYS),
        ("2024-03-01", "refuse"),
    ]
    assert items[-1].reason == "no other model version has published it"
    done = put_all_back(any_lab)
    assert [(one.partition, one.status) for one in done] == [(day, "published") for day in DAYS]
    assert any_lab.predictions() == before | {"2024-03-01": 1.5}

    assert put_all_back(any_lab) == [], "given again, nothing is left"
    assert any_lab.lake.run(any_lab.job, DAYS[0]).status == "unchanged"


def test_what_a_version_had_published_before_it_was_live_stays(lab: Lab) -> None:
    by_number = lab.lake.job("models:/delay/2")
    lab.lake.run(lab.job, DAYS[0])
    lab.lake.run(by_number, DAYS[0])
    lab.promote("2")
    lab.lake.run(lab.job, DAYS[1])
    lab.demote()
    assert [item.value for item in plan_put_back(find_target(lab.job))] == [DAYS[1]]


def test_two_steps_back_put_back_what_both_versions_have_published(lab: Lab) -> None:
    days = ["2024-02-27", *DAYS]
    write_input(lab.lake, days[0])
    for day in days:
        lab.lake.run(lab.job, day)
    before = lab.predictions()

    lab.promote("2")
    for day in days:
        lab.lake.run(lab.job, day)
    lab.promote("3")
    for day in days[1:]:
        lab.lake.run(lab.job, day)

    # Of three days one is version 2's from its first time, one is put back to it, and one is its
    # own again.
    lab.demote()
    lab.lake.run(lab.job, days[2])
    assert [manifest.partition for manifest in put_all_back(lab)] == [days[1]]
    assert set(lab.predictions().values()) == {1.5}

    lab.demote("1")
    assert [manifest.partition for manifest in put_all_back(lab)] == days
    assert lab.predictions() == before
    assert put_all_back(lab) == []


def test_one_long_step_back_puts_back_the_versions_between(lab: Lab) -> None:
    for day in DAYS:
        lab.lake.run(lab.job, day)
    before = lab.predictions()

    lab.promote("2")
    lab.lake.run(lab.job, DAYS[0])
    lab.promote("3")
    lab.lake.run(lab.job, DAYS[1])

    lab.demote("1")
    assert [manifest.partition for manifest in put_all_back(lab)] == [*DAYS]
    assert lab.predictions() == before


def test_a_step_to_a_version_that_never_was_live_puts_back_the_last_one_alone(lab: Lab) -> None:
    lab.move_by_hand("2")  # before there is a log
    lab.lake.run(lab.job, DAYS[0])
    lab.promote("3")
    lab.lake.run(lab.job, DAYS[0])
    lab.demote("1")
    assert [manifest.partition for manifest in put_all_back(lab)] == [DAYS[0]]
    assert set(lab.predictions().values()) == {1.5}


def test_a_demotion_makes_no_newer_version_live_unseen(lab: Lab) -> None:
    lab.promote("2")
    with pytest.raises(ReleaseError, match="Version 3 never was live, and it is newer") as caught:
        lab.demote("3")
    assert caught.value.expected == "a version that was: 1, 2"
    assert "`nightscore promote test --to 3` checks it" in caught.value.next_step
    assert (lab.live, len(lab.log())) == ("2", 1)


def test_predictions_are_put_back_after_a_demotion_only(lab: Lab) -> None:
    lab.promote("2")
    with pytest.raises(ConflictError, match="Another release came after"):
        plan_put_back(find_target(lab.job))


def test_a_version_that_was_moved_by_hand_is_taken_back_since_the_log_last_knew(lab: Lab) -> None:
    lab.lake.run(lab.job, DAYS[0])
    lab.promote("2")
    lab.move_by_hand("3")
    lab.lake.run(lab.job, DAYS[0])
    lab.lake.run(lab.job, DAYS[1])
    assert lab.told()[-1] == ("moved", "2", "3", "")
    lab.demote()
    assert lab.live == "2"
    assert [manifest.partition for manifest in put_all_back(lab)] == [DAYS[0]]


def test_a_run_notices_that_the_alias_was_moved_by_other_means(any_lab: Lab) -> None:
    any_lab.move_by_hand("2")
    any_lab.lake.run(any_lab.job, DAYS[0])
    assert any_lab.log() == [], "a job without `release` has no log before the first promotion"

    any_lab.changes = {"release": {}}
    assert about_releases(any_lab.lake.run(any_lab.job, DAYS[1])) == []
    assert any_lab.told() == [("moved", None, "2", "")], "what it found first"
    any_lab.lake.run(any_lab.job, DAYS[0])
    assert len(any_lab.log()) == 1

    any_lab.promote("3")
    any_lab.move_by_hand("1")
    any_lab.changes = {}
    noticed = any_lab.lake.run(any_lab.job, DAYS[0])
    assert noticed.status == "published"
    assert about_releases(noticed) == [
        "somebody moved delay@champion by other means, from version 3 to 1; the release log has it "
        "as entry 3",
    ]
    assert any_lab.told()[-1] == ("moved", "3", "1", "")


def test_a_run_of_a_job_with_a_log_of_its_own_says_where_the_log_is(lab: Lab) -> None:
    lab.promote("2")
    lab.changes = {"release": {"log": f"{lab.lake.root}/other"}}
    (warning,) = about_releases(lab.lake.run(lab.job, DAYS[0]))
    assert "so this job's runs enter nothing; name that place as release.log" in warning
    assert lab.log() == []


def test_a_run_beside_a_release_that_is_not_completed_enters_nothing(lab: Lab) -> None:
    from tests.operations.releases.test_promote import begin_by_another

    lab.promote("2")
    begin_by_another(lab, "3")
    for version in ("2", "3"):
        lab.move_by_hand(version)
        assert lab.lake.run(lab.job, DAYS[0]).error is None
    assert len(lab.log()) == 2


def entry(number: int, kind: Any, before: str | None, after: str, days: int) -> Release:
    """An entry of a log, so many days after the start."""
    at = START + timedelta(days=days)
    record = ReleaseEntry(
        number=number,
        kind=kind,
        registry="r",
        model="delay",
        alias="champion",
        before=None if before is None else VersionRecord(version=before),
        after=VersionRecord(version=after),
        job="test",
        by="anna",
        at=at,
        engine="0",
    )
    done = OutcomeRecord(number=number, outcome="done", by="anna", at=at + timedelta(minutes=1))
    return Release(record, None if kind == "moved" else done)


def test_the_version_before_is_told_by_the_steps_that_lead_to_the_live_one() -> None:
    promotions = [entry(1, "promoted", "3", "5", 0), entry(2, "promoted", "5", "7", 1)]
    back = [*promotions, entry(3, "demoted", "7", "5", 2)]
    cases: dict[str | None, list[list[Release]]] = {
        None: [[], [entry(1, "moved", None, "3", 0)], [*back, entry(4, "demoted", "5", "3", 3)]],
        "3": [promotions[:1], back, [*promotions, entry(3, "moved", "7", "5", 2)]],
        "5": [promotions, [*back, entry(4, "promoted", "5", "8", 3)]],
        "7": [[*promotions, entry(3, "promoted", "7", "5", 2)]],
    }
    for expected, logs in cases.items():
        assert [version_before(log) for log in logs] == [expected] * len(logs)


def test_the_log_says_what_was_live_when() -> None:
    log = [
        entry(1, "promoted", "3", "5", 0),
        entry(2, "moved", "5", "6", 2),
        entry(3, "demoted", "6", "5", 4),
    ]

    def live(days: float) -> tuple[str, str] | None:
        found = version_at(log, START + timedelta(days=days))
        return (found.version, found.possibly) if found else None

    assert live(-1) is None
    assert live(0) is None, "the alias was not moved yet"
    assert live(0.5) == ("5", "6"), "somebody moved it at a time that nobody knows"
    assert live(2) == ("6", "")
    assert live(9) == ("5", "")
    pending = [*log, Release(entry(4, "promoted", "5", "9", 5).entry)]
    found = version_at(pending, START + timedelta(days=9))
    assert found is not None
    assert (found.version, found.possibly) == ("5", "9"), "it counts once the alias was moved"
    assert found.noticed is not None
    assert "and is not completed, so the alias may have moved" in show_doubt(found.noticed)
    early = version_at(pending, START + timedelta(days=4.5))
    assert early is not None and early.possibly == "", "before it was begun"

    # A release that died and was completed an hour later: the alias moved at some time between.
    begun = entry(4, "promoted", "5", "9", 5).entry
    late = OutcomeRecord(number=4, outcome="done", by="anna", at=begun.at + timedelta(hours=1))
    between = version_at([*log, Release(begun, late)], begun.at + timedelta(minutes=30))
    assert between is not None
    assert (between.version, between.possibly) == ("5", "9")
    after = version_at([*log, Release(begun, late)], late.at)
    assert after is not None and (after.version, after.possibly) == ("9", "")


def test_the_order_of_the_log_counts_where_clocks_differ() -> None:
    log = [
        entry(1, "promoted", "3", "5", 0),
        entry(2, "promoted", "5", "7", 9),  # by a host whose clock is days ahead
        entry(3, "demoted", "7", "5", 2),
    ]

    for days, expected, number in ((1, "5", 1), (3, "5", 3), (8, "5", 3), (99, "5", 3)):
        found = version_at(log, START + timedelta(days=days))
        assert found is not None
        assert (found.version, found.since.entry.number) == (expected, number), days


def test_the_log_is_read_while_the_registry_is_gone_and_says_what_it_lacks(lab: Lab) -> None:
    lab.promote("2")
    lab.promote("3")
    lab.demote()
    assert read_releases(lab.job).doubts == ()

    log = ReleaseLog(lab.job, "delay", "champion")
    folder = Path(log.place)
    for name in ("00000001.json", "00000001.outcome.json"):
        (folder / name).unlink()

    lab.lake.registry = f"sqlite:///{lab.lake.root}/gone.db"
    found = read_releases(lab.job)
    assert live_at(found, datetime.now(UTC)).version == "2"
    gone, missing = found.doubts
    assert gone.startswith("There is no model registry. So nobody has asked whether the log is in")
    assert missing == f"Entries are missing in {log.place}: 1. Somebody has removed their files."


def test_an_as_of_backfill_and_explain_read_the_log(lab: Lab) -> None:
    lab.lake.run(lab.job, DAYS[0])
    lab.promote("2", note="trained on June")
    today = datetime.now(UTC).date()
    days = [f"{today - timedelta(days=n)}" for n in (0, 1)]

    assert choose_models(lab.job, days[:1], "as-of", []) == {days[0]: "models:/delay/2"}
    with pytest.raises(InvalidJobError, match="Neither the release log nor the job's runs"):
        choose_models(lab.job, days, "as-of", [])

    at = f"{lab.log()[0].effective_at:%Y-%m-%d %H:%M}"
    assert how_it_became_live(lab.job, "2") == (
        f"release: version 2 was promoted to champion at {at} UTC by anna@host: trained on June"
    )
    assert how_it_became_live(lab.job, "1") == ""
    assert how_it_became_live(lab.lake.job("models:/delay/1"), "1") == ""

    found = read_releases(lab.job)
    assert live_at(found, datetime.now(UTC)).version == "2"
    with pytest.raises(InvalidJobError, match="does not say what was live then") as caught:
        live_at(found, START - timedelta(days=99))
    assert caught.value.found.endswith("when version 1 was live")
