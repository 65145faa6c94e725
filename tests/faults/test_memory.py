"""Memory does not grow with the partition, nor with its row groups; measured in processes of their own."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from nightscore.engine.backends.local import WorkerPool
from nightscore.models.cache import ModelCache
from tests.support.lake import Lake
from tests.support.models import make_frame, register

ROWS = 300_000
GROUP_BYTES = 2 << 30
ALLOWED_GROWTH = 1.15
"""Allocators round up and fragment; a partition held whole would be ten times as large."""

pytestmark = pytest.mark.slow


def peaks(lake: Lake, day: str, folder: Path, **changes: Any) -> tuple[int, int]:
    """Peak resident bytes of the driver and of the largest worker of a run on a partition."""
    path = folder / f"{day}.yaml"
    path.write_text(yaml.safe_dump(lake.job(**changes).model_dump(mode="json")))
    done = subprocess.run(
        [sys.executable, "-m", "nightscore.cli", "run", str(path), day, "--force", "--json"],
        env=os.environ | {"NIGHTSCORE_CACHE": str(lake.cache.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measures = json.loads(done.stdout)["measures"]
    return measures["peak_driver_bytes"], max(measures["peak_worker_bytes"])


@pytest.mark.parametrize("formats", ["delta", pytest.param("parquet", marks=pytest.mark.thorough)])
def test_memory_stays_flat_when_the_partition_grows_tenfold(
    lake: Lake, tmp_path: Path, formats: str
) -> None:
    lake.formats = formats
    frame = make_frame(ROWS)
    large = pd.concat([frame] * 10, ignore_index=True)
    lake.write("warm", make_frame(100))
    # Row groups of 100,000 rows are decoded whole, larger ones in batches, which takes more.
    lake.write("one", frame, row_group_size=100_000)
    lake.write("ten", large, row_group_size=100_000)
    lake.write("one-group", frame, row_group_size=len(frame))
    lake.write("ten-in-one-group", large, row_group_size=len(large))
    peaks(lake, "warm", tmp_path)

    for first, day in (("one", "ten"), ("one-group", "ten-in-one-group")):
        # A short run may end before its batches have met in memory; a busy machine lets more of a long run's meet.
        small = [peaks(lake, first, tmp_path) for _ in range(2)]
        tenfold = [peaks(lake, day, tmp_path) for _ in range(2)]
        driver, worker = (max(of_runs) for of_runs in zip(*small, strict=True))
        driver_now, worker_now = (min(of_runs) for of_runs in zip(*tenfold, strict=True))
        assert driver_now < driver * ALLOWED_GROWTH, day
        assert worker_now < worker * ALLOWED_GROWTH, (day, worker_now / worker)


def tree_peak(lake: Lake, path: Path, day: str) -> int:
    """Greatest memory of a run's processes together, a page that several share counted once; it is asked for 50 times
    a second."""
    output, errors = path.with_suffix(".out"), path.with_suffix(".err")
    greatest = 0
    with output.open("w") as stdout, errors.open("w") as stderr:
        process = psutil.Popen(
            [sys.executable, "-m", "nightscore.cli", "run", str(path), day, "--force", "--json"],
            env=os.environ | {"NIGHTSCORE_CACHE": str(lake.cache.root)},
            stdout=stdout,
            stderr=stderr,
        )
        while process.poll() is None:
            greatest = max(greatest, shares(process))
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(0.02)
    assert process.returncode == 0, errors.read_text()
    assert json.loads(output.read_text())["status"] == "published"
    return greatest


def shares(process: psutil.Popen) -> int:
    """Bytes of a process and of all that it has started."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(OSError, psutil.Error):
                text = Path(f"/proc/{member.pid}/smaps_rollup").read_text()
                total += 1024 * sum(
                    int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")
                )
    return total


def test_the_libraries_own_keeps_what_is_promised_too(
    lake: Lake, tmp_path: Path, thorough: bool
) -> None:
    n_rows = 1_000_000 if thorough else 500_000
    lake.write("2024-02-29", make_frame(n_rows), row_group_size=n_rows)
    limit = 900 << 20
    driver, worker = peaks(
        lake,
        "2024-02-29",
        tmp_path,
        limits={"memory_bytes": limit},
        workers={"count": 2},
        engine="library",
    )
    assert driver + 2 * worker < limit


@pytest.fixture(scope="module")
def wide(
    tmp_path_factory: pytest.TempPathFactory,
    registry: str,
    pool: WorkerPool,
    cache: ModelCache,
    thorough: bool,
) -> Lake:
    """Partitions of 10 MB, and of a row group of 2 GB, in a thorough run two of them; one model takes
    all 30 columns of numbers, one takes 6."""
    import mlflow
    from sklearn.ensemble import HistGradientBoostingRegressor

    root = tmp_path_factory.mktemp("wide")
    lake = Lake(str(root / "lake"), {}, registry, pool, cache, "parquet")
    names = [f"f{i}" for i in range(30)]
    rng = np.random.default_rng(0)
    training = pd.DataFrame(rng.normal(size=(2_000, 30)), columns=names)
    client = mlflow.MlflowClient(tracking_uri=registry, registry_uri=registry)
    for name, n_features in (("wide", 30), ("narrow", 6)):
        x = training[names[:n_features]]
        model = HistGradientBoostingRegressor(max_iter=10).fit(x, x["f0"] * x["f1"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.sklearn.save_model(
                model,
                root / name,
                signature=mlflow.models.infer_signature(x, np.array([0.5])),
                serialization_format="cloudpickle",
                pip_requirements=["scikit-learn"],
            )
        register(client, name, root / name)
    block = pa.table({name: rng.normal(size=43_000) for name in names})
    lake.write(
        "small", block.append_column("id", pa.array(np.arange(len(block)))), use_dictionary=False
    )
    n_blocks = GROUP_BYTES // (8 * len(names) * len(block))
    group = pa.concat_tables([block] * n_blocks)
    folder = root / "lake/features/ds=large"
    folder.mkdir()
    group = group.append_column("id", pa.array(np.arange(len(group))))
    path = folder / "part-0.parquet"
    with pq.ParquetWriter(path, group.schema, compression="none", use_dictionary=False) as writer:
        n_groups = 2 if thorough else 1
        for _ in range(n_groups):
            writer.write_table(group, row_group_size=len(group))
    assert path.stat().st_size > n_groups * GROUP_BYTES
    yield lake
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("model", "day", "mebibytes"),
    [
        pytest.param("narrow", "small", 256, marks=pytest.mark.thorough),
        ("narrow", "large", 256),
        ("wide", "small", 350),
        pytest.param("wide", "large", 512, marks=pytest.mark.thorough),
        pytest.param("wide", "large", 2_048, marks=pytest.mark.thorough),
    ],
)
def test_the_limit_is_kept_whatever_the_size(
    wide: Lake, tmp_path: Path, model: str, day: str, mebibytes: int
) -> None:
    limit = mebibytes << 20
    model = f"models:/{model}/1"
    job = wide.job(model, limits={"memory_bytes": limit}, workers={"count": 2})
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    wide.run(wide.job(model), "small")  # a model's first run on a host compares it with its library
    assert tree_peak(wide, path, day) < limit


def test_a_limit_that_cannot_be_kept_fails_before_reading(lake: Lake) -> None:
    lake.write("2024-02-29", make_frame(10))
    manifest = lake.run(lake.job(limits={"memory_bytes": 64 << 20}))
    assert manifest.error
    assert manifest.error.type == "MemoryLimitError"
    assert "set limits.memory_bytes to" in manifest.error.message
