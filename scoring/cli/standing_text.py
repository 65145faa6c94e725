"""Where the decision between two versions stands, as commands print it."""

import operator
from collections.abc import Iterator
from typing import Any

from nightscore.cli.show import out
from nightscore.monitoring.decisions.wording import describe_details, describe_standing
from nightscore.operations.standing import standings
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.job import ScoringJob


def print_standings(job: ScoringJob) -> None:
    """Print where the decision stands with each challenger of a job."""
    for standing in standings(job):
        for line in show_standing(standing):
            out.print(line)


def standing_documents(job: ScoringJob) -> list[dict[str, Any]]:
    """The same for `--json`."""
    return list(map(operator.methodcaller("model_dump", mode="json"), standings(job)))


def show_standing(found: ComparisonRecord) -> Iterator[str]:
    """Where the decision stands, and what that is from, line by line."""
    text = describe_standing(found)
    yield text[0].upper() + text[1:]
    for detail in describe_details(found):
        yield f"  {detail}"
