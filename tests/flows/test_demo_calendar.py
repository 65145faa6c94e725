"""The demo's days: flights of 2013, moved by whole weeks."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.flows.demo.calendar import demo_days, source_day, today_at
from nightscore.flows.demo.flights import (
    FIRST_QUARTER,
    partition_file,
    split,
    write_outcomes,
    write_partitions,
)
from nightscore.flows.demo.sample import Sample
from nightscore.flows.stack import supervisor
from nightscore.flows.stack.settings import Settings
from nightscore.flows.stack.state import State

MONDAY = date(2026, 11, 30)


def test_a_day_has_the_flights_of_the_same_weekday_and_season() -> None:
    for i in range(30 * 366):
        day = date(2010, 1, 1) + timedelta(days=i)
        source = source_day(day)
        assert source.year == 2013
        assert source.weekday() == day.weekday()
        days_apart = abs(source.timetuple().tm_yday - day.timetuple().tm_yday)
        assert min(days_apart, 366 - days_apart) <= 7
    assert source_day(MONDAY) == date(2013, 12, 2)


def test_a_day_of_2013_is_itself() -> None:
    days = [date(2013, 1, 1) + timedelta(days=i) for i in range(365)]
    assert [source_day(day) for day in days] == days


def test_today_is_that_of_new_york() -> None:
    assert today_at(datetime(2026, 11, 30, 4, 59, tzinfo=UTC)) == date(2026, 11, 29)
    assert today_at(datetime(2026, 11, 30, 5, 0, tzinfo=UTC)) == MONDAY


def test_flights_are_moved_with_their_keys_and_month(tmp_path: Path) -> None:
    source = tmp_path / "flights.parquet"
    days = ["2013-12-01", "2013-12-02", "2013-12-02"]
    flights = pa.table(
        {"flight_id": [f"{day}-AA{i}" for i, day in enumerate(days)], "month": [12] * 3, "ds": days}
    )
    pq.write_table(flights, source)

    n_rows = write_partitions(source, tmp_path / "lake", [MONDAY, date(2013, 12, 1)])

    assert n_rows == 3
    moved = pq.read_table(partition_file(tmp_path / "lake", MONDAY), partitioning=None)
    assert moved.to_pydict() == {
        "flight_id": ["2026-11-30-AA1", "2026-11-30-AA2"],
        "month": [11, 11],
    }
    (folder,) = (tmp_path / "lake").glob("ds=2013-12-01")
    assert [path.name for path in folder.iterdir()] == ["part-0.parquet"]


def test_each_morning_brings_one_day_and_leaves_the_others(tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    days = [str(date(2013, 1, 1) + timedelta(days=i)) for i in range(365)]
    flights = {"flight_id": [f"{day}-AA1" for day in days], "month": [1] * 365, "ds": days}
    sample.source.parent.mkdir(parents=True)
    pq.write_table(pa.table(flights), sample.source)

    first = sample.add_days(MONDAY)
    written = {path: path.stat().st_mtime_ns for path in sample.features.glob("*/*")}
    later = [sample.add_days(MONDAY + timedelta(days=n)) for n in range(1, 8)]

    assert first.startswith("366 flights in 366 partitions")
    assert all(text.startswith("1 flights in 1 partition under") for text in later)
    assert written.items() <= {p: p.stat().st_mtime_ns for p in sample.features.glob("*/*")}.items()
    week_later = MONDAY + timedelta(days=7)
    assert all(partition_file(sample.features, day).exists() for day in demo_days(week_later)[-9:])
    assert sample.add_days(week_later).startswith("0 flights in 0 partitions")


def test_labels_come_the_next_day_and_only_of_flights_that_arrived(tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    flights = pd.DataFrame(
        {
            "flight_id": ["2013-12-01-AA1", "2013-12-01-AA2", "2013-12-01-AA3", "2013-12-02-AA1"],
            "arr_delay": [15.0, 16.0, None, 90.0],
            "ds": ["2013-12-01"] * 3 + ["2013-12-02"],
        }
    )
    write_outcomes(flights, sample.outcomes)
    sunday = MONDAY - timedelta(days=1)

    write_partitions(sample.outcomes, sample.labels, [sunday])

    labels = pq.read_table(partition_file(sample.labels, sunday), partitioning=None)
    assert labels.to_pydict() == {
        "flight_id": ["2026-11-29-AA1", "2026-11-29-AA2"],
        "late": [False, True],
    }
    assert sample._missing_labels(MONDAY)[-1] == sunday - timedelta(days=1)
    assert sample._missing_labels(MONDAY + timedelta(days=1))[-1] == MONDAY


def test_held_out_days_are_whole_and_of_all_weekdays(tmp_path: Path) -> None:
    days = [date(2013, 1, 1) + timedelta(days=i) for i in range(120)] * 2
    flights = pd.DataFrame({"ds": map(str, days), "arr_delay": [0.0, 60.0] * 120})

    training, held_out = split(flights, FIRST_QUARTER)

    held_out_days = {date.fromisoformat(day) for day in held_out["ds"]}
    assert {day.weekday() for day in held_out_days} == set(range(7))
    assert not held_out_days & {date.fromisoformat(day) for day in training["ds"]}
    assert len(held_out) == 2 * len(held_out_days) == 2 * 22
    assert len(training) == 2 * (90 - 22)
    assert max(held_out_days) <= date(2013, 3, 31)


def test_a_running_stack_adds_each_new_day_and_tries_again_if_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[OSError | None] = [OSError("disk full"), None]
    added: list[date] = []

    def add_days(settings: Settings, day: date) -> None:
        added.append(day)
        if error := answers.pop(0):
            raise error

    today = [MONDAY]
    monkeypatch.setattr(supervisor, "add_days", add_days)
    monkeypatch.setattr(supervisor, "today_at", lambda now: today[-1])
    owner = supervisor._Supervisor(State(settings=Settings(root=str(tmp_path)), status="up"))

    owner._add_new_days()
    assert not added, "the lake has this day since the start"

    today.append(MONDAY + timedelta(days=1))
    for _ in range(3):
        owner._add_new_days()

    assert added == [today[-1]] * 2
    assert "the flights of 2026-12-01 could not be added: disk full" in caplog.text
