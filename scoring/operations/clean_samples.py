"""Removes samples of rows that have been kept long enough."""

from datetime import datetime

from nightscore.ledger.layout import state_store
from nightscore.outputs.samples import SAMPLES
from nightscore.schemas.job import ScoringJob


def clean_samples(job: ScoringJob, before: datetime, *, delete: bool) -> list[str]:
    """List samples of partitions and baselines that are older; remove them if `delete`.

    Estimates of these partitions, or with these baselines, are not adjusted for covariate shift
    afterwards. Whoever reads a sample meanwhile is told that it was removed.

    Args:
        job: Whose samples.
        before: Those written before this time, in UTC.
        delete: Remove them; otherwise only list them.

    Returns:
        Paths below the state folder.

    Raises:
        StorageError: The store failed.
    """
    state = state_store(job)
    before_s = before.timestamp()
    old = [entry.path for entry in state.list_files(SAMPLES) if entry.modified_s < before_s]

    if delete:
        state.delete(old)

    return old
