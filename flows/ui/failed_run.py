"""The event and the message of a failed run, short enough for a phone at night."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.flows.outcome import WHOLE_RUN, Outcome
from nightscore.flows.ui.events import SIGNS, RunEvent
from nightscore.flows.ui.failure_text import RUN_AGAIN, error_fields, error_lines
from nightscore.flows.ui.messages import named_first
from nightscore.schemas.text import counted, printable

MAX_SHOWN = 8
"""Failed partitions in a message."""
MAX_FAILURES = 50
"""Failed partitions in an event, whose size the server limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRun:
    """A run that failed, and what to do about it."""

    job: str
    failures: Sequence[Outcome]
    """What failed and why. One without a partition stands for the whole run."""
    url: str = ""
    """The run's page in Prefect."""

    @property
    def partitions(self) -> list[str]:
        """The partitions that failed."""
        return [failure.partition for failure in self.failures if failure.partition != WHOLE_RUN]

    @property
    def commands(self) -> list[str]:
        """Score what failed, once the cause is mended. A backfill has one for all partitions."""
        commands: dict[str, None] = {}
        for failure in self.failures:
            if failure.command:
                commands[failure.command] = None

        return list(commands)


def failed_event(run: FailedRun) -> RunEvent:
    """`nightscore.run.failed`: one for each run, however many of its partitions failed."""
    partitions = ", ".join(run.partitions[:MAX_FAILURES])
    resource = {
        "prefect.resource.id": f"nightscore.job.{run.job}",
        "prefect.resource.name": run.job,
        "nightscore.partition": partitions,
        "nightscore.severity": "critical",
        "nightscore.notify": "true",
    }
    payload = {
        "job": run.job,
        "partition": partitions,
        "status": "failed",
        "severity": "critical",
        "sign": SIGNS["critical"],
        # Errors name files and columns: none may forge a line of a message.
        "subject": printable(subject(run)),
        "message": printable(" ".join([f"{subject(run)}.", *_next_steps(run)])),
        "text": "\n".join(map(printable, text_lines(run))),
        "failures": list(map(_fields, run.failures[:MAX_FAILURES])),
        "n_failed": len(run.failures),
        "commands": run.commands[:MAX_FAILURES],
        "flow_run_url": run.url,
    }
    return RunEvent("nightscore.run.failed", resource, payload)


def subject(run: FailedRun) -> str:
    """Where and what: enough for readers who read no further."""
    if len(run.failures) > 1:
        n_failed = counted(len(run.failures), "partition")
        return f"{run.job}: {n_failed} failed: {named_first(run.partitions)}"

    (failure,) = run.failures
    where = " ".join(filter(None, (run.job, failure.partition)))
    what = error_lines(failure)[0].removesuffix(".")
    return f"{where}: failed: {what}"


def text_lines(run: FailedRun) -> list[str]:
    """The lines of a message."""
    lines = []
    for failure in run.failures[:MAX_SHOWN]:
        first, *others = error_lines(failure)
        name = failure.partition or "The run"
        lines += [f"• {name}: {first}", *others]

    if len(run.failures) > MAX_SHOWN:
        lines.append(f"• and {len(run.failures) - MAX_SHOWN} more")

    if run.commands:
        lines += ["", f"{RUN_AGAIN}:"]
        lines += map("    {}".format, run.commands[:MAX_SHOWN])

    if run.url:
        lines += ["", f"Run: {run.url}"]

    return lines


def _fields(failure: Outcome) -> dict[str, str]:
    return {"partition": failure.partition, **error_fields(failure)}


def _next_steps(run: FailedRun) -> list[str]:
    if not run.commands:
        return []
    return [f"{RUN_AGAIN}:", "; ".join(run.commands[:MAX_SHOWN])]
