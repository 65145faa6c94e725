"""Rows that are decoded once and meet two contracts are the rows that each contract would read."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.arrow.chunks import combine_small_chunks
from nightscore.inputs.batches import Batch
from nightscore.inputs.casts import plain_type
from nightscore.inputs.reader import read_batches
from nightscore.inputs.shared_columns import SharedCasts
from nightscore.schemas.contract import Contract, InputColumn
from nightscore.schemas.partition import InputFile, Piece, Shard
from nightscore.storage.store import Store


def contract(
    features: list[InputColumn], *, dictionaries: frozenset[str] = frozenset()
) -> Contract:
    return Contract(
        features=tuple(features),
        passthrough=(InputColumn("id", pa.int64()), InputColumn("color", pa.string())),
        predictions=(),
        has_position=False,
        dictionaries=dictionaries,
    )


NUMBERS = [InputColumn("a", pa.float64(), "double"), InputColumn("n", pa.int64(), "long")]
COLOR = InputColumn("color", pa.string(), "string")
SIZE = InputColumn("size", pa.string(), "string")
REGION = InputColumn("region", pa.string(), "string")
CONTRACTS = {
    "numbers": contract(NUMBERS),
    "one number": contract(NUMBERS[:1]),
    "other order": contract(NUMBERS[::-1]),
    "floats": contract([NUMBERS[0], InputColumn("n", pa.float32(), "float")]),
    "as they are": contract([replace(column, wanted="any") for column in NUMBERS]),
    "text": contract([COLOR, SIZE]),
    "coded": contract([COLOR, SIZE], dictionaries=frozenset(["color", "size"])),
    "one coded": contract([*NUMBERS, SIZE], dictionaries=frozenset(["size"])),
    "of the folder": contract([NUMBERS[0], REGION]),
}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Shard]:
    """Two files: the second one has a float beyond float32's integers, and text that is broken."""
    root = tmp_path_factory.mktemp("features")
    pieces = []
    for i, region in enumerate(["north", "south"]):
        path = f"region={region}/{i}.parquet"
        table = pa.table(
            {
                "id": range(i * 100, i * 100 + 100),
                "a": pa.array([0.5, None] * 50),
                "n": pa.array([1, 2**24 + 1] * 50 if i else [3] * 100),
                "color": ["red", "green"] * 50,
                "size": pa.array(["s", None] * 50).dictionary_encode(),
            }
        )
        (root / path).parent.mkdir()
        pq.write_table(table, root / path)
        description = Store(str(root)).describe(path)
        file = InputFile(path, description.size_bytes, description.version, (("region", region),))
        pieces.append(Piece(file, (0,), 0, 100))
    return Store(str(root)), Shard(0, tuple(pieces), 200, 0, is_last=True)


def rows_of(batches: list[Batch]) -> list[tuple[object, ...]]:
    """Values, types and lost values of each batch. Texts may be dictionary codes, or not."""
    return [
        (
            batch.features.to_pydict(),
            [plain_type(field.type) for field in batch.features.schema],
            batch.passthrough.to_pydict(),
            {name: mask.tolist() for name, mask in batch.changed.items() if mask.any()},
            batch.stretches,
            batch.is_last,
        )
        for batch in batches
    ]


@pytest.mark.parametrize("second", CONTRACTS)
@pytest.mark.parametrize("first", CONTRACTS)
def test_both_contracts_get_the_rows_that_they_would_read_alone(
    shard: tuple[Store, Shard], first: str, second: str
) -> None:
    store, rows = shard
    own, other = CONTRACTS[first], CONTRACTS[second]
    alone = rows_of(list(read_batches(store, rows, own, 64)))
    other_alone = rows_of(list(read_batches(store, rows, other, 64)))

    casts = SharedCasts(own, other)
    batches = list(read_batches(store, rows, own, 64, others=[other]))
    assert rows_of(batches) == alone
    assert rows_of([casts.cast(batch) for batch in batches]) == other_alone


def test_columns_that_are_cast_alike_are_cast_once(shard: tuple[Store, Shard]) -> None:
    store, rows = shard
    own, other = CONTRACTS["numbers"], CONTRACTS["other order"]
    casts = SharedCasts(own, other)
    (batch,) = read_batches(store, rows, own, 200, others=[other])

    batch.features = combine_small_chunks(batch.features)
    assert batch.blocks == (), "nothing is cast again"
    cast = casts.cast(batch)
    for name in ("a", "n"):
        ours, theirs = batch.features.column(name), cast.features.column(name)
        assert ours.chunk(0).buffers()[1].address == theirs.chunk(0).buffers()[1].address


def test_batches_hold_decoded_rows_only_for_other_contracts(shard: tuple[Store, Shard]) -> None:
    store, rows = shard
    own = CONTRACTS["text"]
    for others, is_held in (([], False), ([own], False), ([own, CONTRACTS["coded"]], True)):
        batches = read_batches(store, rows, own, 64, others=others)
        assert all(bool(batch.blocks) == is_held for batch in batches)
