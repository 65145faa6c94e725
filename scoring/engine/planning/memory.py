"""The memory budget of a run, in plain arithmetic before it starts."""

from collections.abc import Iterator, Sequence

from nightscore.engine.planning.predictor_choice import PredictorChoice
from nightscore.errors import MemoryLimitError
from nightscore.inputs.decoding import COLUMNS_AT_ONCE
from nightscore.inputs.footers import Footer
from nightscore.inputs.prefetch import BLOCK_BYTES
from nightscore.inputs.reader import LOCAL_BUFFER_BYTES, REMOTE_BUFFER_BYTES
from nightscore.ledger.layout import predictions_store
from nightscore.ledger.output_formats import format_of
from nightscore.outputs.writer import ROW_GROUP_ROWS
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import MemoryPlan

DRIVER_BYTES = 115 << 20
"""Interpreter, Arrow and loky's helpers; measured 105 to 111 MiB. A page that several processes
share is counted once."""
WORKER_BYTES = 60 << 20
"""Interpreter and Arrow before a model is loaded; measured 45 to 56 MiB."""
REMOTE_BYTES = 30 << 20
"""What the client of an object store adds to each process; measured 18 to 25 MiB."""
PAGE_BYTES = 2 << 20
"""A decoded data page and its dictionary: writers' default is 1 MiB each."""
ROW_COPIES = 4
"""Decoded batch, its cast, the features and what the model makes of them."""
WRITTEN_CELL_BYTES = 16
"""A value of an output column, until its row group is full."""
MAX_BATCH_ROWS = 65_536
"""Larger batches gain nothing: neither forests, boosters and linear models, nor profiles."""
MAX_BATCH_BYTES = 256 << 20
"""Size of a batch as it is decoded, and what a cast makes of it. Rows of thousands of columns would
fill the memory, and what is done once for each column of a batch is little by then."""
LEAST_USUAL_ROWS = 8_192
MIN_BATCH_ROWS = 1_024
PREFETCH_BYTES = (128 << 20, 64 << 20)
"""Two row groups of 64 MiB, or of 32. Larger ones are fetched a block of a column at a time, with
more requests."""


def plan_memory(
    job: ScoringJob,
    predictor: PredictorChoice,
    contract: Contract,
    footers: Sequence[Footer],
    is_local: bool,
    capacity: int,
) -> MemoryPlan:
    """Workers and batch sizes that keep a run within `limits.memory_bytes`.

    On a cluster the limit holds for each of its workers, else for the run.

    Args:
        job: The job.
        predictor: What predicts, and where.
        contract: The columns.
        footers: Footers of the partition's files.
        is_local: The files are on a disk.
        capacity: Workers at once, unless the job says how many; on a cluster always.

    Raises:
        MemoryLimitError: One worker with the smallest batch would need more.
    """
    limit = job.limits.memory_bytes
    is_cluster = job.workers.is_cluster
    n_workers = capacity

    if job.workers.count and not is_cluster:
        n_workers = job.workers.count

    row_bytes = decoded_row_bytes(contract, footers)
    most_rows = most_batch_rows(row_bytes)
    pages_bytes = page_and_buffer_bytes(contract, footers, is_local)
    all_local = is_local and predictions_store(job).is_local
    remote_bytes = 0 if all_local else REMOTE_BYTES

    while True:
        for batch_rows, prefetch_bytes in _batch_sizes(most_rows, is_local):
            plan = MemoryPlan(
                n_workers=n_workers,
                batch_rows=batch_rows,
                driver_bytes=DRIVER_BYTES + format_of(job).driver_bytes + remote_bytes,
                worker_bytes=WORKER_BYTES + remote_bytes,
                model_bytes=predictor.model_bytes,
                stream_bytes=stream_bytes(
                    contract, row_bytes, batch_rows, prefetch_bytes, pages_bytes
                ),
                prefetch_bytes=prefetch_bytes,
                in_threads=predictor.in_threads(n_workers),
            )
            if limit is None or _bounded_bytes(plan, is_cluster) <= limit:
                return plan

        if n_workers == 1 or is_cluster:
            raise _too_small(job, plan)

        n_workers -= 1


