"""Profiles training or hold-out data once, through the model, as what later partitions are compared with."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.columns import Contract
from schemas.job import Limits, ScoringJob
from schemas.partition import Partition, Plan
from scoring.drift import Dataset
from scoring.engine.pool import WorkerPool
from scoring.engine.prepare import PinnedModel, learn_facts, plan_partition, scratch_job, scratch_tasks
from scoring.engine.shard import ShardResult, ShardTask
from scoring.errors import InputError
from scoring.models.baseline import log_baseline
from scoring.models.cache import ModelCache
from scoring.models.registry import ModelVersion
from scoring.monitor import profile_of
from scoring.monitoring.profile import kind_of
from scoring.monitoring.table import ColumnProfile, merge_profiles, to_bytes
from scoring.monitoring.watch import WatchedColumn, cut_column, score_column
from scoring.outputs.layout import state_store
from scoring.storage import Store

BASELINE_RUN = "baseline"
PASS_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was logged."""

    version: ModelVersion
    sha256: str
    n_columns: int


def record_baseline(
    job: ScoringJob, uri: str, pool: WorkerPool, cache: ModelCache, tell: Callable[[str], None] = lambda _: None
) -> Baseline:
    """Profile a dataset under the job's model, and log the profile with that model version.

    Profiled are features, predictions, and the mean score by bin of a feature. The data are scored twice: bins of the
    predictions are cut at all of them. Rows that the model refuses are part of the features' profile, as in a run.

    Args:
        job: Names the model, its columns and policy.
        uri: A Parquet file or a folder of them; the job's own storage options open it.
        pool: Workers.
        cache: Models of this host.
        tell: Called with a line for each step.

    Raises:
        InputError: The data have no rows, or lack columns.
    """
    model = PinnedModel.of(job, cache)
    columns = _profile(job, model, uri, pool, cache, tell)
    digest = log_baseline(model.version, job.registry, to_bytes(columns))
    return Baseline(model.version, digest, len(columns))


def _profile(
    job: ScoringJob, model: PinnedModel, uri: str, pool: WorkerPool, cache: ModelCache, tell: Callable[[str], None]
) -> list[ColumnProfile]:
    facts = learn_facts(model, cache, pool)
    data = Dataset(uri, job.input.storage_options)
    with tempfile.TemporaryDirectory(prefix="nightscore-baseline-") as scratch:
        place = job.input.model_copy(update={"uri": data.store.url})
        limits = Limits(max_quarantined_share=1.0)
        apart = scratch_job(job, scratch).model_copy(update={"input": place, "limits": limits})
        partition = Partition(job.input.partition_key, None, BASELINE_RUN, data.files)
        plan, contract = plan_partition(apart, model, facts, partition)
        if not plan.n_rows:
            raise InputError(
                "The data for the baseline have no rows.",
                uri,
                expected="training or hold-out rows",
                next_step="name data with rows: --from a folder of Parquet files",
            )
        tasks = scratch_tasks(apart, BASELINE_RUN, model, facts, plan, contract, plan.shards)
        tell(f"scoring {plan.n_rows:,} rows to cut the predictions' bins")
        first = _score(pool, tasks, plan)
        watched = _cut(data, contract, state_store(apart), first)
        score = score_column({column.name: kind_of(column.type) for column in contract.predictions})
        tell(f"profiling {len(watched)} columns")
        second = _score(pool, [replace(task, watched=watched, score=score, attempt=1) for task in tasks], plan)
    found, _ = merge_profiles(profile_of(result) for result in second)
    return list(found.values())


def _score(pool: WorkerPool, tasks: Sequence[ShardTask], plan: Plan) -> list[ShardResult]:
    found = pool.score(tasks, plan.memory.n_workers, 60.0 * PASS_MINUTES, lambda _: None)
    return sorted(found, key=lambda result: result.index)


def _cut(
    data: Dataset, contract: Contract, state: Store, results: Sequence[ShardResult]
) -> tuple[WatchedColumn, ...]:
    found = []
    for column in contract.features:
        if kind_of(column.type) == "category":
            found.append(WatchedColumn("feature", column.name, None))
        elif kind_of(column.type) == "number":
            batches = data.read(column.name) if column.name in data.schema else iter(())
            values = (pc.cast(batch, column.type, safe=False) for batch in batches)
            found.append(cut_column("feature", column.name, values))
    for output in contract.predictions:
        if kind_of(output.type) == "category":
            found.append(WatchedColumn("prediction", output.name, None))
        elif kind_of(output.type) == "number":
            found.append(cut_column("prediction", output.name, _predictions(state, results, output.name)))
    return tuple(found)


def _predictions(state: Store, results: Sequence[ShardResult], name: str) -> list[pa.ChunkedArray]:
    return [pq.read_table(state.open_input(result.part.file.path), columns=[name]).column(name) for result in results]
