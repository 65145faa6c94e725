"""`init` reads dates in names that can mean one day only, and refuses all others."""

import os
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from nightscore.errors import InputError, InvalidJobError, ScoringError
from nightscore.inputs.date_formats import other_dates
from nightscore.inputs.footers import read_footers
from nightscore.operations.project.checks import (
    check_folders,
    check_links,
    check_rows_undated,
    check_wish,
)
from nightscore.operations.project.file_dates import dates_in
from nightscore.operations.project.keys import count_keys
from nightscore.operations.project.layout import find_layout
from nightscore.operations.project.records import Layout, Wish

ROWS = pa.table({"id": [1, 2]})


def write(root: Path, *paths: str, table: pa.Table = ROWS) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, root / path)
    return root


def layout_of(data: Path) -> Layout:
    return find_layout(str(data), data.parent / "project" / "data" / "job")


DAYS = [
    (["sales_24-11-2026", "sales_25-11-2026"], ["2026-11-24", "2026-11-25"]),
    (["a_01-02-2026", "a_24.02.2026"], ["2026-02-01", "2026-02-24"]),
    (["a_01-02-2026", "a_02-24-2026"], ["2026-01-02", "2026-02-24"]),
    (["a_05-05-2026"], ["2026-05-05"]),
    (
        ["20261124123000", "20261125_123000", "x-2026112612"],
        ["2026-11-24", "2026-11-25", "2026-11-26"],
    ),
    (["2026-11-24T12:30:00Z", "24112026"], ["2026-11-24", "2026-11-24"]),
    (["2024/02/28/part-0", "2024_2_9/x"], ["2024-02-28", "2024-02-09"]),
]


@pytest.mark.parametrize(("names", "days"), DAYS)
def test_dates_with_one_meaning_are_read(names: list[str], days: list[str]) -> None:
    assert [date.day for date in dates_in([f"{name}.parquet" for name in names])] == days


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a_01-02-2026", "01-02-2026 may be 2026-01-02 or 2026-02-01"),
        ("a_2026-02-30", "there is no day 2026-02-30"),
        ("a_26-11-28", "26-11-28 is no full date"),
        ("a_261128", "261128 is no full date"),
        ("a_2026-11", "2026-11 is no full date"),
        ("24nov2026", "24nov2026 is no full date"),
    ],
)
def test_what_is_only_like_a_date_is_a_problem(name: str, told: str) -> None:
    (date,) = dates_in([f"{name}.parquet"])
    assert not date.day
    assert told in date.problem


@pytest.mark.parametrize(
    "name",
    [
        "rows",
        "v1.0.12",
        "rows_12345678",
        "1700000000",
        "part-00000-20261124-1111-4222-8333-123456789012-c000",
    ],
)
def test_other_numbers_are_no_dates(name: str) -> None:
    (date,) = dates_in([f"{name}.parquet"])
    assert (date.day, date.problem) == ("", "")


@pytest.mark.parametrize(
    ("names", "problems"),
    [
        (
            ["a_2026-11-24", "a_26-11-28", "b"],
            ["a_26-11-28.parquet: 26-11-28 is", "b.parquet: has no"],
        ),
        (["01-02-2026"], ["may be"]),
        (["26-11-28"], ["26-11-28.parquet: 26-11-28 is no full date"]),
        (["customers", "orders"], ["customers.parquet: has no", "orders.parquet: has no"]),
    ],
)
def test_files_without_a_clear_date_are_all_named(
    tmp_path: Path, names: list[str], problems: list[str]
) -> None:
    data = write(tmp_path / "lake", *[f"{name}.parquet" for name in names])
    with pytest.raises(InputError) as refused:
        layout_of(data)
    assert len(refused.value.problems) == len(problems)
    assert all(told in text for told, text in zip(problems, refused.value.problems, strict=True))
    assert "rename them" in refused.value.next_step
    assert "ds=2026-11-24/" in refused.value.next_step


def test_parts_of_one_data_set_are_one_partition(tmp_path: Path) -> None:
    layout = layout_of(write(tmp_path / "lake", "part-0.parquet", "part-1.parquet"))
    assert len(layout.sample) == 2
    assert not layout.is_dated


@pytest.mark.parametrize(
    ("days", "pattern"),
    [
        (["01-02-2026", "24-02-2026"], "%d-%m-%Y"),
        (["01-02-2026", "02-24-2026"], "%m-%d-%Y"),
        (["01.02.2026", "24.02.2026"], "%d.%m.%Y"),
        (["01-02-2026", "02-01-2026"], ""),
        (["05.05.2026"], ""),
    ],
)
def test_folders_are_read_day_first_only_where_nothing_else_fits(
    tmp_path: Path, days: list[str], pattern: str
) -> None:
    data = write(tmp_path / "lake", *[f"ds={day}/a.parquet" for day in days])
    if pattern:
        assert layout_of(data).pattern == pattern
        return

    with pytest.raises(InputError, match=r"in two ways") as refused:
        layout_of(data)
    assert "(day first)" in refused.value.problems[0]
    assert "input.partition_format" in refused.value.next_step


def test_folders_whose_dates_are_written_otherwise_are_named(tmp_path: Path) -> None:
    days = ["2026-11-24", "20261125", "2026-11-23"]
    layout = layout_of(write(tmp_path / "lake", *[f"ds={day}/a.parquet" for day in days]))
    told = "1 of 3 partitions, such as 20261125, is a date in another format"
    assert told in layout.guesses[1].reason
    assert other_dates(days, "%Y-%m-%d") == told
    assert other_dates(["2026-11-24", "EU", None], "%Y-%m-%d") == ""


