"""Where the decision between two versions stands, as commands print it."""

from collections.abc import Iterator

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


def show_standing(found: ComparisonRecord) -> Iterator[str]:
    """Where the decision stands, and what that is from, line by line."""
    text = describe_standing(found)
    yield text[0].upper() + text[1:]
    if found.verdict == "unknown":
        return  # the notes are in that line

    for detail in describe_details(found):
        yield f"  {detail}"
