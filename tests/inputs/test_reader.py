"""Batches of many files: the rows of each, in order, whatever the files' sizes and types are."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.errors import CorruptFileError, InputChangedError
from nightscore.inputs import batch_casts, blocks, reader, small_files
from nightscore.inputs.batches import Batch
from nightscore.inputs.reader import read_batches
from nightscore.schemas.contract import Contract, InputColumn
from nightscore.schemas.partition import InputFile, Piece, Shard
from nightscore.storage.backends.local import LocalBackend
from nightscore.storage.store import Store

N_FILES, GROUP_ROWS = 12, 7
CONTRACT = Contract(
    features=(
        InputColumn("number", pa.float64(), "double"),
        InputColumn("text", pa.string(), "string"),
        InputColumn("region", pa.string(), "string"),
    ),
    passthrough=(InputColumn("id", pa.int64()), InputColumn("text", pa.string())),
    predictions=(),
    has_position=False,
    dictionaries=frozenset({"text"}),
)


def table_of(index: int, rng: np.random.Generator) -> pa.Table:
    """The rows of a file: every third one has integers, one of which float64 cannot hold."""
    n_rows = int(rng.integers(1, 30))
    numbers = pa.array(rng.normal(size=n_rows), mask=rng.random(n_rows) < 0.2)
    if index % 3 == 0:
        numbers = pa.array([2**53 + 1, *range(n_rows - 1)], pa.int64())

    texts = pa.array([f"t{i % (index + 1)}" for i in range(n_rows)])
    columns = {
        "id": pa.array(range(100 * index, 100 * index + n_rows)),
        "number": numbers,
        "text": texts,
        "unused": numbers,
    }
    return pa.table(columns).replace_schema_metadata({"rows": str(n_rows)})


@pytest.fixture
def files(tmp_path: Path) -> list[InputFile]:
    """Small files. The folders of the last half give another value of a feature."""
    rng = np.random.default_rng(0)
    written = []
    for index in range(N_FILES):
        region = "north" if index < N_FILES // 2 else "south"
        path = f"region={region}/{index:02d}.parquet"
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        pq.write_table(table_of(index, rng), target, row_group_size=GROUP_ROWS)
        entry = Store(str(tmp_path)).describe(path)
        written.append(InputFile(path, entry.size_bytes, entry.version, hive=(("region", region),)))
    return written


def shard_of(folder: Path, files: list[InputFile]) -> Shard:
    """All rows but the first two of the first file."""
    pieces = []
    for index, file in enumerate(files):
        metadata = pq.read_metadata(folder / file.path)
        n_skipped = 2 if index == 0 else 0
        groups = tuple(range(metadata.num_row_groups))
        n_rows = metadata.num_rows - n_skipped
        pieces.append(Piece(file, groups, n_skipped, n_rows, n_skipped))
    return Shard(0, tuple(pieces), sum(piece.n_rows for piece in pieces), 0, is_last=True)


def described(batches: list[Batch]) -> dict[str, Any]:
    """The rows of batches, and all that is said about them, row by row."""
    origins, changed = [], []
    for batch in batches:
        for stretch in batch.stretches:
            rows = range(stretch.first_row, stretch.first_row + stretch.n_rows)
            origins += [(stretch.path, row) for row in rows]
        mask = batch.changed.get("number", np.zeros(batch.n_rows, np.bool_))
        changed += mask.tolist()

    features = [row for batch in batches for row in batch.features.to_pylist()]
    passthrough = [row for batch in batches for row in batch.passthrough.to_pylist()]
    return {
        "features": features,
        "passthrough": passthrough,
        "origins": origins,
        "changed": changed,
    }


@pytest.mark.parametrize("batch_rows", [1, 5, 64, 10_000])
@pytest.mark.parametrize("case", ["whole", "streamed", "few columns at once", "long chunks"])
def test_batches_of_many_files_hold_what_each_file_holds(
    case: str,
    batch_rows: int,
    files: list[InputFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, shard = Store(str(tmp_path)), shard_of(tmp_path, files)
    expected = [
        next(read_batches(store, Shard(0, (piece,), piece.n_rows, 0), CONTRACT, 10_000))
        for piece in shard.pieces
    ]
    assert [batch.n_rows for batch in expected] == [piece.n_rows for piece in shard.pieces]

    if case == "streamed":
        monkeypatch.setattr(small_files, "SMALL_FILE_BYTES", 0)
    elif case == "few columns at once":
        monkeypatch.setattr(reader, "COLUMNS_AT_ONCE", 2)
    elif case == "long chunks":
        monkeypatch.setattr(blocks, "combine_small_chunks", lambda table: table)

    batches = list(read_batches(store, shard, CONTRACT, batch_rows))

    assert described(batches) == described(expected)
    sizes = {batch.n_rows for batch in batches[:-1]}
    if case == "few columns at once":
        assert all(batch_rows // 2 <= size <= batch_rows for size in sizes)
    else:
        assert sizes <= {batch_rows}
    assert [batch.is_last for batch in batches] == [False] * (len(batches) - 1) + [True]
    schemas = {str(batch.features.schema) for batch in [*batches, *expected]}
    assert len(schemas) == 1


def test_the_columns_of_many_small_files_are_one_chunk(
    files: list[InputFile], tmp_path: Path
) -> None:
    alike = [file for index, file in enumerate(files[: N_FILES // 2]) if index % 3]
    store, shard = Store(str(tmp_path)), shard_of(tmp_path, alike)
    (batch,) = read_batches(store, shard, CONTRACT, 10_000)
    assert {column.num_chunks for column in batch.features.columns} == {1}
    assert len(batch.stretches) == len(alike) > 1


def test_a_small_file_is_read_with_one_request(
    files: list[InputFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []
    read_range = LocalBackend.read_range

    def count(backend: LocalBackend, path: str, start: int, end: int) -> bytes:
        asked.append((path, start, end))
        return read_range(backend, path, start, end)

    monkeypatch.setattr(LocalBackend, "read_range", count)
    monkeypatch.setattr(LocalBackend, "open_input", lambda *_: pytest.fail("opened once more"))
    list(read_batches(Store(str(tmp_path)), shard_of(tmp_path, files), CONTRACT, 64))
    assert asked == [(file.path, 0, file.size_bytes) for file in files]


def test_a_broken_file_among_small_ones_is_named(files: list[InputFile], tmp_path: Path) -> None:
    shard = shard_of(tmp_path, files)
    broken = tmp_path / files[4].path
    content = bytearray(broken.read_bytes())
    content[4:40] = b"\xff" * 36
    stat = broken.stat()
    broken.write_bytes(content)
    entry = Store(str(tmp_path)).describe(files[4].path)

    with pytest.raises(InputChangedError, match=r"04\.parquet"):
        list(read_batches(Store(str(tmp_path)), shard, CONTRACT, 10_000))

    assert entry.size_bytes == stat.st_size
    files[4] = InputFile(files[4].path, entry.size_bytes, entry.version, files[4].hive)
    with pytest.raises(CorruptFileError, match=r"04\.parquet, in rows 0 to"):
        list(read_batches(Store(str(tmp_path)), shard_of(tmp_path, files), CONTRACT, 10_000))


def test_a_cast_that_fails_for_rows_of_many_files_names_the_file(
    files: list[InputFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = batch_casts.FileCasts.cast

    def fail(casts: Any, rows: pa.Table, stretches: Any) -> Batch:
        if any(stretch.path == files[2].path for stretch in stretches):
            raise pa.ArrowInvalid("no such cast")
        return cast(casts, rows, stretches)

    monkeypatch.setattr(batch_casts.FileCasts, "cast", fail)
    with pytest.raises(CorruptFileError, match=r"02\.parquet"):
        list(read_batches(Store(str(tmp_path)), shard_of(tmp_path, files), CONTRACT, 10_000))


def test_small_files_are_fetched_ahead_in_order_within_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [InputFile(f"{i}.parquet", 100 * (i + 1), "v") for i in range(8)]
    large = InputFile("large.parquet", small_files.SMALL_FILE_BYTES + 1, "v")
    started: list[str] = []

    def read_whole(_: Store, file: InputFile) -> bytes:
        started.append(file.path)
        return file.path.encode()

    monkeypatch.setattr(small_files, "read_whole", read_whole)
    with small_files.SmallFiles(Store("memory://x"), [large, *files], 1_000) as source:
        assert source.read(large) is None
        for file in files:
            assert source.read(file) == file.path.encode()
            held = [ahead.size_bytes for ahead, _ in source._ahead]
            assert sum(held) <= 1_000
    assert sorted(started) == sorted(file.path for file in files)


def test_nothing_is_fetched_ahead_without_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [InputFile(f"{i}.parquet", 100, "v") for i in range(3)]
    started: list[str] = []
    monkeypatch.setattr(small_files, "read_whole", lambda _, file: started.append(file.path))
    with small_files.SmallFiles(Store("memory://x"), files, 0) as source:
        source.read(files[0])
    assert started == ["0.parquet"]
