"""What is asked of a store for a file, and when; the rows are those of the file in any case."""

import itertools
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.inputs.prefetch import BLOCK_BYTES, PART_BYTES, PrefetchedFile, group_ranges

N_GROUPS = 4


class Requests:
    """A file's bytes, and what was asked for."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.asked: list[tuple[int, int]] = []
        self.is_short = False
        self._changed = threading.Condition()

    def fetch(self, start: int, end: int) -> bytes:
        with self._changed:
            self.asked.append((start, end))
            self._changed.notify_all()
        return self.content[start : end - self.is_short]

    def wait_for(self, wanted: set[tuple[int, int]]) -> None:
        """Until all of these were asked for: by threads, whenever they have their turn."""
        with self._changed:
            assert self._changed.wait_for(lambda: wanted <= {*self.asked}, timeout=300)


@pytest.fixture
def table() -> pa.Table:
    rng = np.random.default_rng(0)
    columns = {f"f{i}": rng.normal(size=400_000) for i in range(6)}
    return pa.table(columns | {"text": [f"t{i % 50}" for i in range(400_000)]})


@pytest.fixture
def requests(table: pa.Table, tmp_path: Path) -> Requests:
    pq.write_table(table, tmp_path / "file.parquet", row_group_size=len(table) // N_GROUPS)
    return Requests(tmp_path / "file.parquet")


def read(requests: Requests, names: list[str], budget: int, groups: list[int]) -> pa.Table:
    batches = []
    with PrefetchedFile(requests.fetch, len(requests.content), budget) as source:
        parquet = pq.ParquetFile(source, pre_buffer=False, buffer_size=BLOCK_BYTES)
        requests.asked.clear()  # the footer
        source.expect([group_ranges(parquet.metadata, group, names) for group in groups])
        for place, group in enumerate(groups):
            source.begin(place)
            batches += parquet.iter_batches(10_000, [group], columns=names, use_threads=False)
    return pa.Table.from_batches(batches)


@pytest.mark.parametrize("budget", [64 << 20, 1], ids=["whole groups", "blocks"])
@pytest.mark.parametrize("names", [["f1", "f4", "text"], [f"f{i}" for i in range(6)]])
@pytest.mark.parametrize("groups", [[0, 1, 2, 3], [2]])
def test_each_byte_is_asked_for_once(
    table: pa.Table, requests: Requests, budget: int, names: list[str], groups: list[int]
) -> None:
    size = len(table) // N_GROUPS
    rows_read = read(requests, names, budget, groups)
    assert rows_read.equals(
        pa.concat_tables([table.select(names).slice(i * size, size) for i in groups])
    )
    asked = sorted(requests.asked)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(asked))
    assert max(end - start for start, end in asked) <= (PART_BYTES if budget > 1 else BLOCK_BYTES)


def test_groups_that_fit_take_few_requests_and_the_next_one_is_fetched_meanwhile(
    table: pa.Table, requests: Requests
) -> None:
    names = table.column_names
    with PrefetchedFile(requests.fetch, len(requests.content), 64 << 20) as source:
        parquet = pq.ParquetFile(source, pre_buffer=False)
        ranges = [group_ranges(parquet.metadata, group, names) for group in range(N_GROUPS)]
        requests.asked.clear()
        source.expect(ranges)
        source.begin(0)
        parquet.read_row_group(0)
        wanted = {(part.start, part.end) for group in ranges[:2] for part in group.parts()}
        requests.wait_for(wanted)
    assert set(requests.asked) == wanted  # the second group's too, which nobody has read yet
    assert len(wanted) <= 4


def test_a_store_that_gives_too_little_is_an_error(requests: Requests) -> None:
    requests.is_short = True
    with (
        PrefetchedFile(requests.fetch, len(requests.content), 1 << 20) as source,
        pytest.raises(OSError, match="the store gave"),
    ):
        source.seek(100)
        source.read(50)


def test_it_is_a_file(requests: Requests) -> None:
    with PrefetchedFile(requests.fetch, len(requests.content), 1 << 20) as source:
        assert (source.tell(), source.seek(-4, 2), bytes(source.read())) == (
            0,
            len(requests.content) - 4,
            b"PAR1",
        )
        assert bytes(source.read(10)) == b""
        source.seek(0)
        assert bytes(source.read(4)) == b"PAR1"
    assert source.closed
