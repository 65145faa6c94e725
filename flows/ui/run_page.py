"""The page of a run in the Prefect UI: Markdown, as a pure function of the records."""

from collections.abc import Sequence

from nightscore.flows.tracking import TrackedRun
from nightscore.flows.ui.drift import drift_lines, estimate_lines
from nightscore.flows.ui.markdown import code, escaped, fenced
from nightscore.operations.report import NOTHING_DRAWN, Drawn
from nightscore.reports.cards import SIGNS
from nightscore.schemas.challenger import ChallengerRecord
from nightscore.schemas.manifest import GateRecord, Manifest, QuarantineRecord
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import show_seconds

MAX_QUARANTINE_FILES = 3


def run_markdown(
    manifest: Manifest,
    tracked: TrackedRun | None = None,
    report_url: str = "",
    drawn: Drawn = NOTHING_DRAWN,
) -> str:
    """What an on-call person needs to act: drift, the error, numbers, places, gates, quarantine.

    Args:
        manifest: The run's record.
        tracked: The run in MLflow.
        report_url: URL of the whole report; empty if no server has it.
        drawn: Plots and sparklines, as far as they are drawn.
    """
    lines = [_title(manifest), ""]
    if manifest.drift:
        lines += drift_lines(manifest.drift, report_url, drawn)
        lines += [*estimate_lines(manifest.estimate), "### The run", ""]

    if manifest.error:
        lines += [f"**{manifest.error.type}**", "", *fenced(manifest.error.message), ""]

    lines += _facts(manifest, tracked)
    lines += [
        f"Predictions: {code(manifest.output.uri)}",
        "",
        f"Manifest: {code(manifest.location or 'could not be written')}",
        "",
    ]

    lines += _challengers(manifest.challengers)
    lines += _gates(manifest)
    lines += _quarantine(manifest.quarantine)

    if manifest.warnings:
        lines += ["### Warnings", ""]
        for warning in manifest.warnings:
            lines.append(f"- {escaped(warning)}")
        lines.append("")

    stages = [f"{name} {seconds:.2f} s" for name, seconds in manifest.measures.stages_s.items()]
    if stages:
        lines.append(f"Stages: {', '.join(stages)}")

    return "\n".join(lines).strip() + "\n"


def _title(manifest: Manifest) -> str:
    partition = f"{manifest.partition_key}={show_value(manifest.partition)}"
    title = f"{manifest.status} · {escaped(manifest.job)} · {escaped(partition)}"

    drift = manifest.drift
    if drift and drift.references:
        title = f"{SIGNS[drift.verdict]} {drift.verdict} · {title}"
    return f"## {title}"


def _facts(manifest: Manifest, tracked: TrackedRun | None) -> list[str]:
    counts, measures, model = manifest.counts, manifest.measures, manifest.model
    peak_mib = max(measures.peak_worker_bytes, default=0) >> 20

    digest, run = f"`{model.digest or 'not fetched'}`", f"`{manifest.run_id}`"

    if model.is_pinned:
        digest += " pinned"

    if manifest.attempts > 1:
        run += f", attempt {manifest.attempts}"

    canary = [] if manifest.canary is None else [f"| canary | {escaped(str(manifest.canary))} |"]
    flag = [] if manifest.flag is None else [f"| flag | {escaped(str(manifest.flag))} |"]

    return [
        f"| rows | {counts.rows_in:,} read, {counts.rows_scored:,} scored, "
        f"{counts.rows_quarantined:,} quarantined |",
        "| --- | --- |",
        f"| model | {escaped(named_model(model.name, model.version))} "
        f"({escaped(model.estimator or 'not loaded')}) |",
        f"| digest | {digest} |",
        *canary,
        *flag,
        f"| time | {show_seconds(measures.total_s)}, {measures.rows_per_s:,.0f} rows/s; "
        f"{_shards(manifest)}, the slowest {measures.slowest_shard_s:.1f} s |",
        f"| cost | {measures.cpu_s:.1f} CPU s, peak {peak_mib:,} MiB per worker |",
        f"| MLflow run | {_link(tracked)} |",
        f"| run | {run} |",
        "",
    ]


def _shards(manifest: Manifest) -> str:
    measures = manifest.measures
    shards = f"{measures.n_shards} shard{'s'[: measures.n_shards != 1]}"
    if measures.n_shards_resumed:
        shards += f", {measures.n_shards_resumed} of them scored by an earlier attempt"
    return shards


def _link(tracked: TrackedRun | None) -> str:
    if tracked is None:
        return "none"

    name = f"{tracked.experiment}, {tracked.run_id}"
    if tracked.url:
        return f"[{escaped(name)}]({tracked.url})"
    return code(name)


def _challengers(challengers: Sequence[ChallengerRecord]) -> list[str]:
    if not challengers:
        return []

    lines = ["### Challengers", ""]
    for challenger in challengers:
        cost = f"{challenger.overhead_s:.1f} CPU s" if challenger.overhead_s else "no CPU time"
        lines.append(f"- {escaped(challenger.text)} ({cost})")
    return [*lines, ""]


def _gates(manifest: Manifest) -> list[str]:
    if not manifest.gates:
        return []

    lines = ["### Gates", "", "| gate | | expected | found |", "| --- | --- | --- | --- |"]
    for gate in manifest.gates:
        lines.append(_gate_row(gate))
    return [*lines, ""]


def _gate_row(gate: GateRecord) -> str:
    result = "passed" if gate.passed else f"**{gate.action}**"
    return f"| {escaped(gate.gate)} | {result} | {escaped(gate.expected)} | {escaped(gate.found)} |"


def _quarantine(quarantine: QuarantineRecord) -> list[str]:
    if not quarantine.by_reason:
        return []

    lines = ["### Quarantine", "", "| reason | rows |", "| --- | ---: |"]
    for reason, n_rows in sorted(quarantine.by_reason.items()):
        lines.append(f"| {escaped(reason)} | {n_rows:,} |")

    lines += ["", "The first rows:", ""]

    for example in quarantine.examples:
        where = f"{code(example.source_file)} row {example.source_row}"
        lines.append(f"- {where}: {escaped(example.reason)} {escaped(example.column or '')}")

    files = [code(file.path) for file in quarantine.files[:MAX_QUARANTINE_FILES]]
    return [*lines, "", *files, ""]
