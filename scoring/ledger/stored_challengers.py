"""The challengers that have tables beside a job's output, whether the job names them or not."""

from nightscore.ledger.layout import predictions_store
from nightscore.schemas.challenger_jobs import challenger_job, challenger_jobs
from nightscore.schemas.job import ScoringJob

STATE_SUFFIX = ".nightscore"


def stored_challengers(job: ScoringJob) -> dict[str, ScoringJob]:
    """The jobs of all challengers that have records in the store, by label.

    The job names some of them. Others it has named once: their `model` is that of the job, since
    only their records say what it was.

    Args:
        job: Of the champion.

    Raises:
        StorageError: The store does not answer.
    """
    folders, _ = predictions_store(job).sibling(".challengers").list_names()
    stored = [name.removesuffix(STATE_SUFFIX) for name in folders if name.endswith(STATE_SUFFIX)]

    named = challenger_jobs(job)
    return {label: named.get(label) or challenger_job(job, job.model, label) for label in stored}
