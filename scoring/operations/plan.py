"""What a run of a partition would do, and why; nothing is written."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.environment import version_warnings
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.pool import Pool
from nightscore.errors import MemoryLimitError
from nightscore.inputs.partitions import find_partition
from nightscore.inputs.tables import check_root
from nightscore.inputs.values import check_value
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.operations.challengers import ExpectedChallenger, Scored, expect_challengers
from nightscore.operations.partitions import partition_statuses
from nightscore.outputs.guarantees import missing_guarantees, unnoticed_changes
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import Partition, Plan, show_value


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """What a run of one partition would do."""

    partition: str
    """Partition value."""
    action: Literal["score", "skip"]
    """`skip`: the same is published already."""
    reasons: tuple[str, ...]
    """Why."""
    n_rows: int
    n_bytes: int
    """Bytes of the columns that the run reads."""
    n_files: int
    n_shards: int
    n_workers: int
    batch_rows: int
    """Rows that a worker holds at once."""
    memory_bytes: int
    """Bound of all workers together."""
    model_name: str
    model_version: str
    digest: str
    """Digest of the model's artifacts: `sha256:` and 64 hexadecimal digits."""
    fingerprint: str
    """Digest of job, model and input. A run with the same fingerprint changes nothing."""
    features: tuple[str, ...]
    """The model's columns, in order."""
    output_columns: tuple[str, ...]
    extra_columns: tuple[str, ...]
    """Input columns that the run does not read."""
    ignored_files: tuple[str, ...]
    """Files that `input.files` leaves out."""
    warnings: tuple[str, ...]
    challengers: tuple[ExpectedChallenger, ...] = ()
    """What it would do with each challenger of the job. Empty: there are none, or nothing is
    scored."""


def plan_runs(
    job: ScoringJob,
    values: Sequence[str | None],
    *,
    pool: Pool,
    cache: ModelCache,
    force: bool = False,
) -> list[PlannedRun]:
    """Plan a run of each partition.

    Reads footers, and integers of files that do not count their nulls.

    Args:
        job: What would be scored.
        values: Partition values; None for Hive's default partition.
        pool: Workers; one of them loads the model.
        cache: Models of this host.
        force: Plan as a run would that scores published partitions again.

    Raises:
        InvalidJobError: No partition can have one of the values.
        InputError: The input has no such partition, or its files cannot be read.
        ContractError: The files do not fit the model, or the predictions do not fit the table.
    """
    for value in values:
        check_value(job, value, "plan")

    workspace = Workspace(job)
    model = PinnedModel.resolve(job, cache)
    publisher = open_publisher(workspace)

    check_root(workspace)
    inputs: dict[str | None, Partition] = {}
    ignored_files: dict[str | None, tuple[str, ...]] = {}
    for value in values:
        inputs[value], ignored_files[value] = find_partition(workspace, value)

    facts = learn_facts(model, cache, pool)
    general_warnings = [
        *version_warnings(facts),
        *job.settings_without_effect(),
        *missing_guarantees(job),
    ]

    statuses = partition_statuses(job, model, values, inputs=inputs)
    status_by_value = {status.value: status for status in statuses}

    planned_runs = []
    for value in values:
        status = status_by_value[show_value(value)]
        partition = inputs[value]
        workers = PlannedWorkers(pool.capacity, pool)
        plan_with = functools.partial(plan_partition, job, model, facts, partition)
        plan, contract = plan_with(workers)

        scored = Scored(model=model, facts=facts, partition=partition, contract=contract)
        challengers = expect_challengers(job, scored, pool=pool, cache=cache)
        if challengers:
            plan, challengers = _plan_together(plan_with, workers, challengers)

        is_skipped = status.state == "published" and not force

        warnings = general_warnings + unnoticed_changes(
            job, [file.version for file in partition.files]
        )

        if not is_skipped:
            warnings += publisher.check_fits(contract.output_schema(), value)

        planned_runs.append(
            PlannedRun(
                partition=show_value(value),
                action="skip" if is_skipped else "score",
                reasons=status.reasons,
                n_rows=plan.n_rows,
                n_bytes=plan.n_bytes,
                n_files=len(partition.files),
                n_shards=len(plan.shards),
                n_workers=plan.memory.n_workers,
                batch_rows=plan.memory.batch_rows,
                memory_bytes=plan.memory.total_bytes,
                model_name=model.version.name,
                model_version=model.version.version,
                digest=model.cached.digest,
                fingerprint=plan.fingerprint,
                features=tuple(column.name for column in contract.features),
                output_columns=tuple(contract.output_schema().names),
                extra_columns=tuple(plan.extra_columns),
                ignored_files=ignored_files[value],
                warnings=tuple(warnings),
                challengers=() if is_skipped else tuple(challengers),
            )
        )

    return planned_runs


def _plan_together(
    plan_with: Callable[[PlannedWorkers], tuple[Plan, Contract]],
    workers: PlannedWorkers,
    challengers: Sequence[ExpectedChallenger],
) -> tuple[Plan, list[ExpectedChallenger]]:
    """The plan with the challengers. If that takes too much memory, without them, and why."""
    others = tuple(one.beside for one in challengers if one.beside is not None)
    try:
        return plan_with(replace(workers, others=others))[0], list(challengers)
    except MemoryLimitError as error:
        refused = [
            replace(one, problem=one.problem or error.what, beside=None) for one in challengers
        ]
        return plan_with(workers)[0], refused
