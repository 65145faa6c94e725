"""`nightscore runs`. It needs neither Arrow nor drift, which `history` does."""

import json
from collections.abc import Sequence

from nightscore.cli.resolve import load_any, read_value
from nightscore.cli.show import counted, out, print_json, print_table
from nightscore.inputs.values import check_value
from nightscore.operations.history import newest_runs
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value

RUN_COLUMNS = (
    "run",
    "partition",
    "status",
    "started (UTC)",
    "model",
    "rows",
    "quarantined",
    "seconds",
    "error",
)

MAX_NOTES = 3
"""Challengers that were not published."""


def runs(job: str, partition: str | None, limit: int, as_json: bool) -> None:
    """Print the runs of a job, newest first."""
    spec = load_any(job)

    if partition:
        value = read_value(spec, partition)
        page = newest_runs(spec, value, everything=False, limit=limit)

        if not page.manifests:
            check_value(spec, value, "runs")
    else:
        page = newest_runs(spec, limit=limit)

    if as_json:
        print_json([json.loads(manifest.model_dump_json()) for manifest in page.manifests])
        return

    rows = [_run_row(manifest) for manifest in page.manifests]
    print_table(f"Runs of {spec.name}", RUN_COLUMNS, rows)
    _print_challengers(page.manifests)

    if limit and page.n_runs > limit:
        every = spec.command("runs", *([partition] if partition else []), "--limit", "0")
        shown = f"the newest {len(rows):,} of {counted(page.n_runs, 'run')}"
        out.print(f"These are {shown}; `{every}` lists all.")


def _print_challengers(manifests: Sequence[Manifest]) -> None:
    """Print which challengers were not published with the newest run of a partition."""
    newest: dict[str | None, Manifest] = {}
    for manifest in manifests:
        newest.setdefault(manifest.partition, manifest)

    notes = []
    for manifest in newest.values():
        for challenger in manifest.challengers:
            if challenger.status not in ("published", "skipped"):
                notes.append(f"{show_value(manifest.partition)}: {challenger.text}")

    for note in notes[:MAX_NOTES]:
        out.print(note)
    if len(notes) > MAX_NOTES:
        n_more = counted(len(notes) - MAX_NOTES, "more challenger")
        out.print(f"{n_more} not published; --json has the reasons.")


def _run_row(manifest: Manifest) -> dict[str, str]:
    error = ""
    if manifest.error:
        error = manifest.error.message.splitlines()[0]

    return {
        "run": manifest.run_id,
        "partition": show_value(manifest.partition),
        "status": manifest.status,
        "started (UTC)": manifest.started_at.strftime("%Y-%m-%d %H:%M:%S"),
        "model": f"{manifest.model.name} {manifest.model.version}",
        "rows": f"{manifest.counts.rows_scored:,}",
        "quarantined": f"{manifest.counts.rows_quarantined:,}",
        "seconds": f"{manifest.measures.total_s:.1f}",
        "error": error,
    }
