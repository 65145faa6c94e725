"""Profiles training or hold-out data once, through the model, as what later partitions are compared with."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.parsing.files import read_tables
from nightscore.drift.profiling import profile_of, with_types
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.pool import Pool
from nightscore.engine.scratch import ScratchRun, scratch_job
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.errors import InputError
from nightscore.inputs.dataset import READ_ROWS, Dataset
from nightscore.ledger.layout import state_store
from nightscore.models.baseline import log_baseline
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.models.registries.protocol import ModelVersion
from nightscore.planning.plan import PlannedWorkers, plan_partition
from nightscore.profiles.profile import kind_of
from nightscore.profiles.profile_spec import (
    ProfiledColumn,
    ProfileSpec,
    cut_column,
    cut_segments,
    score_column,
)
from nightscore.profiles.table import ColumnProfile, Role, merge_profiles, to_bytes
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Keys, Limits, ScoringJob
from nightscore.schemas.partition import Partition, Plan
from nightscore.storage.store import Store

BASELINE_RUN = "baseline"
PASS_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was logged."""

    version: ModelVersion
    sha256: str
    n_columns: int


def record_baseline(
    job: ScoringJob,
    uri: str,
    pool: Pool,
    cache: ModelCache,
    tell: Callable[[str], None] = lambda _: None,
    *,
    label: str = "",
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
        label: Column with what came true, a number or a truth value; its mean is kept by bin of the score, so that
            later scores say what rate to expect. Empty: none.

    Raises:
        InputError: The data have no rows.
        ContractError: They lack columns.
    """
    model = PinnedModel.resolve(job, cache)
    columns = _profile(job, model, uri, pool, cache, tell, label)
    digest = log_baseline(model.version, job.registry, to_bytes(columns))
    return Baseline(model.version, digest, sum(not column.segment for column in columns))


def _profile(
    job: ScoringJob,
    model: PinnedModel,
    uri: str,
    pool: Pool,
    cache: ModelCache,
    tell: Callable[[str], None],
    label: str,
) -> list[ColumnProfile]:
    facts = learn_facts(model, cache, pool)
    data = Dataset(uri, job.input.storage_options)
    if not any(footer.n_rows for footer in data.footers):
        raise InputError(
            "The data for the baseline have no rows.",
            uri,
            expected="training or hold-out rows",
            next_step="name data with rows: --from a folder of Parquet files",
        )
    with tempfile.TemporaryDirectory(prefix="nightscore-baseline-") as scratch:
        place = job.input.model_copy(update={"uri": data.store.url})
        limits = Limits(max_quarantined_share=1.0)
        keys = Keys(columns=tuple(name for name in job.keys.columns if name in data.schema))
        beside = [
            name for name in job.pass_through if name in data.schema or name in _watched_beside(job)
        ]
        kept = tuple(
            name for name in dict.fromkeys([*beside, label]) if name and name not in keys.columns
        )
        changes = {"input": place, "limits": limits, "keys": keys, "pass_through": kept}
        apart = scratch_job(job, scratch).model_copy(update=changes)
        partition = Partition(job.input.partition_key, None, BASELINE_RUN, data.files)
        plan, contract = plan_partition(
            apart, model, facts, partition, PlannedWorkers(pool.capacity, pool)
        )
        scratch_run = ScratchRun(apart, BASELINE_RUN, model, facts)
        tasks = scratch_run.tasks(plan, contract, plan.shards)
        tell(f"scoring {plan.n_rows:,} rows to cut the predictions' bins")
        first = _score(pool, tasks, plan)
        watch = _watch(apart, data, contract, first, label)
        tell(f"profiling {len(watch.columns)} columns")
        second = _score(
            pool, [replace(task, profile_spec=watch, attempt=1) for task in tasks], plan
        )
    found, _ = merge_profiles(profile_of(result) for result in second)
    return list(found.values())


def _score(pool: Pool, tasks: Sequence[ShardTask], plan: Plan) -> list[ShardResult]:
    found = pool.score(tasks, plan.memory.n_workers, 60.0 * PASS_MINUTES, lambda _: None)
    return sorted(found, key=lambda result: result.index)


def _watched_beside(job: ScoringJob) -> list[str]:
    """Columns that are profiled though the model does not take them, of those that travel with the predictions."""
    travelling = {*job.keys.columns, *job.pass_through}
    return [name for name in (*job.drift.columns, *job.drift.segments) if name in travelling]


def _watch(
    job: ScoringJob, data: Dataset, contract: Contract, results: Sequence[ShardResult], label: str
) -> ProfileSpec:
    found = [_cut("feature", column.name, column.type, data) for column in contract.features]
    found += [
        _cut("pass_through", c.name, c.type, data)
        for c in contract.kept
        if c.name in _watched_beside(job)
    ]
    for output in contract.predictions:
        if kind_of(output.type) == "number":
            values = _predictions(state_store(job), results, output.name)
            found.append(cut_column("prediction", output.name, values))
        elif kind_of(output.type) == "category":
            found.append(ProfiledColumn("prediction", output.name, None))
    score = score_column({column.name: kind_of(column.type) for column in contract.predictions})
    if label:
        _check_label(contract, label, score)
    return ProfileSpec(
        with_types([column for column in found if column is not None], contract),
        tuple(cut_segments(name, data.read(name)) for name in job.drift.segments),
        score,
        label,
    )


def _cut(role: Role, name: str, kind: pa.DataType, data: Dataset) -> ProfiledColumn | None:
    if kind_of(kind) == "category":
        return ProfiledColumn(role, name, None)
    if kind_of(kind) is None:
        return None
    batches = data.read(name) if name in data.schema else iter(())
    return cut_column(role, name, (pc.cast(batch, kind, safe=False) for batch in batches))


def _check_label(contract: Contract, label: str, score: str) -> None:
    kind = next(column.type for column in contract.kept if column.name == label)
    if not score or not (kind_of(kind) == "number" or pa.types.is_boolean(kind)):
        raise InputError(
            "The label cannot be set against the score.",
            label,
            expected="a label of numbers or truth values, and a model with one score",
            found=f"a label of type {kind}, {f'the score {score}' if score else 'no single score'}",
            next_step="write it as 0 and 1 or as a number, or leave --label out",
        )


def _predictions(state: Store, results: Sequence[ShardResult], name: str) -> list[pa.ChunkedArray]:
    paths = [result.part.file.path for result in results]
    return [
        table.column(name)
        for path in paths
        for table in read_tables(state, path, [name], READ_ROWS)
    ]
