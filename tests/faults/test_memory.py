"""Memory does not grow with the partition, nor with its row groups; measured in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.conftest import Lake
from tests.models import make_frame

ROWS = 300_000
ALLOWED_GROWTH = 1.15
"""Allocators round up and fragment; a partition held whole would be ten times as large."""

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def peaks(lake: Lake, day: str, folder: Path, **changes: Any) -> tuple[int, int]:
    """Peak resident bytes of the driver and of the largest worker of a run on a partition."""
    path = folder / f"{day}.yaml"
    path.write_text(yaml.safe_dump(lake.job(**changes).model_dump(mode="json")))
    done = subprocess.run(
        [sys.executable, "-m", "scoring.cli", "run", str(path), day, "--json"],
        env=os.environ | {"NIGHTSCORE_CACHE": str(lake.cache.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measures = json.loads(done.stdout)["measures"]
    return measures["peak_driver_bytes"], max(measures["peak_worker_bytes"])


@pytest.mark.parametrize("formats", ["delta", "parquet"])
def test_memory_stays_flat_when_the_partition_grows_tenfold(lake: Lake, tmp_path: Path, formats: str) -> None:
    lake.formats = formats
    frame = make_frame(ROWS)
    large = pd.concat([frame] * 10, ignore_index=True)
    lake.write("warm", make_frame(100))
    lake.write("one", frame, row_group_size=100_000)
    lake.write("ten", large, row_group_size=100_000)
    lake.write("group", large, row_group_size=len(large))
    peaks(lake, "warm", tmp_path)

    driver, worker = peaks(lake, "one", tmp_path)

    for day in ("ten", "group"):
        driver_now, worker_now = peaks(lake, day, tmp_path)
        assert driver_now < driver * ALLOWED_GROWTH, day
        assert worker_now < worker * ALLOWED_GROWTH, (day, worker_now / worker)


@pytest.mark.parametrize(("engine", "megabytes"), [("library", 900), ("auto", 1_100)])
def test_the_plan_keeps_what_it_promises(lake: Lake, tmp_path: Path, engine: str, megabytes: int) -> None:
    lake.write("2024-02-29", make_frame(1_000_000), row_group_size=1_000_000)
    limit = megabytes << 20
    driver, worker = peaks(
        lake, "2024-02-29", tmp_path, limits={"memory_bytes": limit}, workers={"count": 2}, engine=engine
    )
    assert driver + 2 * worker < limit


def test_a_limit_that_cannot_be_kept_fails_before_reading(lake: Lake) -> None:
    lake.write("2024-02-29", make_frame(10))
    manifest = lake.run(lake.job(limits={"memory_bytes": 64 << 20}))
    assert manifest.error
    assert manifest.error.type == "MemoryLimitError"
    assert "set limits.memory_bytes to" in manifest.error.message
