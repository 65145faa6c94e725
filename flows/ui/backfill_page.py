"""Plan and outcome of a backfill in the Prefect UI: Markdown and tables, from the records."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from nightscore.flows.outcome import Outcome
from nightscore.flows.ui.drift import MAX_TABLE_ROWS
from nightscore.flows.ui.failure_text import error_text
from nightscore.flows.ui.markdown import escaped, fenced
from nightscore.inputs.partitions import partition_date
from nightscore.operations.backfill import DEFAULT_MODES, BackfillItem, BackfillPlan
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.text import printable, show_seconds

MAX_FAILURES = 50
"""Failures with their message; the others are named."""
MAX_FAILURE_CHARACTERS = 700
MAX_REASON_CHARACTERS = 300
MAX_MESSAGE_CHARACTERS = 500
MARKS = {"done": "✅", "failed": "❌", "not run": "⬜", "skip": "🔹", "no input": "➖"}
LEGEND = "✅ done · ❌ failed · ⬜ not run · 🔹 not planned · ➖ no input"


def plan_summary(plan: BackfillPlan, max_parallel: int) -> str:
    """One sentence with the totals."""
    seconds = plan.estimated_s(max_parallel)
    duration = "time unknown (no earlier run of about as many rows)"
    if seconds is not None:
        duration = f"about {show_seconds(seconds)}, as earlier runs took"

    return (
        f"{len(plan.to_score)} of {len(plan.items)} partitions to score, {plan.n_rows:,} rows, "
        f"{plan.n_bytes / 1e6:,.1f} MB, {duration}"
    )


def plan_rows(plan: BackfillPlan, max_parallel: int) -> list[dict[str, object]]:
    """The plan as a table: the totals, then what will be scored, then the rest."""
    total: dict[str, object] = {
        "partition": "total",
        "action": f"score {len(plan.to_score)} of {len(plan.items)}",
        "reason": "",
        "rows": f"{plan.n_rows:,}",
        "bytes": f"{plan.n_bytes:,}",
        "time": _duration(plan.estimated_s(max_parallel)),
        "model": "",
    }
    to_score_first = sorted(plan.items, key=lambda item: item.action != "score")

    return [total, *map(_plan_row, to_score_first[:MAX_TABLE_ROWS])]


def _plan_row(item: BackfillItem) -> dict[str, object]:
    return {
        "partition": item.value,
        "action": item.action,
        "reason": item.reason[:MAX_REASON_CHARACTERS],
        "rows": _count(item.n_rows),
        "bytes": f"{item.n_bytes:,}",
        "time": _duration(item.estimated_s),
        "model": item.model.removeprefix("models:/"),
    }


def plan_lines(plan: BackfillPlan) -> list[str]:
    """The plan as a table of plain text, one line per partition."""
    lines = [f"{'partition':<12} {'action':<9} {'rows':>12} {'bytes':>14}  reason"]
    for item in plan.items:
        numbers = f"{_count(item.n_rows):>12} {item.n_bytes:>14,}"
        partition = printable(item.value)
        lines.append(f"{partition:<12} {item.action:<9} {numbers}  {printable(item.reason)}")
    return lines


def _count(n_rows: int | None) -> str:
    return "" if n_rows is None else f"{n_rows:,}"


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else show_seconds(seconds)


def outcome_rows(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """The partitions of a batch as a table, failures first."""
    failures_first = sorted(outcomes, key=lambda outcome: outcome.is_done)
    return [
        {
            "partition": outcome.partition,
            "outcome": "done" if outcome.is_done else "failed",
            "message": outcome.message[:MAX_MESSAGE_CHARACTERS],
        }
        for outcome in failures_first
    ]


def resume_command(
    job: str, start: date, end: date, modes: Sequence[str], model: str, unfinished: Sequence[str]
) -> tuple[str, str]:
    """The command, and the flow's parameters, that score what a backfill has left.

    Partitions that are done are skipped. The mode `all` skips none: then the range is no longer
    than what is left.
    """
    first, last = str(start), str(end)

    if "all" in modes and unfinished:
        first, last = min(unfinished), max(unfinished)

    command = ["nightscore", "backfill", job, "--from", first, "--to", last]
    parameters: dict[str, object] = {"job": job, "start": first, "end": last}

    if tuple(modes) != DEFAULT_MODES:
        # What was stale and failed is `failed` now.
        left = [*modes] if "all" in modes else [*dict.fromkeys((*modes, "failed"))]
        for mode in left:
            command += ["--mode", mode]

        parameters["mode"] = left

    if model != "current":
        command += ["--model", model]
        parameters["model"] = model

    return shlex.join(command), json.dumps(parameters)


def backfill_markdown(
    spec: ScoringJob, plan: BackfillPlan, outcomes: Mapping[str, Outcome], resume: tuple[str, str]
) -> str:
    """The calendar of outcomes, the failures with their causes, and what to run again.

    Args:
        spec: The job.
        plan: What was planned.
        outcomes: Outcome of each partition that was run.
        resume: Command and parameters that score what is left.
    """
    failures = {value: outcome for value, outcome in outcomes.items() if not outcome.is_done}
    n_left = len(plan.to_score) - len(outcomes)
    by_value = sorted(plan.items, key=lambda item: item.value)
    marks = {item.value: _mark(item, outcomes) for item in by_value}

    lines = [
        f"## {len(outcomes) - len(failures)} done, {len(failures)} failed, {n_left} not run "
        f"· backfill of {escaped(spec.name)}",
        "",
        LEGEND,
        "",
        *_calendar(marks, spec),
        "",
    ]

    if failures:
        lines += ["### Failures", "", *failure_lines(failures)]

    if failures or n_left:
        command, parameters = resume
        lines += ["", "### Run again what is left", "", *fenced(command), ""]
        lines += ["or here: *Deployments*, *Custom run*, with the parameters", ""]
        lines += fenced(parameters)

    return "\n".join(lines) + "\n"


def _mark(item: BackfillItem, outcomes: Mapping[str, Outcome]) -> str:
    if item.action != "score":
        return MARKS[item.action]
    outcome = outcomes.get(item.value)
    if outcome is None:
        return MARKS["not run"]
    return MARKS["done" if outcome.is_done else "failed"]


def failure_lines(failures: Mapping[str, Outcome]) -> list[str]:
    """Each partition that failed, with its cause."""
    lines = []
    for value in sorted(failures)[:MAX_FAILURES]:
        text = error_text(failures[value], MAX_FAILURE_CHARACTERS)
        lines += [f"**{escaped(value)}**", "", *fenced(text), ""]

    others = sorted(failures)[MAX_FAILURES:]
    if others:
        lines.append(f"and {len(others)} more: {escaped(', '.join(others))}")
    return lines


def _calendar(marks: Mapping[str, str], spec: ScoringJob) -> list[str]:
    """Marks of partitions as a table of weeks by days; as a list if the partitions are not days."""
    mark_by_day = {}
    for value, mark in marks.items():
        day = partition_date(spec, value)
        if day:
            mark_by_day[day] = mark

    directives = set(re.findall("%.", spec.input.partition_format))
    if len(mark_by_day) < len(marks) or not directives & {"%d", "%j"}:
        return [f"- {escaped(value)} {mark}" for value, mark in marks.items()]

    weeks: dict[date, list[str]] = {}
    for day, mark in mark_by_day.items():
        monday = day - timedelta(days=day.weekday())
        weeks.setdefault(monday, [""] * 7)[day.weekday()] = f"{day.day} {mark}"

    lines = ["| week of | Mo | Tu | We | Th | Fr | Sa | Su |", f"|{' --- |' * 8}"]
    for monday, days in weeks.items():
        lines.append(f"| {monday} | {' | '.join(days)} |")

    return lines
