"""Text that is not UTF-8 costs its own row, whole and without loss, and never reaches a reader."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.arrow.texts import (
    TEXT_AS_BYTES,
    as_bytes,
    as_text,
    broken_texts,
    stated_schema,
    without,
)
from nightscore.inputs.dataset import Dataset
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.operations.compare_datasets import compare_datasets
from tests.operations.test_replay import again
from tests.support.lake import Lake
from tests.support.models import NUMBERS, STRINGS, KnownModel, make_frame

DAY = "2024-02-29"
LOOSE = {"max_quarantined_rows": 1_000}
BROKEN = {
    "latin-1": b"gr\xfcn",
    "first": b"\xff",
    "cut short": b"gr\xc3",
    "surrogate": b"\xed\xa0\x80",
    "overlong nul": b"\xc0\x80",
    "beyond unicode": b"\xf4\x90\x80\x80",
}
FINE = [b"", b"blau", b"a\x00b", "grün".encode(), "漢字😀".encode(), b"\r\n", "\ufeffx".encode()]


def texts(values: Sequence[bytes | None], kind: pa.DataType | None = None) -> pa.ChunkedArray:
    """Bytes as text, unchecked, as Parquet is read."""
    column = as_text(pa.chunked_array([pa.array(values, pa.binary())]))
    return column if kind is None else column.cast(kind)


def is_utf8(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
)
@given(
    values=st.lists(
        st.none() | st.binary(max_size=6) | st.text(max_size=4).map(str.encode), max_size=12
    )
)
def test_exactly_what_python_does_not_decode_is_broken(
    kind: pa.DataType, values: list[bytes | None]
) -> None:
    column = texts([b"left out", *values], kind).slice(1)
    rows = broken_texts(column)
    bad = [not is_utf8(value) for value in values]
    assert (rows.tolist() if rows is not None else [False] * len(values)) == bad
    if rows is not None:
        clean = without(column, rows)
        clean.validate(full=True)
        expected = [
            value.decode() if value is not None and not b else None
            for value, b in zip(values, bad, strict=True)
        ]
        assert (clean.type, clean.to_pylist()) == (kind, expected)


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_each_kind_of_broken_text_is_seen_between_others(value: bytes) -> None:
    rows = broken_texts(texts([*FINE, value, None, *FINE]))
    assert rows is not None
    assert np.flatnonzero(rows).tolist() == [len(FINE)]
    assert broken_texts(texts([*FINE, None])) is None


def test_a_broken_half_is_not_mended_by_its_neighbour() -> None:
    rows = broken_texts(texts([b"\xc3", b"\xbc", "ü".encode()]))
    assert rows is not None
    assert rows.tolist() == [True, True, False]


def test_texts_are_looked_at_in_lists_maps_and_structs() -> None:
    column = texts([b"a", b"\xfc", "ü".encode(), b"d"])
    values = column.combine_chunks()
    starts = pa.array([0, 1, 1, 4], pa.int32())
    names = pa.array(list("wxyz"))
    nested = {
        "list": pa.ListArray.from_arrays(starts, values),
        "large list": pa.LargeListArray.from_arrays(starts.cast(pa.int64()), values),
        "map": pa.MapArray.from_arrays(starts, names, values),
        "map of keys": pa.MapArray.from_arrays(starts, values, names),
        "lists of structs": pa.ListArray.from_arrays(
            starts, pa.StructArray.from_arrays([values], ["s"])
        ),
    }
    for name, array in nested.items():
        rows = broken_texts(pa.chunked_array([array]))
        assert rows is not None, name
        assert rows.tolist() == [False, False, True], name
        stored = as_bytes(pa.table({"x": array}))
        assert stored.column("x").cast(stored.schema.field("x").type).to_pylist() is not None, name
    rows = broken_texts(pa.chunked_array([pa.StructArray.from_arrays([values, names], ["s", "n"])]))
    assert rows is not None
    assert rows.tolist() == [False, True, False, False]


def test_a_dictionary_loses_broken_values_that_no_row_refers_to() -> None:
    column = texts([b"a", b"\xfc", b"b"], pa.dictionary(pa.int8(), pa.string())).slice(2)
    rows = broken_texts(column)
    assert rows is not None
    assert rows.tolist() == [False]
    assert without(column, rows).chunk(0).dictionary.to_pylist() == ["b"]


def test_bytes_say_what_they_were(tmp_path: Path) -> None:
    table = pa.table({"n": [1, 2], "t": texts([b"\xfc", None], pa.large_string())})
    pq.write_table(as_bytes(table), tmp_path / "x.parquet")
    schema = pq.read_schema(tmp_path / "x.parquet")
    assert schema.field("t").metadata[TEXT_AS_BYTES] == b"large_string"
    assert stated_schema(schema).types == [pa.int64(), pa.string()]


def frame_with(
    values: dict[int, bytes], column: str, n_rows: int = 300
) -> tuple[pd.DataFrame, pa.Table]:
    """A day whose column holds these bytes in some rows."""
    frame = make_frame(n_rows)
    frame["name"] = [f"straße {i}" for i in range(n_rows)]
    table = pa.Table.from_pandas(frame, preserve_index=False)
    raw = [values.get(i, text.encode()) for i, text in enumerate(frame[column])]
    return frame, table.set_column(table.column_names.index(column), column, texts(raw))


def stored_rows(lake: Lake, job: Any, manifest: Any) -> dict[str, pl.DataFrame]:
    """Each quarantine file as a strict reader gets it."""
    store = state_store(job)
    return {
        file.path: pl.read_parquet(store.open_input(file.path))
        for file in manifest.quarantine.files
    }


@pytest.mark.parametrize("formats", ["delta", "parquet"])
@pytest.mark.parametrize(
    "value", [b"\x01\xff", b"m\xfcller", b"\xff\xff"], ids=["least", "between", "greatest"]
)
def test_a_broken_text_passed_through_costs_its_row_only(
    lake: Lake, formats: str, value: bytes
) -> None:
    lake.formats = formats
    frame, table = frame_with({7: value, 250: value}, "name")
    lake.write(DAY, table, row_group_size=100)
    job = lake.job(pass_through=["name"], limits=LOOSE)

    manifest = lake.run(job)

    assert manifest.error is None
    assert manifest.quarantine.by_column == {"name: not_utf8": 2}
    assert [(e.source_row, e.column, e.reason) for e in manifest.quarantine.examples] == [
        (7, "name", "not_utf8"),
        (250, "name", "not_utf8"),
    ]
    files = [
        entry.path
        for entry in predictions_store(job).list_files()
        if entry.path.endswith(".parquet")
    ]
    published = pl.concat(
        [
            pl.read_parquet(predictions_store(job).open_input(path), columns=["id", "name"])
            for path in files
        ]
    )
    left = frame.drop(index=[7, 250])
    assert published.sort("id").to_dict(as_series=False) == left[["id", "name"]].to_dict("list")
    (rows,) = stored_rows(lake, job, manifest).values()
    assert rows["name"].to_list() == [value, value]
    assert rows["color"].to_list() == [text.encode() for text in frame.loc[[7, 250], "color"]]
    assert rows["_reason"].to_list() == ["not_utf8"] * 2


def test_by_default_a_broken_key_fails_the_run_and_is_named(lake: Lake) -> None:
    _, table = frame_with({5: b"\xe4"}, "name")
    lake.write(DAY, table)
    manifest = lake.run(lake.job(keys=["name"]))
    assert manifest.error
    assert manifest.error.type == "QuarantineLimitError"
    assert f"ds={DAY}/part-0.parquet row 5: not_utf8 in name" in manifest.error.message


@pytest.mark.parametrize("is_coded", [False, True], ids=["plain", "dictionary"])
@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_a_broken_feature_costs_its_row_only(
    lake: Lake, models: dict[str, KnownModel], kind: pa.DataType, is_coded: bool
) -> None:
    n_rows = 3_000
    frame, table = frame_with({4: b"r\xf6d", 2_999: b"\xc3"}, "color", n_rows)
    column = table.column("color").cast(kind)
    lake.write(
        DAY,
        table.set_column(table.column_names.index("color"), "color", column),
        use_dictionary=is_coded,
    )
    job = lake.job(
        "pipeline_ordinal", limits=LOOSE, drift={"segments": ["color"]}, pass_through=["size"]
    )

    manifest = lake.run(job)

    assert manifest.error is None
    assert manifest.quarantine.by_column == {"color: not_utf8": 2}
    left = frame.drop(index=[4, 2_999])
    own = models["pipeline_ordinal"].estimator.predict_proba(left[[*STRINGS, *NUMBERS]])[:, 1]
    assert np.array_equal(lake.read(job).sort_values("id")["probability"], own)


def test_a_policy_may_let_broken_features_pass_as_missing_but_no_key(lake: Lake) -> None:
    frame, table = frame_with({4: b"r\xf6d"}, "color")
    lake.write(DAY, table)
    policy = {"policy": {"cast": "pass"}, "limits": LOOSE}
    passing = lake.run(lake.job("pipeline_ordinal", **policy))
    kept = lake.run(
        lake.job(
            "pipeline_ordinal",
            pass_through=["color"],
            output={"uri": f"{lake.root}/other"},
            **policy,
        )
    )
    assert (passing.error, passing.counts.rows_quarantined) == (None, 0)
    assert any("color" in warning for warning in passing.warnings)
    assert kept.quarantine.by_column == {"color: not_utf8": 1}
    assert len(frame) == 300


def test_broken_texts_that_nobody_needs_do_not_spoil_the_quarantine(lake: Lake) -> None:
    """Rows of one file are quarantined for another reason, some with such a text beside it: all can be replayed."""
    frame, table = frame_with({3: b"\xfc", 9: b"\xfc"}, "name")
    numbers = frame["b"].where(~frame.index.isin([3, 4])).tolist()
    table = table.set_column(
        table.column_names.index("b"), "b", pa.array(numbers, pa.float64(), from_pandas=True)
    )
    lake.write(DAY, table)
    strict = lake.job(limits=LOOSE, policy={"missing": "quarantine"})

    manifest = lake.run(strict)

    files = stored_rows(lake, strict, manifest)
    assert {
        path.endswith("-bytes.parquet"): rows["name"].to_list() for path, rows in files.items()
    } == {
        False: ["straße 4"],
        True: [b"\xfc"],
    }
    replayed = again(lake, lake.job(limits=LOOSE))
    assert (replayed.error, replayed.counts.rows_quarantined, replayed.counts.rows_scored) == (
        None,
        0,
        300,
    )
    assert sorted(lake.read(strict)["id"]) == frame["id"].tolist()


def test_a_replayed_row_with_a_broken_key_stays_in_quarantine(lake: Lake) -> None:
    _, table = frame_with({3: b"\xfc", 9: b"\xfd"}, "name")
    lake.write(DAY, table)
    job = lake.job(keys=["name"], limits=LOOSE)
    lake.run(job)

    manifest = again(lake, job)

    assert manifest.error is None
    assert manifest.quarantine.by_column == {"name: not_utf8": 2}
    (rows,) = stored_rows(lake, job, manifest).values()
    assert rows["name"].to_list() == [b"\xfc", b"\xfd"]
    assert rows["_source_row"].to_list() == [3, 9]


def test_broken_texts_are_missing_where_two_datasets_are_compared(tmp_path: Path) -> None:
    day = pa.table({"t": texts([b"a", b"b", b"a", b"\xfc"])})
    pq.write_table(day, tmp_path / "then.parquet")
    pq.write_table(as_bytes(day), tmp_path / "now.parquet")
    then, now = (Dataset(str(tmp_path / name)) for name in ("then.parquet", "now.parquet"))
    assert [column.to_pylist() for side in (then, now) for column in side.read("t")] == [
        ["a", "b", "a", None]
    ] * 2
    assert not compare_datasets(then, now).errors
