"""Checks a cron expression and a time zone, and names what is wrong with them."""

import difflib
import zoneinfo

from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from nightscore.errors import InvalidJobError

CRON_FIELDS = "minute hour day month weekday"


def check_schedule(
    cron: str | None, timezone: str | None, evaluate_cron: str | None = None
) -> None:
    """Check them before anything is changed.

    Raises:
        InvalidJobError: One of them is invalid, or several. All problems are named.
    """
    problems = []
    for option, text in (("--cron", cron), ("--evaluate-cron", evaluate_cron)):
        if text is not None and not _is_cron(text):
            problems.append(
                f"{option} {text!r} is no cron expression of five fields: {CRON_FIELDS}"
            )

    if timezone is not None and not _is_timezone(timezone):
        near = difflib.get_close_matches(timezone, sorted(zoneinfo.available_timezones()), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        problems.append(f"--timezone {timezone!r} is no time zone of the IANA database{hint}")

    if problems:
        raise InvalidJobError(
            "The schedule is not valid; nothing was changed.",
            problems=problems,
            next_step='write it like --cron "0 3 * * *" --timezone America/New_York, '
            "which is 3 o'clock every night in New York",
        )


def _is_cron(cron: str) -> bool:
    try:
        CronSchedule(cron=cron)
    except ValidationError:
        return False

    return len(cron.split()) == len(CRON_FIELDS.split())


def _is_timezone(timezone: str) -> bool:
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False

    return bool(timezone)
