"""The public functions of `nightscore`: operations with defaults for workers, cache and clock.

`import nightscore` offers them without importing this module: see the package itself.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa

from nightscore.engine import worker_backend_catalog
from nightscore.engine.backends.local import WorkerPool
from nightscore.engine.events import Listener
from nightscore.engine.pool import Pool
from nightscore.errors import InvalidJobError
from nightscore.inputs.partitions import parse_value
from nightscore.models.cache import ModelCache, default_cache
from nightscore.operations import backfill as backfill_planning
from nightscore.operations import baseline as baselines
from nightscore.operations.backfill import BackfillPlan, Mode, Order
from nightscore.operations.backfill_runner import score_items
from nightscore.operations.baseline import Baseline
from nightscore.operations.history import run_history
from nightscore.operations.plan import PlannedRun, plan_runs
from nightscore.outputs import predictions
from nightscore.runs.run import run as run_partition
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import DEFAULT_MAX_PARTITIONS


def open_pool(job: ScoringJob) -> Pool:
    """Worker processes of the job's backend, for several calls. Use it in a `with` block.

    Nothing is started before the first use. Calls without a pool open and close one themselves.
    """
    return worker_backend_catalog.open_pool(job.workers)


def plan(
    job: ScoringJob,
    *partitions: str,
    force: bool = False,
    pool: Pool | None = None,
    cache_dir: str | Path | None = None,
) -> list[PlannedRun]:
    """What `run` would do with each partition, and why. Writes nothing.

    Args:
        job: What would be scored.
        partitions: Partition values, such as "2026-11-24".
        force: Plan to score published partitions again.
        pool: Workers; None: open some, and close them.
        cache_dir: Folder for models on this host; None: `$NIGHTSCORE_CACHE`, or the user's cache.

    Raises:
        ScoringError: The job, the input, the model and the table do not fit, or cannot be read.
    """
    values = [_partition_value(partition) for partition in partitions]

    with _pool_or_own(job, pool) as workers:
        return plan_runs(job, values, pool=workers, cache=_cache(cache_dir), force=force)


def run(
    job: ScoringJob,
    partition: str,
    *,
    force: bool = False,
    pool: Pool | None = None,
    cache_dir: str | Path | None = None,
    listeners: Sequence[Listener] = (),
) -> Manifest:
    """Score one partition and publish it, unless the same is published already.

    A run that fails does not raise: its manifest has the status `failed` and the error.

    Args:
        job: What to score.
        partition: Partition value, such as "2026-11-24".
        force: Score again what is published already.
        pool: Workers; None: open some, and close them.
        cache_dir: Folder for models on this host; None: `$NIGHTSCORE_CACHE`, or the user's cache.
        listeners: Called with each event of the run.

    Returns:
        The manifest. Its status is `published` or `unchanged`; `held` by a gate, or `rejected`
        after that; or `failed`.

    Raises:
        InvalidJobError: No partition can have this value; nothing was recorded.
        KeyboardInterrupt: Ctrl-C or SIGTERM. The run is recorded as failed; nothing was published.
    """
    with _pool_or_own(job, pool) as workers:
        return run_partition(
            job,
            _partition_value(partition),
            pool=workers,
            cache=_cache(cache_dir),
            now=datetime.now(UTC),
            force=force,
            listeners=listeners,
        )


def plan_backfill(
    job: ScoringJob,
    start: date | str,
    end: date | str,
    *,
    modes: Iterable[Mode] = backfill_planning.DEFAULT_MODES,
    order: Order = "newest",
    model: str = "current",
    max_partitions: int = DEFAULT_MAX_PARTITIONS,
    cache_dir: str | Path | None = None,
) -> BackfillPlan:
    """Decide which partitions of a range of dates to score, and estimate the time. Writes nothing.

    Args:
        job: What would be scored.
        start: First date, or its text such as "2026-11-01".
        end: Last date, included.
        modes: Which partitions to score: "missing", "failed", "stale", or "all".
        order: Begin with the "newest" or the "oldest".
        model: "current", a version number, or "as-of": the version that the job used on each date.
        max_partitions: Refuse a larger range.
        cache_dir: Folder for models on this host; None: `$NIGHTSCORE_CACHE`, or the user's cache.

    Raises:
        InvalidJobError: The range is empty or too large, or a mode, order or model is unknown.
    """
    values = backfill_planning.values_between(job, _date(start), _date(end), max_partitions)
    return backfill_planning.plan_backfill(
        job,
        _cache(cache_dir),
        values,
        backfill_planning.parse_modes(modes),
        backfill_planning.parse_order(order),
        model,
    )


def backfill(
    job: ScoringJob,
    plan: BackfillPlan,
    *,
    cache_dir: str | Path | None = None,
    listeners: Sequence[Listener] = (),
) -> list[Manifest]:
    """Score what a plan says, in its order. One partition's failure does not stop the others.

    Args:
        job: The job of the plan.
        plan: From `plan_backfill`.
        cache_dir: Folder for models on this host; None: `$NIGHTSCORE_CACHE`, or the user's cache.
        listeners: Called with each event, from several threads.

    Returns:
        A manifest for each partition that the plan scores, in the order of the plan.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM. Runs under way are recorded as failed; the others do
            not start.
    """
    return score_items(job, plan.to_score, _cache(cache_dir), listeners)


def read_predictions(
    job: ScoringJob, partition: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """The published predictions of one partition as an Arrow table.

    The partition key is the last column.

    Args:
        job: Names the output.
        partition: Partition value, such as "2026-11-24".
        columns: Columns to read, in this order; None for all.

    Raises:
        PartitionNotFoundError: Nothing is published for the partition.
        ContractError: The predictions lack one of the columns.
    """
    return predictions.read_predictions(job, _partition_value(partition), columns)


def read_manifests(job: ScoringJob, partition: str | None = None) -> list[Manifest]:
    """The manifests of a job's runs, newest first, failed runs included.

    Args:
        job: Names the output, where manifests are stored.
        partition: Only runs of this partition; None for all.
    """
    if partition is None:
        return run_history(job)
    return run_history(job, _partition_value(partition), everything=False)


def record_baseline(
    job: ScoringJob,
    data_uri: str,
    *,
    label: str = "",
    cache_dir: str | Path | None = None,
) -> Baseline:
    """Profile training or hold-out data, and log the profile with the job's model version.

    Later runs are compared with this baseline. The work is done on this machine, whatever the job's
    backend.

    Args:
        job: Names the model and its columns.
        data_uri: A Parquet file, a folder of them, or a URL.
        label: Column with the true outcome; later scores then say what rate to expect. Empty: none.
        cache_dir: Folder for models on this host; None: `$NIGHTSCORE_CACHE`, or the user's cache.

    Raises:
        InputError: The data have no rows, or the label is neither a number nor a truth value.
        ContractError: The data lack columns of the model.
    """
    with WorkerPool() as workers:
        return baselines.record_baseline(job, data_uri, workers, _cache(cache_dir), label=label)


@contextlib.contextmanager
def _pool_or_own(job: ScoringJob, pool: Pool | None) -> Iterator[Pool]:
    """The caller's pool, which stays open; or one of this call's own, which is closed."""
    if pool is not None:
        yield pool
        return
    with open_pool(job) as own_pool:
        yield own_pool


def _cache(folder: str | Path | None) -> ModelCache:
    return default_cache() if folder is None else ModelCache(Path(folder).absolute())


def _partition_value(partition: str) -> str | None:
    """The value as the engine has it; None for Hive's default partition.

    Raises:
        InvalidJobError: It is no text, such as a date or a number.
    """
    if not isinstance(partition, str):
        raise InvalidJobError(
            "A partition value must be text.",
            expected='text, such as "2026-11-24"',
            found=f"{partition!r}, of type {type(partition).__name__}",
            next_step="pass the text that stands in the name of the partition's folder",
        )

    return parse_value(partition)


def _date(day: date | str) -> date:
    if not isinstance(day, str):
        return day

    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise InvalidJobError(
            "This is not a date.",
            expected="a date such as 2026-11-24",
            found=day,
            next_step="give start and end as dates, or as text in this form",
        ) from error
