"""The memory budget of a run, in plain arithmetic before it starts."""

from collections.abc import Iterator, Sequence

from nightscore.errors import MemoryLimitError
from nightscore.inputs.footers import Footer
from nightscore.inputs.prefetch import BLOCK_BYTES
from nightscore.inputs.reader import LOCAL_BUFFER_BYTES, REMOTE_BUFFER_BYTES
from nightscore.ledger.formats import format_of
from nightscore.ledger.layout import predictions_store
from nightscore.outputs.writer import ROW_GROUP_ROWS
from nightscore.planning.engine_choice import EngineChoice
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import MemoryPlan

DRIVER_BYTES = 115 << 20
"""Interpreter, Arrow and loky's helpers; measured 105 to 111 MiB, a page that several processes share counted
once."""
WORKER_BYTES = 60 << 20
"""Interpreter and Arrow before a model is loaded; measured 45 to 56 MiB."""
REMOTE_BYTES = 30 << 20
"""What the client of an object store adds to each process; measured 18 to 25 MiB."""
PAGE_BYTES = 2 << 20
"""A decoded data page and its dictionary: writers' default is 1 MiB each."""
ROW_COPIES = 4
"""Decoded batch, its cast, the features and what the model makes of them."""
MAX_BATCH_ROWS = 65_536
"""Until here scikit-learn's forests and boosters gain, linear models, and the profile of compiled ones' runs."""
LEAST_USUAL_ROWS = 8_192
MIN_BATCH_ROWS = 1_024
PREFETCH_BYTES = (128 << 20, 64 << 20)
"""Two row groups of 64 MiB, or of 32; larger ones are fetched a block of a column at a time, with more requests."""


def plan_memory(
    job: ScoringJob,
    engine: EngineChoice,
    contract: Contract,
    footers: Sequence[Footer],
    is_local: bool,
    capacity: int,
) -> MemoryPlan:
    """Workers and rows a batch that keep the run, or on a cluster each of its workers, within `limits.memory_bytes`.

    Args:
        job: The job.
        engine: What predicts, and where.
        contract: The columns.
        footers: Of the partition's files.
        is_local: They are on a disk.
        capacity: Workers that there may be at once, unless the job says how many; on a cluster its bound too.

    Raises:
        MemoryLimitError: One worker with the smallest batch would need more.
    """
    limit = job.limits.memory_bytes
    is_cluster = job.workers.is_cluster
    n_workers = capacity if is_cluster else job.workers.count or capacity
    row_bytes = decoded_row_bytes(contract, footers)
    remote_bytes = 0 if is_local and predictions_store(job).is_local else REMOTE_BYTES
    while True:
        for batch_rows, prefetch_bytes in _choices(is_local):
            plan = MemoryPlan(
                n_workers=n_workers,
                batch_rows=batch_rows,
                driver_bytes=DRIVER_BYTES + format_of(job).driver_bytes + remote_bytes,
                worker_bytes=WORKER_BYTES + remote_bytes,
                model_bytes=engine.model_bytes,
                stream_bytes=stream_bytes(
                    contract, row_bytes, batch_rows, prefetch_bytes, is_local
                ),
                prefetch_bytes=prefetch_bytes,
                in_threads=engine.in_threads(n_workers),
            )
            bytes_here = plan.bytes_per_worker if is_cluster else plan.total_bytes
            if limit is None or bytes_here <= limit:
                return plan
        if n_workers == 1 or is_cluster:
            raise MemoryLimitError(
                "The job does not fit its memory limit; nothing was read.",
                job.name,
                expected=f"at most {limit:,} bytes (limits.memory_bytes)",
                found=f"{bytes_here:,} bytes with one worker and {MIN_BATCH_ROWS:,} rows a batch: "
                f"{'' if is_cluster else f'driver {plan.driver_bytes:,}, '}worker {plan.worker_bytes:,}, "
                f"model {plan.model_bytes:,}, stream {plan.stream_bytes:,}",
                next_step=f"set limits.memory_bytes to {bytes_here:,} or more",
            )
        n_workers -= 1


def decoded_row_bytes(contract: Contract, footers: Sequence[Footer]) -> float:
    """Of a row of the needed columns, once: eight more bytes a feature for what a cast makes of it."""
    n_rows = sum(footer.n_rows for footer in footers)
    raw = sum(sum(footer.row_groups.uncompressed_bytes(contract.needed)) for footer in footers)
    return (raw / n_rows if n_rows else 0.0) + 8 * len(contract.features)


def stream_bytes(
    contract: Contract, row_bytes: float, batch_rows: int, prefetch_bytes: int, is_local: bool
) -> int:
    """What one worker holds of the data at once."""
    n_columns = len(contract.needed)
    written = sum(16 for _ in contract.output_schema())
    buffers = n_columns * (PAGE_BYTES + (LOCAL_BUFFER_BYTES if is_local else REMOTE_BUFFER_BYTES))
    if prefetch_bytes:  # or two blocks of each column, where row groups are too large to be held
        buffers += max(prefetch_bytes, 2 * n_columns * BLOCK_BYTES)
    return int(batch_rows * row_bytes * ROW_COPIES) + ROW_GROUP_ROWS * written + buffers


def _choices(is_local: bool) -> Iterator[tuple[int, int]]:
    """Rows a batch and bytes to prefetch, the best first: latency costs more than smaller batches."""
    for n_bytes in () if is_local else PREFETCH_BYTES:
        yield from ((rows, n_bytes) for rows in _halvings(MAX_BATCH_ROWS, LEAST_USUAL_ROWS))
    yield from ((rows, 0) for rows in _halvings(MAX_BATCH_ROWS, MIN_BATCH_ROWS))


def _halvings(start: int, end: int) -> list[int]:
    found = []
    while start >= end:
        found.append(start)
        start //= 2
    return found
