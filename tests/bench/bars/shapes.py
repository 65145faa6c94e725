"""Bar 7: partitions of unusual shape: many small files, thousands of columns, a hundred classes."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.bench.bars.bench import Bench, Way, run_in_turns
from tests.bench.bars.figures import Figure, at_least, at_most
from tests.bench.engine.workloads import KEY, PARTITION_KEY, W4, Workload

BAR = 7
MOST_FILE_MS = 1.0
MOST_OF_LOOP = 1.5
LEAST_TIMES = 3.0
CLASS_ITERATIONS = 5
WIDE_TRAINING = 2_000


def measure(bench: Bench) -> Iterator[Figure]:
    """The three shapes."""
    yield from _many_files(bench)
    yield from _many_columns(bench)
    yield from _many_classes(bench)


def _many_files(bench: Bench) -> Iterator[Figure]:
    """A logistic regression on one partition in many files of a few hundred rows each.

    The same rows in one file are its measure, and Polars on the many files.
    """
    sizes = bench.sizes
    rows = W4.sized(sizes.files * sizes.file_rows)
    many, one = bench.root / "many-files", bench.root / "one-file"
    _rewrite(bench.features(rows), many / f"{PARTITION_KEY}={rows.days[0]}", sizes.file_rows)
    _rewrite(bench.features(rows), one / f"{PARTITION_KEY}={rows.days[0]}", rows.n_rows)

    jobs = [
        bench.write_job(name, rows, features=folder)
        for name, folder in (("many-files", many), ("one-file", one))
    ]
    in_many, in_one = (bench.run_way(job, rows) for job in jobs)
    polars = bench.peer_way("polars", rows, features=many)
    bench.warm_up(jobs[1], rows)
    ways = {f"{sizes.files:,} files": in_many, "one file": in_one, "polars": polars}
    run_in_turns(ways, sizes.long_repeats)
    title = f"linear model, {sizes.files:,} files"
    bench.compare(title, rows, {"nightscore": in_many, "polars": polars})

    each_ms = 1_000 * (in_many.wall_s - in_one.wall_s) / sizes.files
    basis = f"{in_many.wall_s:.2f} s, {in_one.wall_s:.2f} s"
    what = f"{sizes.files:,} files of {sizes.file_rows} rows, each beyond one file's time"
    yield at_most(BAR, what, each_ms, MOST_FILE_MS, unit=" ms", basis=basis)
    basis = f"{in_many.wall_s:.2f} s, {polars.wall_s:.2f} s"
    what = f"{sizes.files:,} files, share of Polars' wall time"
    yield at_most(BAR, what, in_many.wall_s / polars.wall_s, 1.0, basis=basis)
    for folder in (many, one):
        shutil.rmtree(folder)


def _rewrite(source: Path, target: Path, file_rows: int) -> None:
    """The rows of one partition in files of another size."""
    target.mkdir(parents=True)
    table = pq.read_table(sorted(source.rglob("*.parquet")), partitioning=None)
    for i, start in enumerate(range(0, len(table), file_rows)):
        part = table.slice(start, file_rows)
        pq.write_table(part, target / f"part-{i:05d}.parquet", compression="zstd")


def _many_columns(bench: Bench) -> Iterator[Figure]:
    """Thousands of numbers, imputed, scaled, into a logistic regression."""
    sizes = bench.sizes
    wide = Workload(
        f"wide-{sizes.wide_columns}",
        "imputed, scaled, logistic, thousands of floats",
        sizes.wide_columns,
        0,
        few_steps,
        sizes.wide_rows,
        n_training=WIDE_TRAINING,
    )
    ours, loop = _beside_loop(bench, wide, sizes.long_repeats)
    what = f"{wide.n_floats:,} columns, {{}} as a multiple of a scikit-learn loop's"
    basis = f"{ours.wall_s:.2f} s, {loop.wall_s:.2f} s"
    ratio = ours.wall_s / loop.wall_s
    yield at_most(BAR, what.format("wall time"), ratio, MOST_OF_LOOP, basis=basis)
    basis = f"{ours.peak_bytes / 1e6:.0f} MB, {loop.peak_bytes / 1e6:.0f} MB"
    ratio = ours.peak_bytes / loop.peak_bytes
    yield at_most(BAR, what.format("peak memory"), ratio, 1.0, basis=basis)


def _many_classes(bench: Bench) -> Iterator[Figure]:
    """Boosted trees with as many classes: a tree for each in each iteration, and a softmax."""
    sizes = bench.sizes
    classes = Workload(
        f"classes-{sizes.classes}",
        "HistGradientBoosting with many classes, 20 floats",
        20,
        0,
        by_classes(sizes.classes),
        sizes.class_rows,
    )
    ours, loop = _beside_loop(bench, classes, sizes.repeats)
    what = f"{sizes.classes} classes, {classes.n_rows:,} rows, times a scikit-learn loop's speed"
    basis = f"{ours.wall_s:.2f} s, {loop.wall_s:.2f} s"
    yield at_least(BAR, what, loop.wall_s / ours.wall_s, LEAST_TIMES, basis=basis)


def _beside_loop(bench: Bench, workload: Workload, repeats: int) -> tuple[Way, Way]:
    job = bench.write_job(workload.name, workload)
    bench.warm_up(job, workload)
    ours, loop = bench.run_way(job, workload), _loop_way(bench, workload)
    run_in_turns({"nightscore": ours, "scikit-learn loop": loop}, repeats)
    bench.clear(job)
    return ours, loop


def _loop_way(bench: Bench, workload: Workload) -> Way:
    output = bench.root / "loop"
    task = {
        "model": str(bench.model(workload)),
        "input": str(bench.features(workload)),
        "output": str(output),
        "key": KEY,
        "features": workload.features,
        "strings": [],
        "partition": None,
        "workers": 1,
    }
    path = bench.root / f"loop-{workload.name}.json"
    path.write_text(json.dumps(task))
    command = [sys.executable, "-m", "tests.bench.bars.sklearn_loop", str(path)]
    return Way(command, bench.environment(), lambda: shutil.rmtree(output, ignore_errors=True))


def few_steps(x: Any, y: Any) -> Any:
    """A logistic regression whose solver stops early: how good it is does not matter here."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=10))
    return model.fit(x, y)


def by_classes(n_classes: int) -> Any:
    """Fits so many classes: equal parts of the rows, by a sum of some features."""

    def fit(x: Any, y: Any) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        ranks = x.iloc[:, :5].fillna(0.0).sum(axis=1).rank(pct=True)
        labels = (ranks * n_classes).clip(upper=n_classes - 1).astype("int64")
        model = HistGradientBoostingClassifier(
            max_iter=CLASS_ITERATIONS, early_stopping=False, random_state=0
        )
        return model.fit(x, labels)

    return fit
