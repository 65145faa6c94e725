"""What a run will do: the columns, shards and memory, before it reads a row."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import pyarrow as pa

from nightscore.inputs.files import named_parquet_first
from nightscore.inputs.footers import read_footers
from nightscore.inputs.nulls import find_nulls, uncounted_columns, with_found
from nightscore.inputs.partitions import find_partitions, list_partitions
from nightscore.inputs.validate import check_contract
from nightscore.models.pinned import PinnedModel
from nightscore.planning.engine_choice import choose_engine
from nightscore.planning.memory import plan_memory
from nightscore.planning.shards import needed_bytes, plan_shards
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Partition, Plan
from nightscore.storage.store import Store

T = TypeVar("T")

NEIGHBOURS_TRIED = 5
"""Other partitions that are asked for a schema when one has no files."""
FILES_TRIED = 8
"""Of each of them, until one has rows."""


class Caller(Protocol):
    """Runs a function in a worker: what planning needs of a pool of workers, and all that it knows of one."""

    def call(
        self, function: Callable[..., T], *arguments: object, timeout_s: float | None = None
    ) -> T:
        """The function's result."""
        ...


def plan_partition(
    job: ScoringJob,
    model: PinnedModel,
    facts: ModelFacts,
    partition: Partition,
    capacity: int,
    cut_for: int | None = None,
    pool: Caller | None = None,
    nullable: frozenset[str] = frozenset(),
) -> tuple[Plan, Contract]:
    """The plan and the columns, from footers; only nulls of integers that they do not count are looked up.

    Args:
        job: The job.
        model: Its model.
        facts: What the model is.
        partition: With its files.
        capacity: Shards that the pool may have under way at once.
        cut_for: Cut into shards as for this number of workers; None: as for those that will share the work.
        pool: Looks for nulls; None: this process does.
        nullable: Features that have nulls in rows of the partition that are not among the files.

    Raises:
        CorruptFileError, ContractError, MemoryLimitError: See there; nothing was read.
    """
    store = Store(job.input.uri, job.input.storage_options)
    footers = read_footers(store, partition.files)
    has_rows = any(footer.n_rows for footer in footers)
    borrowed = None if has_rows else _borrow_schema(job, partition)
    stated = footers if borrowed is None else []
    contract = check_contract(job, facts, stated, borrowed, nullable)
    unsaid = uncounted_columns(contract, stated) if facts.takes_frames else {}
    if unsaid:
        limit_s = 60.0 * job.limits.shard_minutes
        found = (
            pool.call(find_nulls, job.input, unsaid, timeout_s=limit_s)
            if pool
            else find_nulls(job.input, unsaid)
        )
        contract = check_contract(job, facts, with_found(stated, found), borrowed, nullable)
    engine = choose_engine(job, model.cached.path, facts)
    memory = plan_memory(job, engine, contract, footers, store.is_local, capacity)
    plan = Plan(
        partition=partition,
        fingerprint=model.fingerprint(job, partition),
        n_rows=sum(footer.n_rows for footer in footers),
        n_bytes=sum(needed_bytes(footer, contract.needed) for footer in footers),
        shards=plan_shards(footers, contract.needed, cut_for or memory.n_workers),
        cut_for=cut_for or memory.n_workers,
        memory=memory,
        fallback_reason=engine.fallback_reason,
        is_unchecked=engine.is_unchecked,
        extra_columns=contract.extra,
    )
    return plan, contract


def _borrow_schema(job: ScoringJob, partition: Partition) -> pa.Schema | None:
    """The schema of a neighbouring partition: one without rows has no types of its own, whatever its files say."""
    others = [value for value in reversed(list_partitions(job)) if value != partition.value][
        :NEIGHBOURS_TRIED
    ]
    store = Store(job.input.uri, job.input.storage_options)
    for neighbour in find_partitions(job, others).values():
        files = named_parquet_first(neighbour.files)
        for footer in read_footers(store, files[:FILES_TRIED]):
            if footer.n_rows:
                return footer.schema
    return None
