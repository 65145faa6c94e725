"""Files of quarantined rows: what they say, and what is left if one cannot be written."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.errors import CorruptFileError
from nightscore.outputs.quarantine import (
    RowSource,
    quarantine_path,
    read_origin,
    read_origin_here,
    write_quarantine,
)
from nightscore.storage.store import Store

SOURCE = RowSource(source_file="ds=1/a.parquet", model_version="7", run_id="r")
CAUSE = ("null", "x", "the model takes no missing values")
PATH = quarantine_path("ds=1", "r", 0, 1, 0)

Rows = tuple[pa.Table, npt.NDArray[np.int64]]


@pytest.fixture()
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path), {})


def batch(*texts: bytes) -> Rows:
    column = pa.Array.from_buffers(
        pa.string(),
        len(texts),
        [
            None,
            pa.py_buffer(np.cumsum([0, *map(len, texts)]).astype(np.int32)),
            pa.py_buffer(b"".join(texts)),
        ],
    )
    return pa.table({"x": column}), np.arange(len(texts), dtype=np.int64)


def test_rows_with_broken_text_have_a_file_of_their_own(store: Store) -> None:
    files = write_quarantine(store, PATH, [batch(b"good", b"\xff")], [CAUSE, CAUSE], SOURCE)

    assert sorted(file.rows for file in files) == [1, 1]
    broken = pq.read_table(store.locate(PATH.removesuffix(".parquet") + "-bytes.parquet"))
    assert broken.column("x").to_pylist() == [b"\xff"]
    assert read_origin(store, PATH)[0] == read_origin_here(store, PATH)[0] == "ds=1/a.parquet"


def test_no_rows_are_no_file(store: Store) -> None:
    assert write_quarantine(store, PATH, [batch()], [], SOURCE) == []
    assert not Path(store.locate(PATH)).exists()


def test_a_failure_midway_leaves_no_file(store: Store) -> None:
    def batches() -> Iterator[Rows]:
        yield batch(b"good", b"\xff")
        raise OSError("the input went away")

    with pytest.raises(OSError, match="went away"):
        write_quarantine(store, PATH, batches(), [CAUSE, CAUSE], SOURCE)

    assert not list(Path(store.locate("")).rglob("*.parquet"))


@pytest.mark.parametrize(
    "columns",
    [
        {"_source_file": pa.array([], pa.string()), "_source_row": pa.array([], pa.int64())},
        {"_source_file": pa.array(["a", None]), "_source_row": pa.array([1, 2])},
        {"_source_file": pa.array(["a"]), "_source_row": pa.array(["1"])},
    ],
    ids=["no rows", "a row without a file", "a position that is no integer"],
)
def test_rows_that_do_not_say_where_they_are_from_are_refused(
    store: Store, columns: dict[str, pa.Array]
) -> None:
    path = Path(store.locate(PATH))
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path)

    with pytest.raises(CorruptFileError, match="do not say where they are from") as caught:
        read_origin_here(store, PATH)
    assert "nightscore run --force" in str(caught.value)
