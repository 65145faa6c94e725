"""The memory budget of a run, in plain arithmetic before it starts."""

import os
from collections.abc import Sequence

from schemas.columns import Contract
from schemas.contract import ModelFacts
from schemas.job import ScoringJob
from schemas.partition import MemoryPlan
from scoring.errors import MemoryLimitError
from scoring.inputs.footers import Footer
from scoring.inputs.reader import LOCAL_BUFFER_BYTES, REMOTE_BUFFER_BYTES
from scoring.outputs.writer import ROW_GROUP_ROWS

DRIVER_BYTES = 220 << 20
"""Interpreter, Arrow, Delta and S3 libraries; measured 150 to 200 MiB."""
WORKER_BYTES = 150 << 20
"""Interpreter, Arrow and S3 libraries before a model is loaded; measured 110 to 140 MiB."""
MODEL_BYTES = 150 << 20
"""scikit-learn and pandas with a small model, where the model has not been measured yet."""
COMPILED_BYTES = 120 << 20
"""Numba, LLVM and buffers; measured 100 to 115 MiB. Apart from the model, whose measure depends on what was loaded
before it."""
PAGE_BYTES = 2 << 20
"""A decoded data page and its dictionary: writers' default is 1 MiB each."""
ROW_COPIES = 4
"""Decoded batch, its cast, the features and what the model makes of them."""
MAX_BATCH_ROWS = 65_536
"""scikit-learn's forests and boosters gain until here, and linear models too."""
MIN_BATCH_ROWS = 1_024


def plan_memory(
    job: ScoringJob, facts: ModelFacts, contract: Contract, footers: Sequence[Footer], is_local: bool, capacity: int
) -> MemoryPlan:
    """Workers and rows a batch that keep the run, or on a cluster each of its workers, within `limits.memory_bytes`.

    Args:
        job: The job.
        facts: What its model is.
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
    model_bytes = facts.model_bytes or MODEL_BYTES
    if facts.is_compiled and job.engine != "library":
        model_bytes += COMPILED_BYTES
    while True:
        for batch_rows in _halvings(MAX_BATCH_ROWS, MIN_BATCH_ROWS):
            plan = MemoryPlan(
                n_workers,
                batch_rows,
                DRIVER_BYTES,
                WORKER_BYTES,
                model_bytes,
                stream_bytes(contract, footers, batch_rows, is_local),
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


def stream_bytes(contract: Contract, footers: Sequence[Footer], batch_rows: int, is_local: bool) -> int:
    """What one worker holds of the data at once."""
    n_rows = sum(footer.n_rows for footer in footers)
    raw = sum(g.uncompressed.get(name, 0) for f in footers for g in f.row_groups for name in contract.needed)
    n_columns = len(contract.needed)
    row_bytes = (raw / n_rows if n_rows else 0) + 8 * len(contract.features)
    written = sum(16 for _ in contract.output_schema())
    buffers = n_columns * (PAGE_BYTES + (LOCAL_BUFFER_BYTES if is_local else REMOTE_BUFFER_BYTES))
    return int(batch_rows * row_bytes * ROW_COPIES) + ROW_GROUP_ROWS * written + buffers


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _halvings(start: int, end: int) -> list[int]:
    found = []
    while start >= end:
        found.append(start)
        start //= 2
    return found
