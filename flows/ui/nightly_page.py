"""The outcome of a nightly run in the Prefect UI: Markdown, from the outcomes of its partitions."""

from collections.abc import Sequence

from nightscore.flows.outcome import Outcome
from nightscore.flows.ui.backfill_page import MAX_FAILURES, failure_lines
from nightscore.flows.ui.failure_text import RUN_AGAIN
from nightscore.flows.ui.markdown import escaped, fenced
from nightscore.schemas.text import counted


def nightly_verdict(outcomes: Sequence[Outcome]) -> str:
    """How many partitions are done, failed and held."""
    n_done = sum(outcome.is_done for outcome in outcomes)
    return f"{n_done} done, {_unfinished(outcomes)}"


def _unfinished(outcomes: Sequence[Outcome]) -> str:
    n_failed = sum(outcome.is_failed for outcome in outcomes)
    n_held = sum(outcome.is_held for outcome in outcomes)
    return f"{n_failed} failed, {n_held} held" if n_held else f"{n_failed} failed"


def nightly_markdown(name: str, outcomes: Sequence[Outcome]) -> str:
    """The night's partition and the late ones: what failed and why, what to run, what is done.

    Args:
        name: The job's name.
        outcomes: Outcome of the night's partition, then of late ones.
    """
    lines = [f"## {nightly_verdict(outcomes)} · nightly run of {escaped(name)}", ""]

    failures: dict[str, Outcome] = {}
    commands: list[str] = []
    others: list[str] = []
    for outcome in outcomes:
        if outcome.is_failed:
            failures[outcome.partition] = outcome
            commands.append(outcome.command)
        else:
            others.append(f"- {escaped(outcome.message)}")

    if failures:
        lines += ["### Failures", "", *failure_lines(failures)]
        lines += ["", f"### {RUN_AGAIN}", ""]
        lines += [*fenced("\n".join(commands[:MAX_FAILURES])), ""]

    return "\n".join([*lines, *others]).strip() + "\n"


def nightly_message(outcomes: Sequence[Outcome], artifact: str) -> str:
    """The message of the run's state: the night's partition, then late data.

    Args:
        outcomes: Outcome of the night's partition, then of late ones.
        artifact: Key of the artifact with the causes of failures.
    """
    tonight, *late = outcomes
    if not late:
        return tonight.message

    names = ", ".join(outcome.partition for outcome in late)
    partitions = counted(len(late), "more partition")
    message = f"{tonight.message}; late data: {partitions}, {_unfinished(late)} ({names})"

    if not all(outcome.is_done for outcome in outcomes):
        message += f"; causes and what to run again: artifact {artifact}"

    return message
