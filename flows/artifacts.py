"""What the Prefect UI shows of a run and of a backfill: Markdown and tables, as pure functions of the records."""

from schemas.manifest import Manifest
from schemas.partition import show_value
from scoring.backfill import BackfillPlan

MAX_TABLE_ROWS = 400
"""List calls return every artifact whole: each stays well under 100 KB."""


def artifact_key(job: str, kind: str) -> str:
    """A key that is the same for each run of a job, so that its page is the history."""
    return "".join(c if c.isalnum() else "-" for c in f"{job}-{kind}".lower()).strip("-")


def state_message(manifest: Manifest) -> str:
    """One sentence for the state of a run."""
    counts, model = manifest.counts, manifest.model
    if manifest.error:
        return manifest.error.message
    done = "were published before" if manifest.status == "unchanged" else "scored"
    return (
        f"{show_value(manifest.partition)}: {counts.rows_scored:,} rows {done} by {model.name} v{model.version}, "
        f"{counts.rows_quarantined:,} quarantined"
    )


def run_markdown(manifest: Manifest) -> str:
    """What an on-call person can act on."""
    counts, measures, model = manifest.counts, manifest.measures, manifest.model
    where = f"{manifest.partition_key}={show_value(manifest.partition)}"
    peak = max(measures.peak_worker_bytes, default=0) >> 20
    lines = [f"## {manifest.status} · {manifest.job} · {where}", ""]
    if manifest.error:
        lines += [f"**{manifest.error.type}**", "", "```", manifest.error.message, "```", ""]
    lines += [
        "| | |",
        "| --- | --- |",
        f"| rows | {counts.rows_in:,} read, {counts.rows_scored:,} scored, {counts.rows_quarantined:,} quarantined |",
        f"| model | {model.name} version {model.version} ({model.estimator or 'not loaded'}) |",
        f"| digest | `{model.digest or 'not fetched'}`{' pinned' if model.is_pinned else ''} |",
        f"| time | {measures.total_s:.1f} s, {measures.rows_per_s:,.0f} rows/s, {measures.n_shards} shards, "
        f"slowest {measures.slowest_shard_s:.1f} s |",
        f"| cost | {measures.cpu_s:.1f} CPU s, peak {peak:,} MiB a worker |",
        f"| predictions | `{manifest.output.uri}` |",
        f"| manifest | `{manifest.location or 'could not be written'}` |",
        f"| run | `{manifest.run_id}` |",
        "",
    ]
    if manifest.quarantine.by_reason:
        lines += ["### Quarantine", "", "| reason | rows |", "| --- | ---: |"]
        lines += [f"| {reason} | {count:,} |" for reason, count in sorted(manifest.quarantine.by_reason.items())]
        lines += ["", "First places:", ""]
        lines += [
            f"- `{e.source_file}` row {e.source_row}: {e.reason} {e.column or ''}"
            for e in manifest.quarantine.examples
        ]
        lines += ["", *(f"`{file.path}`" for file in manifest.quarantine.files[:3]), ""]
    if manifest.warnings:
        lines += ["### Warnings", "", *(f"- {warning}" for warning in manifest.warnings), ""]
    stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in measures.stages_s.items())
    return "\n".join([*lines, f"Stages: {stages}" if stages else ""]).strip() + "\n"


def plan_rows(plan: BackfillPlan) -> list[dict[str, object]]:
    """The plan of a backfill as a table: what will be scored first."""
    ordered = sorted(plan.items, key=lambda item: item.action != "score")
    return [
        {
            "partition": item.value,
            "action": item.action,
            "reason": item.reason[:300],
            "rows": item.n_rows,
            "bytes": item.n_bytes,
            "model": item.model.removeprefix("models:/"),
        }
        for item in ordered[:MAX_TABLE_ROWS]
    ]


def plan_summary(plan: BackfillPlan, max_parallel: int) -> str:
    """One sentence with the totals."""
    seconds = plan.estimated_s(max_parallel)
    takes = "no run to tell the time from" if seconds is None else f"about {seconds:,.0f} s"
    return (
        f"{len(plan.to_score)} of {len(plan.items)} partitions to score, {plan.n_rows:,} rows, "
        f"{plan.n_bytes / 1e6:,.1f} MB, {takes}"
    )


def outcome_markdown(job: str, plan: BackfillPlan, outcomes: dict[str, str], again: str) -> str:
    """The matrix of dates by outcome, the failures with their causes, and what to run again."""
    failed = {value: text for value, text in outcomes.items() if not text.startswith("done")}
    marks = {"skip": "▫", "no input": "·"}
    by_month: dict[str, list[str]] = {}
    for item in sorted(plan.items, key=lambda item: item.value):
        mark = marks.get(item.action) or ("❌" if item.value in failed else "✅" if item.value in outcomes else "⏹")
        by_month.setdefault(item.value[:-2], []).append(mark)
    lines = [
        f"## {len(outcomes) - len(failed)} done, {len(failed)} failed · backfill of {job}",
        "",
        "✅ done  ❌ failed  ⏹ not run  ▫ left as it is  · no input",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| `{month}` | {''.join(marks)} |" for month, marks in by_month.items()),
        "",
    ]
    if failed:
        lines += ["### Failures", ""]
        lines += [f"- **{value}**: {text.splitlines()[0][:500]}" for value, text in sorted(failed.items())]
        lines += ["", "Run again what is left:", "", "```", again, "```"]
    return "\n".join(lines) + "\n"
