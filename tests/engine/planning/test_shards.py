"""Shards cover every row once, whatever the files are."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from nightscore.engine.planning.shards import (
    MAX_SHARD_BYTES,
    MAX_SHARDS,
    MIN_SHARD_ROWS,
    plan_shards,
)
from nightscore.inputs.footers import Footer
from nightscore.inputs.row_group_sizes import RowGroup, RowGroups
from nightscore.schemas.partition import InputFile

GROUPS = st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 200)), max_size=6)


def footers_of(files: list[list[tuple[int, int]]]) -> list[Footer]:
    return [
        Footer(
            file=InputFile(f"{i:04d}.parquet", 1, "v"),
            schema=pa.schema([("x", pa.float64())]),
            row_groups=RowGroups.pack(
                [
                    RowGroup(n, {"x": n * width, "other": 10**9}, {"x": n * width})
                    for n, width in groups
                ]
            ),
            ranges={},
        )
        for i, groups in enumerate(files)
    ]


@given(st.lists(GROUPS, max_size=8), st.integers(1, 16), st.sampled_from([MIN_SHARD_ROWS, 1_024]))
def test_every_row_is_in_one_shard_in_order(
    files: list[list[tuple[int, int]]], n_workers: int, least_rows: int
) -> None:
    footers = footers_of(files)
    shards = plan_shards(footers, ["x"], n_workers, least_rows)
    position: dict[str, int] = {}
    order = []
    for shard in shards:
        assert shard.n_rows == sum(piece.n_rows for piece in shard.pieces) > 0
        for piece in shard.pieces:
            path = piece.file.path
            assert piece.first_row == position.get(path, 0)
            position[path] = piece.first_row + piece.n_rows
            order.append(path)
            sizes = [g.n_rows for g in next(f for f in footers if f.file.path == path).row_groups]
            before = sum(sizes[: piece.row_groups[0]])
            assert piece.first_row == before + piece.skip_rows
            assert piece.first_row + piece.n_rows <= before + sum(
                sizes[g] for g in piece.row_groups
            )
    assert order == sorted(order)
    assert position == {f.file.path: f.n_rows for f in footers if f.n_rows}
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert [shard.is_last for shard in shards] == [False] * (len(shards) - 1) + [True] * bool(
        shards
    )


def test_one_huge_file_is_shared_by_all_workers() -> None:
    shards = plan_shards(footers_of([[(1_000_000, 8)] * 20]), ["x"], 4)
    assert len(shards) >= 8
    assert max(s.n_rows for s in shards) <= 2 * min(s.n_rows for s in shards)


def test_one_huge_row_group_is_shared_by_all_workers() -> None:
    shards = plan_shards(footers_of([[(4_000_000, 8)]]), ["x"], 4)
    assert len(shards) == 4
    assert {s.n_rows for s in shards} == {1_000_000}


def test_a_thousand_small_files_make_few_even_shards() -> None:
    shards = plan_shards(footers_of([[(1_000, 8)]] * 1_000), ["x"], 2)
    assert 4 <= len(shards) <= 9
    assert max(s.n_rows for s in shards) <= 1.5 * 1_000_000 / len(shards)


def test_a_small_partition_is_not_cut() -> None:
    assert len(plan_shards(footers_of([[(MIN_SHARD_ROWS, 8)]]), ["x"], 8)) == 1


def test_few_rows_of_a_slow_model_are_shared_by_all_workers() -> None:
    one_group = footers_of([[(100_000, 8)]])
    assert [shard.n_rows for shard in plan_shards(one_group, ["x"], 2)] == [100_000]
    shards = plan_shards(one_group, ["x"], 2, least_rows=4_096)
    assert [shard.n_rows for shard in shards] == [50_048, 49_952]

    small_files = footers_of([[(1_000, 8)]] * 100)
    shards = plan_shards(small_files, ["x"], 2, least_rows=4_096)
    assert len(shards) == 8
    assert max(shard.n_rows for shard in shards) <= 13_000


def test_wide_rows_make_shards_that_a_retry_can_afford() -> None:
    shards = plan_shards(footers_of([[(1_000, 10_000_000)]] * 10), ["x"], 1)
    assert len(shards) == 10
    assert MAX_SHARD_BYTES < 10**10


def test_wide_rows_are_shared_evenly() -> None:
    # Three shards would do for the bytes, and some files are lighter by a few bytes.
    files = [[(2_500, 27_000 - i % 3)] for i in range(8)]
    shards = plan_shards(footers_of(files), ["x"], 2)
    assert [shard.n_rows for shard in shards] == [5_000] * 4


def test_a_partition_of_terabytes_has_no_more_shards_than_a_driver_can_hold() -> None:
    footers = footers_of([[(1_000_000, 400)] * 8] * 4_000)
    shards = plan_shards(footers, ["x"], 200)
    assert sum(footer.n_rows * 400 for footer in footers) > 3 * MAX_SHARDS * MAX_SHARD_BYTES
    assert MAX_SHARDS // 2 < len(shards) <= MAX_SHARDS
    assert sum(shard.n_rows for shard in shards) == 32_000_000_000
    assert max(shard.n_rows for shard in shards) <= 2 * 32_000_000_000 / MAX_SHARDS


def test_a_partition_without_rows_has_no_shards() -> None:
    assert plan_shards(footers_of([[], [(0, 1)]]), ["x"], 2) == ()
