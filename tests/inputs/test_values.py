"""A value that no partition can have is refused before anything is recorded."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from nightscore.errors import InvalidJobError
from nightscore.inputs.values import check_value, only_reading, respelled
from nightscore.operations.history import run_history
from tests.cli.test_commands import nightscore, save
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2026-11-28"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (f"ds={DAY}", DAY),
        ("ds=20261128", DAY),
        ("20261128", DAY),
        ("2026/11/28", DAY),
        ("28.11.2026", DAY),
        ("2026-11-8", "2026-11-08"),
        ("2026-11-31", None),
        ("2026-13-01", None),
        ("yesterday", None),
        ("ds=2026-11-31", None),
    ],
)
def test_a_slip_is_refused_with_the_command_that_was_meant(
    lake: Lake, typed: str, meant: str | None
) -> None:
    lake.write("2026-11-30", make_frame(5))
    with pytest.raises(InvalidJobError) as refused:
        lake.run(lake.job(), typed)
    assert "no partition of this job" in str(refused.value)
    if meant is not None:
        assert refused.value.next_step == f"nightscore run test {meant}"
    assert run_history(lake.job()) == [], "nothing was recorded"


def test_an_empty_value_is_refused(lake: Lake) -> None:
    """A Delta table has the same value for it as for Hive's default partition: each run added its rows once more."""
    lake.write("", make_frame(5))
    with pytest.raises(InvalidJobError, match="ds=__HIVE_DEFAULT_PARTITION__/, or under a value"):
        lake.run(lake.job(), "")
    assert run_history(lake.job()) == []


def test_a_slip_by_command(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(5))
    lake.run(lake.job(), DAY)
    path = str(save(lake.job(), tmp_path))
    for command in ("run", "approve", "reject", "replay"):
        refused = nightscore(lake, command, path, f"ds={DAY}", "--json")
        assert refused.returncode == 2, (command, refused.stderr)
        assert f"next:     nightscore {command} {path} {DAY} --json" in refused.stderr, command

    for command in ("plan", "explain", "report", "verify", "history", "runs"):
        guessed = nightscore(lake, command, path, f"ds={DAY}")
        right = nightscore(lake, command, path, DAY)
        assert f"Understood ds={DAY} as {DAY}." in guessed.stderr, command
        assert guessed.returncode == right.returncode, (command, guessed.stderr)
        assert guessed.stdout.count(DAY) == right.stdout.count(DAY), command

    (only,) = run_history(lake.job())
    assert only.partition == DAY


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("2026-11-31", "2026-11-30"),
        ("2026-02-30", "2026-02-28"),
        ("2026-31-12", "2026-12-31"),
        ("20261131", "2026-11-30"),
        ("31.11.2026", "2026-11-30"),
        ("01.02.2026", "2026-01-02"),
    ],
)
def test_the_next_step_is_the_nearest_real_date_and_leaves_no_record(
    lake: Lake, typed: str, near: str
) -> None:
    lake.write("2026-09-09", make_frame(5))
    with pytest.raises(InvalidJobError) as refused:
        lake.run(lake.job(), typed)
    assert refused.value.next_step == f"nightscore run test {near}"
    assert refused.value.expected.startswith(f"the value alone, a date such as {near} ")
    assert run_history(lake.job()) == []


def test_words_for_dates_and_months_are_answered_with_the_command(lake: Lake) -> None:
    lake.write("2026-09-09", make_frame(5))
    job = lake.job()
    with pytest.raises(InvalidJobError) as refused:
        check_value(job, "2024-02")
    assert refused.value.found == "2024-02, a month"
    assert refused.value.next_step.startswith(
        "`nightscore backfill test --from 2024-02-01 --to 2024-02-29`"
    )
    with pytest.raises(InvalidJobError, match=r"next: +nightscore run test 20\d\d-\d\d-\d\d"):
        check_value(job, "Yesterday")


