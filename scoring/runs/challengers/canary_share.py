"""Which share of the keys a canary's challenger scores tonight: the job's own, or a flag's."""

from datetime import UTC, datetime, time

from nightscore.errors import ChallengerError
from nightscore.inputs.partitions import partition_date
from nightscore.runs.challengers.canary_entries import newest_entry
from nightscore.runs.challengers.flags import ask_flag
from nightscore.runs.execution import Execution
from nightscore.schemas.partition import show_value
from nightscore.schemas.release import Release


def share_of_run(execution: Execution, release: Release, version: str) -> float:
    """The share of a run's keys. 0: the challenger scores none, and a warning says why.

    Args:
        execution: The run. Its record gets what the flag has said.
        release: Of the job.
        version: Of the challenger, by which the flag may decide.
    """
    if release.flag is None:
        return release.share or 0.0

    about = {
        "job": execution.job.name,
        "partition": show_value(execution.value),
        "version": version,
    }

    try:
        answer = ask_flag(release.flag, release.share, about, execution.job.allow_code)
    except ChallengerError as error:
        share = _last_share(execution)
        execution.record.warn(
            f"{error.what.rstrip('.')}: {error.found}. Its last share that the release log has is "
            f"{share:.4g}, and this run has it, too"
        )
        return share

    execution.record.update(flag=answer.record)

    if not answer.share:
        variant = f", variant {answer.record.variant}" if answer.record.variant else ""
        execution.record.warn(
            f"the flag {release.flag.name} is {answer.record.value}{variant} "
            f"({answer.record.reason}), so there is no canary"
        )

    return answer.share


def is_before_last_entry(execution: Execution) -> bool:
    """Whether a partition is of a date for which the arms are settled: flags say nothing of it."""
    day, newest = partition_date(execution.job, execution.value), newest_entry(execution)

    if day is None or newest is None:
        return False

    return datetime.combine(day, time.max, UTC) < newest.at


def _last_share(execution: Execution) -> float:
    """What the release log has last. 0: no canary is under way by it."""
    newest = newest_entry(execution)
    if newest is None or newest.kind != "started":
        return 0.0
    return newest.canary.share
