"""What the Prefect UI shows of a run and of a backfill: Markdown and tables, as pure functions of the records."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from nightscore.drift.wording import verdict_text
from nightscore.flows.outcome import Outcome
from nightscore.flows.tracking import TrackedRun
from nightscore.flows.ui.drift import MAX_TABLE_ROWS, drift_lines
from nightscore.flows.ui.markdown import code, escaped, fenced
from nightscore.flows.ui.progress import show_seconds
from nightscore.inputs.partitions import partition_date
from nightscore.operations.backfill import DEFAULT_MODES, BackfillItem, BackfillPlan
from nightscore.operations.report import NOTHING_DRAWN, Drawn
from nightscore.reports.cards import SIGNS
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import printable

MAX_FAILURES = 50


def artifact_key(job: str, kind: str) -> str:
    """A key that is the same for each run of a job, so that its page is the history."""
    return "".join(c if c.isalnum() else "-" for c in f"{job}-{kind}".lower()).strip("-")


def state_message(manifest: Manifest) -> str:
    """One sentence for the state of a run."""
    counts, model = manifest.counts, manifest.model
    if manifest.error:
        return manifest.error.message
    if manifest.status in ("held", "rejected"):
        held_by = [gate for gate in manifest.gates if not gate.passed and gate.action == "hold"]
        closed = "; ".join(f"{gate.gate}: {gate.found}" for gate in held_by)
        what = (
            "held, waits for `nightscore approve` or `reject`"
            if manifest.status == "held"
            else "was rejected"
        )
        return f"{show_value(manifest.partition)}: {what}: {closed}"
    done = "were published before" if manifest.status == "unchanged" else "scored"
    drift = f"; drift {verdict_text(manifest.drift)}" if manifest.drift else ""
    return (
        f"{show_value(manifest.partition)}: {counts.rows_scored:,} rows {done} by {model.name} v{model.version}, "
        f"{counts.rows_quarantined:,} quarantined{drift}"
    )


def headline(manifest: Manifest, message: str) -> str:
    """For the list of artifacts, which cuts it after 40 characters: the verdict first."""
    drift = manifest.drift
    verdict = f"{SIGNS[drift.verdict]} {drift.verdict}, " if drift and drift.references else ""
    return f"{verdict}{manifest.status}: {message.splitlines()[0]}"[:200]


def run_markdown(
    manifest: Manifest,
    tracked: TrackedRun | None = None,
    report_url: str = "",
    drawn: Drawn = NOTHING_DRAWN,
) -> str:
    """What an on-call person can act on."""
    counts, measures, model = manifest.counts, manifest.measures, manifest.model
    where = f"{manifest.partition_key}={show_value(manifest.partition)}"
    peak = max(measures.peak_worker_bytes, default=0) >> 20
    resumed = (
        f", {measures.n_shards_resumed} of them by an earlier attempt"
        if measures.n_shards_resumed
        else ""
    )
    drift = manifest.drift
    verdict = f"{SIGNS[drift.verdict]} {drift.verdict} · " if drift and drift.references else ""
    lines = [f"## {verdict}{manifest.status} · {escaped(manifest.job)} · {escaped(where)}", ""]
    if drift:
        lines += [*drift_lines(drift, report_url, drawn), "### The run", ""]
    if manifest.error:
        lines += [f"**{manifest.error.type}**", "", *fenced(manifest.error.message), ""]
    lines += [
        f"| rows | {counts.rows_in:,} read, {counts.rows_scored:,} scored, {counts.rows_quarantined:,} quarantined |",
        "| --- | --- |",
        f"| model | {escaped(model.name)} version {escaped(model.version)} "
        f"({escaped(model.estimator or 'not loaded')}) |",
        f"| digest | `{model.digest or 'not fetched'}`{' pinned' if model.is_pinned else ''} |",
        f"| time | {show_seconds(measures.total_s)}, {measures.rows_per_s:,.0f} rows/s; "
        f"{measures.n_shards} shard{'s'[: measures.n_shards != 1]}{resumed}, "
        f"the slowest {measures.slowest_shard_s:.1f} s |",
        f"| cost | {measures.cpu_s:.1f} CPU s, peak {peak:,} MiB a worker |",
        f"| MLflow run | {_link(tracked)} |",
        f"| run | `{manifest.run_id}`{f', attempt {manifest.attempts}' if manifest.attempts > 1 else ''} |",
        "",
        f"Predictions: {code(manifest.output.uri)}",
        "",
        f"Manifest: {code(manifest.location or 'could not be written')}",
        "",
    ]
    if manifest.gates:
        lines += ["### Gates", "", "| gate | | expected | found |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {escaped(gate.gate)} | {'passed' if gate.passed else f'**{gate.action}**'} "
            f"| {escaped(gate.expected)} | {escaped(gate.found)} |"
            for gate in manifest.gates
        ]
        lines.append("")
    if manifest.quarantine.by_reason:
        lines += ["### Quarantine", "", "| reason | rows |", "| --- | ---: |"]
        lines += [
            f"| {escaped(reason)} | {count:,} |"
            for reason, count in sorted(manifest.quarantine.by_reason.items())
        ]
        lines += ["", "First places:", ""]
        lines += [
            f"- {code(e.source_file)} row {e.source_row}: {escaped(e.reason)} {escaped(e.column or '')}"
            for e in manifest.quarantine.examples
        ]
        lines += ["", *(code(file.path) for file in manifest.quarantine.files[:3]), ""]
    if manifest.warnings:
        lines += [
            "### Warnings",
            "",
            *(f"- {escaped(warning)}" for warning in manifest.warnings),
            "",
        ]
    stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in measures.stages_s.items())
    return "\n".join([*lines, f"Stages: {stages}" if stages else ""]).strip() + "\n"


def _link(tracked: TrackedRun | None) -> str:
    if tracked is None:
        return "none"
    name = f"{tracked.experiment}, {tracked.run_id}"
    return f"[{escaped(name)}]({tracked.url})" if tracked.url else code(name)


def outcome_rows(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """The partitions of a batch as a table: what failed first."""
    return [
        {
            "partition": o.partition,
            "outcome": "done" if o.is_done else "failed",
            "message": o.message[:500],
        }
        for o in sorted(outcomes, key=lambda outcome: outcome.is_done)
    ]


def plan_rows(plan: BackfillPlan, max_parallel: int) -> list[dict[str, object]]:
    """The plan of a backfill as a table: the totals, then what will be scored, then the rest."""
    seconds = plan.estimated_s(max_parallel)
    total: dict[str, object] = {
        "partition": "total",
        "action": f"score {len(plan.to_score)} of {len(plan.items)}",
        "reason": "",
        "rows": f"{plan.n_rows:,}",
        "bytes": f"{plan.n_bytes:,}",
        "time": "" if seconds is None else show_seconds(seconds),
        "model": "",
    }
    ordered = sorted(plan.items, key=lambda item: item.action != "score")
    rows: list[dict[str, object]] = [
        {
            "partition": item.value,
            "action": item.action,
            "reason": item.reason[:300],
            "rows": "" if item.n_rows is None else f"{item.n_rows:,}",
            "bytes": f"{item.n_bytes:,}",
            "time": "" if item.estimated_s is None else show_seconds(item.estimated_s),
            "model": item.model.removeprefix("models:/"),
        }
        for item in ordered[:MAX_TABLE_ROWS]
    ]
    return [total, *rows]


def plan_lines(plan: BackfillPlan) -> list[str]:
    """The plan of a backfill as a table of plain text, date by date."""
    head = f"{'partition':<12} {'action':<9} {'rows':>12} {'bytes':>14}  reason"
    return [
        head,
        *(
            f"{printable(item.value):<12} {item.action:<9} {'' if item.n_rows is None else f'{item.n_rows:,}':>12} "
            f"{item.n_bytes:>14,}  {printable(item.reason)}"
            for item in plan.items
        ),
    ]


def plan_summary(plan: BackfillPlan, max_parallel: int) -> str:
    """One sentence with the totals."""
    seconds = plan.estimated_s(max_parallel)
    takes = "no run to tell the time from" if seconds is None else f"about {show_seconds(seconds)}"
    return (
        f"{len(plan.to_score)} of {len(plan.items)} partitions to score, {plan.n_rows:,} rows, "
        f"{plan.n_bytes / 1e6:,.1f} MB, {takes}"
    )


def run_again(
    job: str, start: date, end: date, modes: Sequence[str], model: str, unfinished: Sequence[str]
) -> tuple[str, str]:
    """The command and the flow's parameters that score what a backfill has left, and nothing else.

    A range of which the done partitions are skipped; with the mode `all`, which skips none, as little of it as covers
    what is left.
    """
    first, last = str(start), str(end)
    if "all" in modes and unfinished:
        first, last = min(unfinished), max(unfinished)
    command = ["nightscore", "backfill", job, "--from", first, "--to", last]
    parameters: dict[str, object] = {"job": job, "start": first, "end": last}
    if tuple(modes) != DEFAULT_MODES:
        command += [part for mode in modes for part in ("--mode", mode)]
        parameters["mode"] = list(modes)
    if model != "current":
        command += ["--model", model]
        parameters["model"] = model
    return shlex.join(command), json.dumps(parameters)


def _calendar(marks: Mapping[str, str], spec: ScoringJob) -> list[str]:
    """Marks of partition values as weeks by days; one line each where the values are no days."""
    days = {day: mark for value, mark in marks.items() if (day := partition_date(spec, value))}
    if len(days) < len(marks) or not {"%d", "%j"} & set(
        re.findall("%.", spec.input.partition_format)
    ):
        return [f"- {escaped(value)} {mark}" for value, mark in marks.items()]
    weeks: dict[date, list[str]] = {}
    for day, mark in days.items():
        monday = day - timedelta(days=day.weekday())
        weeks.setdefault(monday, [""] * 7)[day.weekday()] = f"{day.day} {mark}"
    return [
        "| week of | Mo | Tu | We | Th | Fr | Sa | Su |",
        f"|{' --- |' * 8}",
        *(f"| {monday} | {' | '.join(cells)} |" for monday, cells in weeks.items()),
    ]


def outcome_markdown(
    spec: ScoringJob, plan: BackfillPlan, outcomes: Mapping[str, Outcome], again: tuple[str, str]
) -> str:
    """The matrix of dates by outcome, the failures with their causes, and what to run again.

    Args:
        spec: The job.
        plan: What was to be done.
        outcomes: Of each partition that was run.
        again: Command and parameters that score what is left.
    """
    failed = {value: outcome.message for value, outcome in outcomes.items() if not outcome.is_done}
    left = len(plan.to_score) - len(outcomes)
    marks = {"skip": "🔹", "no input": "➖"}

    def mark(item: BackfillItem) -> str:
        return marks.get(item.action) or (
            "❌" if item.value in failed else "✅" if item.value in outcomes else "⬜"
        )

    lines = [
        f"## {len(outcomes) - len(failed)} done, {len(failed)} failed, {left} not run "
        f"· backfill of {escaped(spec.name)}",
        "",
        "✅ done · ❌ failed · ⬜ not run · 🔹 left as it was · ➖ no input",
        "",
        *_calendar(
            {item.value: mark(item) for item in sorted(plan.items, key=lambda item: item.value)},
            spec,
        ),
        "",
    ]
    if failed:
        shown = sorted(failed.items())[:MAX_FAILURES]
        lines += ["### Failures", ""]
        for value, text in shown:
            lines += [
                f"**{escaped(value)}**",
                "",
                *fenced(text[:700].removeprefix(f"{value}: ")),
                "",
            ]
        if len(failed) > len(shown):
            lines += [
                f"and {len(failed) - len(shown)} more: {escaped(', '.join(sorted(failed)[len(shown) :]))}"
            ]
    if failed or left:
        command, parameters = again
        lines += ["", "### Run again what is left", "", *fenced(command), ""]
        lines += [
            "or here: *Deployments*, *Custom run*, with the parameters",
            "",
            *fenced(parameters),
        ]
    return "\n".join(lines) + "\n"
