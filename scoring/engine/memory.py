"""The memory budget of a run, in plain arithmetic before it starts."""

import os
from collections.abc import Iterator, Sequence

from schemas.columns import Contract
from schemas.job import ScoringJob
from schemas.partition import MemoryPlan
from scoring.engine.predictors import EngineChoice
from scoring.errors import MemoryLimitError
from scoring.inputs.footers import Footer
from scoring.inputs.prefetch import BLOCK_BYTES
from scoring.inputs.reader import LOCAL_BUFFER_BYTES, REMOTE_BUFFER_BYTES
from scoring.outputs.writer import ROW_GROUP_ROWS

DRIVER_BYTES = 220 << 20
"""Interpreter, Arrow, Delta and S3 libraries; measured 150 to 200 MiB."""
WORKER_BYTES = 150 << 20
"""Interpreter, Arrow and S3 libraries before a model is loaded; measured 110 to 140 MiB."""
PAGE_BYTES = 2 << 20
"""A decoded data page and its dictionary: writers' default is 1 MiB each."""
ROW_COPIES = 4
"""Decoded batch, its cast, the features and what the model makes of them."""
MAX_BATCH_ROWS = 65_536
"""scikit-learn's forests and boosters gain until here, and linear models too."""
LEAST_USUAL_ROWS = 16_384
"""Linear models and compiled trees gain until here."""
MIN_BATCH_ROWS = 1_024
PREFETCH_BYTES = 64 << 20
"""Two row groups of 32 MiB."""


def plan_memory(
    job: ScoringJob, engine: EngineChoice, contract: Contract, footers: Sequence[Footer], is_local: bool
) -> MemoryPlan:
    """Workers and rows a batch that keep the run within the job's `limits.memory_bytes`.

    Raises:
        MemoryLimitError: One worker with the smallest batch would need more.
    """
    limit = job.limits.memory_bytes
    n_workers = job.workers.count or available_cores()
    while True:
        for batch_rows, prefetch_bytes in _choices(is_local):
            plan = MemoryPlan(
                n_workers,
                batch_rows,
                DRIVER_BYTES,
                WORKER_BYTES,
                engine.model_bytes,
                stream_bytes(contract, footers, batch_rows, prefetch_bytes, is_local),
                prefetch_bytes,
                engine.in_threads,
            )
            if limit is None or plan.total_bytes <= limit:
                return plan
        if n_workers == 1:
            raise MemoryLimitError(
                "The job does not fit its memory limit; nothing was read.",
                job.name,
                expected=f"at most {limit:,} bytes (limits.memory_bytes)",
                found=f"{plan.total_bytes:,} bytes with one worker and {MIN_BATCH_ROWS:,} rows a batch: driver "
                f"{plan.driver_bytes:,}, worker {plan.worker_bytes:,}, model {plan.model_bytes:,}, "
                f"stream {plan.stream_bytes:,}",
                next_step=f"set limits.memory_bytes to {plan.total_bytes:,} or more",
            )
        n_workers -= 1


def stream_bytes(
    contract: Contract, footers: Sequence[Footer], batch_rows: int, prefetch_bytes: int, is_local: bool
) -> int:
    """What one worker holds of the data at once."""
    n_rows = sum(footer.n_rows for footer in footers)
    raw = sum(g.uncompressed.get(name, 0) for f in footers for g in f.row_groups for name in contract.needed)
    n_columns = len(contract.needed)
    row_bytes = (raw / n_rows if n_rows else 0) + 8 * len(contract.features)
    written = sum(16 for _ in contract.output_schema())
    buffers = n_columns * (PAGE_BYTES + (LOCAL_BUFFER_BYTES if is_local else REMOTE_BUFFER_BYTES))
    if prefetch_bytes:  # or two blocks of each column, where row groups are too large to be held
        buffers += max(prefetch_bytes, 2 * n_columns * BLOCK_BYTES)
    return int(batch_rows * row_bytes * ROW_COPIES) + ROW_GROUP_ROWS * written + buffers


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _choices(is_local: bool) -> Iterator[tuple[int, int]]:
    """Rows a batch and bytes to prefetch, the best first: latency costs more than smaller batches."""
    if not is_local:
        yield from ((rows, PREFETCH_BYTES) for rows in _halvings(MAX_BATCH_ROWS, LEAST_USUAL_ROWS))
    yield from ((rows, 0) for rows in _halvings(MAX_BATCH_ROWS, MIN_BATCH_ROWS))


def _halvings(start: int, end: int) -> list[int]:
    found = []
    while start >= end:
        found.append(start)
        start //= 2
    return found
