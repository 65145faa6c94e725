"""Asks a job which date or partition was meant by what is typed.

It is asked only where the words alone leave that open: reading it takes longer than answering.
"""

from datetime import datetime

from nightscore.schemas.dates import YEAR_FIRST, nearest_date, readings


def only_date(job: str, text: str) -> datetime | None:
    """The date that a text with several readings stands for, if the job says so."""
    from nightscore.errors import ScoringError
    from nightscore.inputs.jobfile import load_job
    from nightscore.inputs.values import only_reading

    try:
        return only_reading(load_job(job), text)
    except ScoringError:
        return None  # the command says what is wrong with the job


def possible_partition(job: str, value: str) -> str:
    """The partition that was meant by a value; as it is, if nothing is known to be wrong with it.

    Without a job that can be read, only a date that does not exist is known to be wrong.
    """
    is_plain_date = any(f"{time:{YEAR_FIRST[0]}}" == value for time in readings(value))
    if is_plain_date:
        return value

    from nightscore.errors import ScoringError
    from nightscore.inputs.jobfile import load_job
    from nightscore.inputs.values import probable_value

    try:
        return probable_value(load_job(job), value) or value
    except ScoringError:
        nearest = None if readings(value) else nearest_date(value)
        return value if nearest is None else f"{nearest:{YEAR_FIRST[0]}}"
