"""Workers note how many rows they have scored, and the driver tells the sum."""

import queue
from pathlib import Path

import pytest

from nightscore.engine import row_counts
from nightscore.engine.row_counts import count_rows, note_rows, row_counts_file, watched_rows

FAR_S = 30


def test_rows_of_all_shards_add_up_and_the_file_goes() -> None:
    with row_counts_file(3) as path:
        assert count_rows(path) == 0
        note_rows(path, 0, 100)
        note_rows(path, 2, 1 << 40)
        note_rows(path, 0, 250)
        assert count_rows(path) == 250 + (1 << 40)

    assert not Path(path).exists()
    note_rows(path, 0, 300)  # by a worker that is late
    assert not Path(path).exists()


def test_where_there_is_no_place_nobody_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_counts.tempfile, "tempdir", str(tmp_path / "gone"))
    with row_counts_file(3) as path:
        assert path == ""
        note_rows(path, 0, 1)
        with watched_rows(path, lambda n_rows: None):
            pass


def test_what_is_told_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_counts, "PERIOD_S", 0.001)
    told: queue.Queue[int] = queue.Queue()
    with row_counts_file(2) as path, watched_rows(path, told.put):
        note_rows(path, 0, 10)
        assert told.get(timeout=FAR_S) == 10
        note_rows(path, 0, 0)  # the shard is scored again
        note_rows(path, 1, 5)
        note_rows(path, 0, 10)
        assert told.get(timeout=FAR_S) == 15
    assert told.empty()