def test_an_ambiguous_date_is_not_guessed(lake: Lake) -> None:
    lake.write(DAY, make_frame(5))
    assert respelled(lake.job(), "01.02.2026") == "01.02.2026"
    assert respelled(lake.job(), "13.02.2026") == "2026-02-13"
    with pytest.raises(InvalidJobError, match="may be 2026-01-02 or 2026-02-01"):
        check_value(lake.job(), "01.02.2026")


def test_partitions_and_their_format_say_which_date_was_meant(lake: Lake, tmp_path: Path) -> None:
    lake.write("2026-11-12", make_frame(5))
    job, typed = lake.job(), "12.11.2026"
    assert only_reading(job, typed) == datetime(2026, 11, 12)
    assert respelled(job, typed) == "2026-11-12"
    assert respelled(job, f"ds={typed}") == "2026-11-12"

    path = str(save(job, tmp_path))
    refused = nightscore(lake, "backfill", path, "--from", "2026-11-01", "--to", typed)
    assert refused.returncode == 2
    assert f"{typed} is 2026-11-12 for this job" in refused.stderr
    assert f"nightscore backfill {path} --from 2026-11-01 --to 2026-11-12" in refused.stderr

    lake.write("2026-12-11", make_frame(5))
    assert only_reading(job, typed) is None
    assert respelled(job, typed) == typed

    none = str(tmp_path / "none")
    german = lake.job(input={"uri": none, "partition_format": "%d.%m.%Y"})
    assert only_reading(german, typed) == datetime(2026, 11, 12)


def test_times_are_not_guessed(lake: Lake) -> None:
    """A day of a job by hours is 24 partitions, and a date of a job by months has too much."""
    for pattern, typed in (("%Y-%m-%dT%H", "20261128"), ("%Y-%m", "2026-11-28")):
        job = lake.job(input={"uri": lake.features.uri, "partition_format": pattern})
        assert respelled(job, typed) == typed


def test_a_text_that_is_nearly_a_partition_leaves_no_record(lake: Lake) -> None:
    for value in ("north", "store-100"):
        lake.write(value, make_frame(5))
    for typed, meant in (("nroth", "north"), ("North", "north"), ("stoer-100", "store-100")):
        with pytest.raises(InvalidJobError, match="nothing was done or recorded") as refused:
            lake.run(lake.job(), typed)
        assert refused.value.next_step == f"nightscore run test {meant}"
    assert run_history(lake.job()) == []

    another = lake.run(lake.job(), "store-101")
    assert another.error
    assert another.error.type == "PartitionNotFoundError"


def test_what_is_there_is_no_slip_however_it_is_named(lake: Lake) -> None:
    for value in ("a%2Fb", "ds%3D7", "2026-11-31"):
        lake.write(value, make_frame(5))
    lake.write(DAY, make_frame(5))
    for value in ("a/b", "ds=7", "2026-11-31"):
        assert lake.run(lake.job(), value).status == "published"


def test_where_partitions_are_no_dates_any_text_may_be_one(lake: Lake) -> None:
    lake.write("EU", make_frame(5))
    check_value(lake.job(), "US")
    with pytest.raises(InvalidJobError, match="nightscore run test EU"):
        check_value(lake.job(), "ds=EU")
    missing = lake.run(lake.job(), "US")
    assert missing.error
    assert missing.error.type == "PartitionNotFoundError"


def test_a_date_without_input_is_scored_when_it_comes(lake: Lake) -> None:
    lake.write("2026-11-27", make_frame(5))
    early = lake.run(lake.job(), DAY)
    assert early.error
    assert early.error.type == "PartitionNotFoundError"
    lake.write(DAY, make_frame(5))
    assert lake.run(lake.job(), DAY).status == "published"
    assert early.started_at < datetime.now(UTC)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [("%Y%m%d", "20261128"), ("%-d-%-m-%Y", "3-1-2026"), ("%Y-W%W-%w", "2026-W47-6")],
)
def test_a_date_of_the_job_s_own_format_is_none(lake: Lake, pattern: str, value: str) -> None:
    check_value(lake.job(input={"uri": lake.features.uri, "partition_format": pattern}), value)