def most_batch_rows(row_bytes: float) -> int:
    """Rows of the largest batch that is worth its memory."""
    n_rows = MAX_BATCH_ROWS
    while n_rows > MIN_BATCH_ROWS and n_rows * row_bytes > MAX_BATCH_BYTES:
        n_rows //= 2
    return n_rows


def decoded_row_bytes(contract: Contract, footers: Sequence[Footer]) -> float:
    """Decoded size of one row of the needed columns.

    Each feature has eight more bytes, for what a cast makes of it.
    """
    n_rows = sum(footer.n_rows for footer in footers)
    n_bytes = sum(sum(footer.row_groups.uncompressed_bytes(contract.needed)) for footer in footers)
    return n_bytes / max(n_rows, 1) + 8 * len(contract.features)


def page_and_buffer_bytes(contract: Contract, footers: Sequence[Footer], is_local: bool) -> int:
    """Size of the pages and buffers that decoding holds at once.

    Thousands of columns do not have usual pages: no more is held than a row group has.
    """
    buffer_bytes = LOCAL_BUFFER_BYTES if is_local else REMOTE_BUFFER_BYTES
    n_columns = len(contract.needed)
    usual_bytes = n_columns * (PAGE_BYTES + buffer_bytes)

    if n_columns <= COLUMNS_AT_ONCE:
        return usual_bytes

    largest_bytes = 0
    for footer in footers:
        groups = footer.row_groups
        stored = groups.compressed_bytes(contract.needed)
        decoded = groups.uncompressed_bytes(contract.needed)
        sizes = [sum(pair) for pair in zip(stored, decoded, strict=True)]
        largest_bytes = max(largest_bytes, *sizes, 0)

    return min(usual_bytes, largest_bytes)


def stream_bytes(
    contract: Contract, row_bytes: float, batch_rows: int, prefetch_bytes: int, read_bytes: int
) -> int:
    """Size of the data that one worker holds at once."""
    n_columns = len(contract.needed)

    if prefetch_bytes:  # or two blocks of each column, where row groups are too large to be held
        read_bytes += max(prefetch_bytes, 2 * n_columns * BLOCK_BYTES)

    batch_bytes = int(batch_rows * row_bytes * ROW_COPIES)
    written_bytes = ROW_GROUP_ROWS * WRITTEN_CELL_BYTES * len(contract.output_schema())

    return batch_bytes + written_bytes + read_bytes


def _bounded_bytes(plan: MemoryPlan, is_cluster: bool) -> int:
    """What the job's limit bounds."""
    return plan.bytes_per_worker if is_cluster else plan.total_bytes


def _too_small(job: ScoringJob, plan: MemoryPlan) -> MemoryLimitError:
    """The error for a limit that one worker with the smallest batch exceeds."""
    n_bytes = _bounded_bytes(plan, job.workers.is_cluster)

    parts = [
        f"worker {plan.worker_bytes:,}",
        f"model {plan.model_bytes:,}",
        f"stream {plan.stream_bytes:,}",
    ]

    if not job.workers.is_cluster:
        parts.insert(0, f"driver {plan.driver_bytes:,}")

    return MemoryLimitError(
        "The job does not fit its memory limit; nothing was read.",
        job.name,
        expected=f"at most {job.limits.memory_bytes:,} bytes (limits.memory_bytes)",
        found=f"{n_bytes:,} bytes with one worker and {MIN_BATCH_ROWS:,} rows a batch: "
        f"{', '.join(parts)}",
        next_step=f"set limits.memory_bytes to {n_bytes:,} or more",
    )


def _batch_sizes(most_rows: int, is_local: bool) -> Iterator[tuple[int, int]]:
    """Rows a batch and bytes to prefetch, the best first.

    Latency costs more than smaller batches: prefetching is given up last.
    """
    if not is_local:
        for n_bytes in PREFETCH_BYTES:
            for rows in _halvings(most_rows, min(most_rows, LEAST_USUAL_ROWS)):
                yield rows, n_bytes
    for rows in _halvings(most_rows, MIN_BATCH_ROWS):
        yield rows, 0


def _halvings(start: int, end: int) -> Iterator[int]:
    """The start, its half, and so on, as long as they are not below the end."""
    while start >= end:
        yield start
        start //= 2
