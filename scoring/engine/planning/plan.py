"""What a run will do: the columns, shards and memory, before it reads a row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from nightscore.engine.planning.caller import Caller
from nightscore.engine.planning.memory import decoded_row_bytes, plan_memory
from nightscore.engine.planning.predictor_choice import (
    PredictorChoice,
    choose_predictor,
    predictors_together,
)
from nightscore.engine.planning.row_cost import ModelAtWork, find_row_s
from nightscore.engine.planning.shards import least_shard_rows, needed_bytes, plan_shards
from nightscore.inputs.files import named_parquet_first
from nightscore.inputs.footers import Footer, read_footers
from nightscore.inputs.nulls import add_nulls, find_nulls, uncounted_columns
from nightscore.inputs.partitions import find_partitions, list_partitions
from nightscore.inputs.validate import check_contract
from nightscore.models.pinned import PinnedModel
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import MemoryPlan, Partition, Plan
from nightscore.storage.store import Store

NEIGHBOURS_TRIED = 5
"""Other partitions that are asked for a schema when one has no rows."""
FILES_TRIED = 8
"""Files of each neighbour that are read, until one has rows."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Another model that scores the same rows in the same pass."""

    predictor: PredictorChoice
    contract: Contract


@dataclass(frozen=True, slots=True)
class PlannedWorkers:
    """The workers that a plan counts on."""

    capacity: int
    """Shards that they may have under way at once."""
    caller: Caller | None = None
    """Looks for nulls in a worker; None: this process does."""
    cut_for: int | None = None
    """Cut into shards as for this number of workers; None: as for those that share the work."""
    least_shard_rows: int | None = None
    """Rows below which no shard is cut; None: as the model's time for a row suggests."""
    may_measure: bool = False
    """Whether a worker may try an unknown model on some rows, to see how long they take."""
    others: tuple[Beside, ...] = ()
    """What else they score in the same pass. It counts for memory and threads; shards are cut as
    for the job's model alone."""


def plan_partition(
    job: ScoringJob,
    model: PinnedModel,
    facts: ModelFacts,
    partition: Partition,
    workers: PlannedWorkers,
    nullable: frozenset[str] = frozenset(),
) -> tuple[Plan, Contract]:
    """The plan and the columns, from footers.

    Rows are read only to look for nulls of integers, where the footers do not count them.

    Args:
        job: The job.
        model: Its model.
        facts: What the model is.
        partition: The partition, with its files.
        workers: The workers that will score it.
        nullable: Features with nulls in rows of the partition that are not among the files.

    Raises:
        CorruptFileError, ContractError, MemoryLimitError: See there; nothing was read.
    """
    store = Store(job.input.uri, job.input.storage_options)
    footers = read_footers(store, partition.files)

    contract = _agree_on_columns(job, facts, partition, footers, workers.caller, nullable)

    predictor = choose_predictor(job, model.cached.path, facts)
    memory = plan_memory(
        job,
        predictors_together([predictor, *(one.predictor for one in workers.others)]),
        columns_together([contract, *(one.contract for one in workers.others)]),
        footers,
        store.is_local,
        workers.capacity,
    )
    cut_for = workers.cut_for or memory.n_workers
    least_rows = workers.least_shard_rows

    if least_rows is None:
        model_at_work = ModelAtWork(job, model.cached.path, facts, contract, predictor)
        caller = workers.caller if workers.may_measure and cut_for > 1 else None
        row_s = find_row_s(model_at_work, footers, caller)
        row_bytes = decoded_row_bytes(contract, footers)
        least_rows = least_shard_rows(row_s, row_bytes, in_threads=memory.in_threads)

    shards = plan_shards(footers, contract.needed, cut_for, least_rows)

    plan = Plan(
        partition=partition,
        fingerprint=model.fingerprint(job, partition),
        n_rows=sum(footer.n_rows for footer in footers),
        n_bytes=sum(needed_bytes(footer, contract.needed) for footer in footers),
        shards=shards,
        cut_for=cut_for,
        least_shard_rows=least_rows,
        memory=_for_shards(memory, len(shards)),
        fallback_reason=predictor.fallback_reason,
        is_unchecked=predictor.is_unchecked,
        extra_columns=contract.extra,
    )

    return plan, contract


def agree_on_columns(
    job: ScoringJob, facts: ModelFacts, partition: Partition, caller: Caller | None
) -> Contract:
    """The columns of a job whose model scores beside another one.

    Raises:
        CorruptFileError, ContractError: See there; nothing was read.
    """
    store = Store(job.input.uri, job.input.storage_options)
    footers = read_footers(store, partition.files)
    return _agree_on_columns(job, facts, partition, footers, caller, frozenset())


def columns_together(contracts: Sequence[Contract]) -> Contract:
    """All that a worker holds of a row that several models score, for the plan of its memory."""
    first = contracts[0]
    features = {column.name: column for one in contracts for column in one.features}

    predictions = list(first.predictions)
    for other in contracts[1:]:
        predictions += [*other.predictions, *first.predictions]  # it writes both

    return replace(first, features=tuple(features.values()), predictions=tuple(predictions))


def _for_shards(memory: MemoryPlan, n_shards: int) -> MemoryPlan:
    """The plan without workers that would find nothing to do."""
    return replace(memory, n_workers=max(1, min(memory.n_workers, n_shards)))


def _agree_on_columns(
    job: ScoringJob,
    facts: ModelFacts,
    partition: Partition,
    footers: list[Footer],
    caller: Caller | None,
    nullable: frozenset[str],
) -> Contract:
    """The columns, with what is known of their nulls."""
    borrowed: pa.Schema | None = None
    if not any(footer.n_rows for footer in footers):
        borrowed = _borrow_schema(job, partition)

    stated = footers if borrowed is None else []
    contract = check_contract(job, facts, stated, borrowed, nullable)

    uncounted = uncounted_columns(contract, stated) if facts.takes_frames else {}
    if not uncounted:
        return contract

    if caller is None:
        nulls = find_nulls(job.input, uncounted)
    else:
        limit_s = job.limits.shard_s
        nulls = caller.call(find_nulls, job.input, uncounted, timeout_s=limit_s)

    return check_contract(job, facts, add_nulls(stated, nulls), borrowed, nullable)


def _borrow_schema(job: ScoringJob, partition: Partition) -> pa.Schema | None:
    """The schema of a neighbouring partition.

    A partition without rows has no types of its own, whatever its files say.
    """
    newest_first = reversed(list_partitions(job))
    others = [value for value in newest_first if value != partition.value]

    store = Store(job.input.uri, job.input.storage_options)

    for neighbour in find_partitions(job, others[:NEIGHBOURS_TRIED]).values():
        files = named_parquet_first(neighbour.files)
        for footer in read_footers(store, files[:FILES_TRIED]):
            if footer.n_rows:
                return footer.schema

    return None
