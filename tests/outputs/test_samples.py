"""Samples of rows do not depend on how the rows were cut, and only jobs that ask have them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.arrow.row_hashes import row_hashes
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.fingerprint import fingerprint
from nightscore.ledger.layout import state_store
from nightscore.ledger.manifest_files import find_manifest
from nightscore.operations.clean import clean
from nightscore.operations.clean_samples import clean_samples
from nightscore.outputs.samples import (
    KEY_HASH,
    OWN_COLUMNS,
    SCORE,
    least_rows,
    make_rows,
    read_samples,
    sample_path,
    write_sample,
)
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import Partition
from nightscore.storage.store import Store
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-02-29"
SAMPLED = {"estimate": {"sample_rows": 20}}


def sample_of(keys: Sequence[int], n_rows: int) -> pa.Table:
    """The sample of rows whose content depends on their key, and on nothing but it and a bit."""
    column = pa.array(keys, pa.int64())
    features = pa.table({"x": pa.array([key % 3 for key in keys], pa.int64())})
    rows = make_rows(row_hashes([column]), features, pa.array(np.arange(len(keys)) % 2 / 2))
    merged = least_rows([rows], n_rows)
    assert merged is not None
    return merged


@given(
    st.lists(st.integers(0, 30), max_size=40),
    st.lists(st.integers(0, 40), max_size=4),
    st.integers(1, 12),
)
def test_the_sample_of_parts_is_the_sample_of_the_whole(
    keys: list[int], cuts: list[int], n_rows: int
) -> None:
    table = make_rows(
        row_hashes([pa.array(keys, pa.int64())]),
        pa.table({"x": pa.array([key % 3 for key in keys], pa.int64())}),
        pa.array(np.arange(len(keys)) % 2 / 2),
    )
    places = sorted({0, len(keys), *(cut for cut in cuts if cut < len(keys))})
    parts = [table.slice(a, b - a) for a, b in pairwise(places)]
    samples = [least_rows([part], n_rows) for part in reversed(parts)]

    whole = least_rows([table], n_rows)
    merged = least_rows([sample for sample in samples if sample is not None], n_rows)
    assert whole is not None
    assert whole.num_rows == min(n_rows, len(keys))
    assert merged is None or merged.to_pylist() == whole.to_pylist()
    assert (merged is None) == (not keys)


def test_a_sample_is_read_as_it_was_written(tmp_path: Path) -> None:
    store, rows = Store(str(tmp_path), {}), sample_of(range(50), 10)
    paths = [sample_path("ds=1", "run", shard, 0) for shard in (0, 1)]
    for path in paths:
        write_sample(store, path, rows)

    read = read_samples(store, paths[:1], 10)
    assert read is not None
    assert read.to_pylist() == rows.to_pylist()
    twice = read_samples(store, paths, 10)
    assert twice is not None
    assert twice.column(KEY_HASH).to_pylist() == sorted(rows.column(KEY_HASH).to_pylist() * 2)[:10]


def sampled(lake: Lake, run_id: str) -> pa.Table:
    """The sample of a run, by its record."""
    manifest = find_manifest(state_store(lake.job()), f"ds={DAY}", run_id)
    assert manifest is not None
    assert manifest.sample is not None
    paths = [file.path for file in manifest.sample.files]
    rows = read_samples(state_store(lake.job()), paths, manifest.sample.rows)
    assert rows is not None
    return rows


def test_workers_sample_the_published_rows(lake: Lake) -> None:
    lake.write(DAY, make_frame(900, seed=1))
    job = lake.job(**SAMPLED)

    rows = sampled(lake, lake.run(job).run_id)
    published = lake.read(job)
    hashes = row_hashes([pa.array(published["id"])])
    least = np.argsort(hashes)[:20]
    assert rows.column(KEY_HASH).to_pylist() == hashes[least].tolist()
    assert rows.column(SCORE).to_pylist() == published["probability"].to_numpy()[least].tolist()
    assert len(rows.column_names) > len(OWN_COLUMNS)

    lake.write(DAY, make_frame(900, seed=1).iloc[::-1].iloc[:500], "part-0")
    lake.write(DAY, make_frame(900, seed=1).iloc[::-1].iloc[500:], "part-1")
    assert sampled(lake, lake.run(job).run_id).to_pylist() == rows.to_pylist()


def test_no_sample_by_default(lake: Lake) -> None:
    lake.write(DAY, make_frame(50))
    job = lake.job()
    manifest = lake.run(job)
    assert manifest.sample is None
    assert not list(state_store(job).list_files("samples"))

    partition = Partition("ds", DAY, f"ds={DAY}")
    digests = {
        fingerprint(one, partition, "m", "1", "sha256:x") for one in (job, lake.job(**SAMPLED))
    }
    assert len(digests) == 1, "a sample scores nothing again"


def test_a_failed_run_leaves_no_sample(lake: Lake) -> None:
    lake.write(DAY, make_frame(50))
    job = lake.job(gates={"probability_range": {"min": 0.5, "max": 0.6}}, **SAMPLED)
    manifest = lake.run(job)
    assert manifest.status != "published"
    assert not list(state_store(job).list_files("samples"))


def paths_of(job: ScoringJob) -> set[str]:
    return {entry.path for entry in state_store(job).list_files("samples")}


def test_clean_removes_samples(lake: Lake) -> None:
    lake.write(DAY, make_frame(50))
    job = lake.job(**SAMPLED)
    lake.run(job)
    published = paths_of(job)

    # A run that was killed leaves a sample without a record, which nobody reads.
    dead = sample_path(f"ds={DAY}", "01a2095c-1262-7217-9c92-00000000ffff", 0, 0)
    of_baseline = "samples/baselines/ff.parquet"
    for path in (dead, of_baseline):
        state_store(job).write_bytes(path, b"rows")

    later = datetime.now(UTC) + timedelta(days=40)
    hour = timedelta(hours=1)
    assert clean(job, later, hour, delete=True) == [dead]
    assert paths_of(job) == {*published, of_baseline}

    assert clean_samples(job, later - timedelta(days=41), delete=True) == []
    old = later - timedelta(days=30)
    assert set(clean_samples(job, old, delete=False)) == {*published, of_baseline}
    assert set(clean_samples(job, old, delete=True)) == {*published, of_baseline}
    assert paths_of(job) == set()


def test_samples_need_keys() -> None:
    raw = {"name": "a", "model": "models:/m/1", "input": "/in", "output": "/out", **SAMPLED}
    with pytest.raises(Exception, match="rows are chosen by a hash of their keys"):
        parse_job(raw)
    assert parse_job(raw | {"keys": "id"}).estimate.sample_rows == 20
