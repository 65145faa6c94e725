"""Checks jobs before they are deployed: what is wrong would fail every night."""

import shlex
from collections.abc import Sequence

from nightscore.errors import InvalidJobError
from nightscore.models.cache import ModelCache
from nightscore.operations.check import check_job


def check_jobs(sources: Sequence[str], cache: ModelCache) -> None:
    """Look at everything that runs of these jobs need, as `nightscore check` does.

    Raises:
        InvalidJobError: Some would fail. All problems are named.
    """
    problems: list[str] = []
    failing: list[str] = []

    for source in sources:
        found = _problems_of(source, cache)
        if found:
            failing.append(source)
            problems += found

    if problems:
        raise InvalidJobError(
            "Runs would fail; nothing was changed.",
            problems=problems,
            next_step=f"`nightscore check {shlex.quote(failing[0])}` says more; "
            "--no-check deploys all the same",
        )


def _problems_of(source: str, cache: ModelCache) -> list[str]:
    problems = []
    for check in check_job(source, cache):
        if check.error is not None and not check.same_as:
            where = f" ({check.error.where})" if check.error.where else ""
            problems.append(f"{source}: {check.name}: {check.error.what}{where}")
    return problems
