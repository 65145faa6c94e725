"""What a way has written, in few numbers, to see that all did the same work."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tests.bench.engine.workloads import KEY, PARTITION_KEY

TOLERANCE = 1e-7
"""Of sums, relative to the sum of sizes: boosters compute with float32."""
SCORE_COLUMNS = ("score", "probability", "prediction")
"""What a score may be called; the first that there is counts."""


@dataclass(frozen=True)
class Written:
    """Predictions of one way."""

    n_rows: int
    n_partitions: int
    """Folders `ds=...`."""
    keys: int
    """Sum of 32 bits of each key's hash: other keys, another sum."""
    total: float
    """Sum of the scores."""
    weighted: float
    """Sum of the scores, each times a number from 0 to 1 made of its key: a score at another key,
    another sum."""
    size_bytes: int


def read_written(folder: Path) -> Written:
    """All Parquet files below a folder.

    Raises:
        RuntimeError: There is none, or none of the columns is a score.
    """
    files = [
        path for path in sorted(folder.rglob("*.parquet")) if not path.name.startswith((".", "_"))
    ]
    if not files:
        raise RuntimeError(f"nothing was written to {folder}")
    frame = pl.scan_parquet(files, hive_partitioning=False)
    names = frame.collect_schema().names()
    score = next((name for name in SCORE_COLUMNS if name in names), None)
    if score is None:
        raise RuntimeError(
            f"{files[0]} has the columns {', '.join(names)}, none of which is a score"
        )
    hashed = pl.col(KEY).cast(pl.String).hash(0)
    weight = (hashed // 2**11).cast(pl.Float64) / 2**53
    sums = frame.select(
        rows=pl.len(),
        keys=(hashed % 2**32).sum(),
        total=pl.col(score).cast(pl.Float64).sum(),
        weighted=(pl.col(score).cast(pl.Float64) * weight).sum(),
    ).collect(engine="streaming")
    row = sums.row(0, named=True)
    return Written(
        row["rows"],
        len(
            {path.parent.name for path in files if path.parent.name.startswith(f"{PARTITION_KEY}=")}
        ),
        row["keys"],
        row["total"],
        row["weighted"],
        sum(path.stat().st_size for path in files),
    )


def differences(written: Written, expected: Written, *, by_partition: bool) -> list[str]:
    """What differs in content; empty: nothing."""
    problems = []
    if written.n_rows != expected.n_rows:
        problems.append(f"{written.n_rows:,} rows, expected {expected.n_rows:,}")
    if written.keys != expected.keys:
        problems.append("other keys")
    if by_partition and written.n_partitions != expected.n_partitions:
        problems.append(f"{written.n_partitions} partitions, expected {expected.n_partitions}")
    for what in ("total", "weighted"):
        mine, theirs = getattr(written, what), getattr(expected, what)
        if not abs(mine - theirs) <= TOLERANCE * max(abs(theirs), 1.0):
            problems.append(f"{what} of the scores {mine!r}, expected {theirs!r}")
    return problems
