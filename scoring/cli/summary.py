"""Prints manifests: what a person wants to know of a run."""

import posixpath
from collections.abc import Sequence

from rich.text import Text

from nightscore.cli.show import counted, err, out, show_size
from nightscore.outputs.guarantees import decisions, instead_of_a_decision
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import GateRecord, Manifest
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import printable

SHOWN_REASONS = 5
"""Of quarantined rows."""


def print_manifest(manifest: Manifest, job: ScoringJob) -> None:
    """Print the summary of a run of the job."""
    if manifest.status == "failed" and manifest.error:
        _print_failed(manifest, manifest.error.message)
    elif manifest.status == "held":
        _print_held(manifest, job)
    else:
        _print_done(manifest)


def print_failures(manifests: Sequence[Manifest]) -> None:
    """Print the error of each failed run."""
    for manifest in manifests:
        if manifest.error:
            err.print_lines(f"{show_value(manifest.partition)}: {manifest.error.message}")


def _print_failed(manifest: Manifest, message: str) -> None:
    where = printable(f" {manifest.job} {_partition(manifest)}")
    err.print(Text.assemble(("failed", "bold red"), where))
    err.print_lines(message)
    if manifest.location:
        err.print(f"  record:   {manifest.location}")


def _print_held(manifest: Manifest, job: ScoringJob) -> None:
    err.print(f"held {manifest.job} {_partition(manifest)}: complete, not published")
    for gate in manifest.gates:
        if not gate.passed:
            err.print(f"  {_gate(gate)}")

    next_step = ", or ".join(decisions(manifest, job.given_as))
    err.print(f"  next:     {next_step or instead_of_a_decision(manifest, job.given_as)}")
    err.print(f"  record:   {manifest.location}")


def _gate(gate: GateRecord) -> str:
    name = gate.gate
    if gate.action == "warn":
        name += " (a warning)"
    return f"{name}: expected {gate.expected}, found {gate.found}"


def _print_done(manifest: Manifest) -> None:
    counts, measures, model = manifest.counts, manifest.measures, manifest.model

    title = f"{manifest.status} {manifest.job} {_partition(manifest)}"

    time = f"{measures.total_s:.1f} s, scoring at {measures.rows_per_s:,.0f} rows/s"
    if manifest.status == "unchanged":
        title += " (already published; --force scores it again)"
        time = f"{time}, in the run that published"

    digest = model.digest

    if model.is_pinned:
        digest += " pinned"

    workers = counted(measures.n_workers, "worker")
    peak = show_size(max(measures.peak_worker_bytes, default=0))

    lines = [
        title,
        f"  rows:        {counts.rows_in:,} read, {counts.rows_scored:,} scored, "
        f"{counts.rows_quarantined:,} quarantined",
        f"  model:       {named_model(model.name, model.version)} ({model.estimator}), {digest}",
        f"  time:        {time}; {workers}, peak {peak} per worker",
        f"  predictions: {manifest.output.uri}",
        f"  manifest:    {manifest.location}",
    ]

    lines[3:3] = _canary(manifest)

    if manifest.quarantine.by_column:
        lines.insert(2, f"  quarantine:  {_quarantine(manifest)}")

    if manifest.drift is not None:
        from nightscore.monitoring.drift.wording import verdict_text

        lines.append(f"  drift:       {verdict_text(manifest.drift)}")

    lines += [f"  {'beside:':<13}{challenger.text}" for challenger in manifest.challengers]

    for line in lines:
        out.print(line)

    for warning in manifest.warnings:
        err.print(f"  warning:     {warning}")


def _canary(manifest: Manifest) -> list[str]:
    """Which rows are of a challenger, and what a feature flag has said of it."""
    lines = []
    if manifest.canary is not None:
        lines.append(f"  canary:      {manifest.canary}")
    if manifest.flag is not None:
        lines.append(f"  flag:        {manifest.flag}")
    return lines


def _quarantine(manifest: Manifest) -> str:
    """Why rows could not be scored, the commonest reasons first, and where they are."""
    quarantine = manifest.quarantine
    ordered = sorted(quarantine.by_column.items(), key=lambda item: -item[1])

    reasons = [f"{reason} in {counted(n_rows, 'row')}" for reason, n_rows in ordered]
    if len(reasons) > SHOWN_REASONS:
        reasons[SHOWN_REASONS:] = [counted(len(reasons) - SHOWN_REASONS, "more reason")]

    folders = sorted({posixpath.dirname(file.path) for file in quarantine.files})
    places = ", ".join(f"{manifest.output.uri}.nightscore/{folder}/" for folder in folders)
    return f"{', '.join(reasons)}; in {places}" if places else ", ".join(reasons)


def _partition(manifest: Manifest) -> str:
    return f"{manifest.partition_key}={show_value(manifest.partition)}"