def test_the_newest_partition_is_one_with_files(tmp_path: Path) -> None:
    data = write(tmp_path / "lake", "ds=2026-11-23/a.parquet")
    (data / "ds=2026-11-24").mkdir()
    layout = layout_of(data)
    assert layout.newest == "2026-11-23"
    assert [file.path for file in layout.sample] == ["ds=2026-11-23/a.parquet"]
    assert "2026-11-24 has no files yet" in layout.guesses[0].reason


def test_rows_with_dates_of_their_own_are_no_single_partition(tmp_path: Path) -> None:
    days = ["2026-11-24", "2026-11-25"]
    rows = pa.table({"id": [1, 2], "ds": days})
    times = pa.array([f"{day}T12:30:00" for day in days]).cast(pa.timestamp("us"))
    table = tmp_path / "table"
    write_deltalake(table, rows)

    lake = write(tmp_path / "lake", "rows.parquet", table=rows.set_column(1, "ds", times))
    for data in (table, lake):
        layout = layout_of(data)
        footers = read_footers(layout.store, layout.sample)
        with pytest.raises(InputError, match="a date in each row, in the column ds") as refused:
            check_rows_undated(layout, footers, [])
        check_rows_undated(layout, footers, ["ds"])

        code = refused.value.next_step.partition("python -c '")[2].partition("'")[0]
        exec(code, {})  # noqa: S102 (what somebody would paste)
        made = find_layout(layout.uri, tmp_path / "unused")
        assert (made.key, made.newest, made.links) == ("ds", "2026-11-25", ())
        (tmp_path / "project" / "data" / "job").rename(tmp_path / f"made of {data.name}")


def test_encoded_columns_are_counted_as_their_values(tmp_path: Path) -> None:
    column = pa.array(["a", "b", "b"])
    columns = {"id": column.dictionary_encode(), "large": column.cast(pa.large_string())}
    layout = layout_of(write(tmp_path / "lake", "rows.parquet", table=pa.table(columns)))
    counts = count_keys(layout.store, layout.sample[0], list(columns))
    assert counts.n_different == {("id",): 2, ("large",): 2, ("id", "large"): 2}


def nothing_in_log(root: Path) -> Path:
    (write(root, "a.parquet") / "_delta_log").mkdir()
    return root


def broken_log(root: Path) -> Path:
    write_deltalake(root, ROWS)
    next((root / "_delta_log").glob("*.json")).write_text("{nonsense")
    return root


def name_in_other_bytes(root: Path) -> Path:
    write(root, "a.parquet")
    os.rename(bytes(root / "a.parquet"), bytes(root) + b"/a\xff.parquet")
    return root


def link_to_itself(root: Path) -> Path:
    root.mkdir()
    (root / "x.parquet").symlink_to("x.parquet")
    return root / "x.parquet"


def pattern_of_files(root: Path) -> Path:
    return write(root, "a.parquet") / "*.parquet"


def device(root: Path) -> Path:
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    return Path(os.devnull)


def partitions_one_level_deeper(root: Path) -> Path:
    return write(root, "churn/ds=2026-11-24/a.parquet")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (nothing_in_log, "The log of the Delta table cannot be read"),
        (broken_log, "The log of the Delta table cannot be read"),
        (name_in_other_bytes, r"a\xff.parquet: the name is not UTF-8"),
        (link_to_itself, "x.parquet"),
        (pattern_of_files, "give the folder: --data"),
        (device, "no file and no folder"),
        (partitions_one_level_deeper, "lake/churn"),
    ],
)
def test_data_that_nobody_can_read_are_refused(tmp_path: Path, make: object, told: str) -> None:
    assert callable(make)
    with pytest.raises(ScoringError) as refused:
        layout_of(make(tmp_path / "lake"))
    assert told in str(refused.value)
    assert "backtrace" not in str(refused.value)
    assert refused.value.next_step


def test_paths_of_data_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for data in ("~/d", "${HOME}/d"):
        assert check_wish(Wish(folder=tmp_path, data=data)).data == f"{tmp_path}/d"


@pytest.mark.parametrize(
    ("folder", "wish", "told"),
    [
        ("p", {"data": "s3://AKIA:geheim@b/x"}, "carries credentials"),
        ("p", {"data": "${NIGHTSCORE_NOWHERE}/x"}, "NIGHTSCORE_NOWHERE is not set"),
        ("p", {"data": "a\udcff.parquet"}, "the name is not UTF-8"),
        ("p${x}", {}, "an environment variable"),
        ("p", {"name": ".."}, "--name ..: has no letter or digit"),
    ],
)
def test_names_that_no_job_file_can_have_are_refused(
    tmp_path: Path, folder: str, wish: dict[str, str], told: str
) -> None:
    with pytest.raises(InvalidJobError) as refused:
        check_wish(Wish(folder=tmp_path / folder, **wish))
    assert told in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_a_project_needs_folders_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "jobs").write_text("mine")
    for folder, told in ((tmp_path / "link", "link is no folder"), (tmp_path, "jobs is no folder")):
        with pytest.raises(InvalidJobError, match=told):
            check_folders(folder)


def test_files_are_never_linked_among_others(tmp_path: Path) -> None:
    layout = layout_of(write(tmp_path / "lake", "2026-11-24.parquet"))
    check_links(layout)
    write(Path(layout.uri), "ds=2026-11-24/a.parquet")
    with pytest.raises(InvalidJobError, match="has files already") as refused:
        check_links(layout)
    assert f"--data {layout.uri}" in refused.value.next_step
