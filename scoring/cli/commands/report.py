"""`nightscore report`."""

import json
import tempfile
import webbrowser
from pathlib import Path

from nightscore.cli.resolve import known_partition, load_any, model_cache, read_value
from nightscore.cli.show import err, out, print_json, print_table
from nightscore.monitoring.drift.wording import (
    resolved_columns,
    show_drivers,
    show_made_at,
    show_rates,
    show_references,
    verdict_text,
)
from nightscore.monitoring.performance.estimates.wording import CONCEPT_DRIFT, headlines
from nightscore.monitoring.performance.track_record import realised_headlines
from nightscore.operations.performance import performance_of_run
from nightscore.operations.report import newest_report, read_report, reported_run
from nightscore.schemas.manifest import DriftRecord, FindingRecord, Manifest


def report(
    job: str,
    partition: str,
    run_id: str | None,
    open_page: bool,
    output: Path | None,
    as_json: bool,
    cache_dir: Path | None,
) -> None:
    """Print what moved in a partition, and draw its page on request."""
    spec, cache = load_any(job), model_cache(cache_dir)
    value = read_value(spec, partition)
    with known_partition(spec, value, "report"):
        manifest = reported_run(spec, value, run_id)

    manifest = newest_report(spec, manifest, cache)

    if open_page or output:
        path = output or Path(tempfile.gettempdir(), f"{spec.name}-{manifest.run_id}.html")
        path.write_text(read_report(spec, manifest, cache), encoding="utf-8")
        err.print(f"The page is in {path}")

        if open_page:
            webbrowser.open(path.absolute().as_uri())

    drift = manifest.drift
    assert drift is not None  # noqa: S101 (runs without a comparison have no report)

    if as_json:
        run = {"run_id": manifest.run_id, "status": manifest.status}
        print_json(run | json.loads(drift.model_dump_json()))
        return

    _print_summary(manifest, drift, partition)
    for subject, value_shown in realised_headlines(performance_of_run(spec, manifest)):
        out.print(f"{subject}: {value_shown}")
    _print_findings(drift)

    if not (open_page or output):
        err.print("For the page with plots, add --open or -o FILE.")


def _print_summary(manifest: Manifest, drift: DriftRecord, partition: str) -> None:
    out.print(f"{manifest.status} {manifest.job} {partition}: drift {verdict_text(drift)}")
    out.print(f"{drift.n_columns} columns, compared with: {show_references(drift)}")

    made_at = show_made_at(drift)
    if made_at:
        out.print(made_at)
    if drift.score_movement is not None:
        out.print(f"mean {drift.score}: {drift.score_movement:+.4f} against the baseline")

    rates = show_rates(drift)
    if rates:
        out.print(rates)

    for subject, value in headlines(manifest.estimate):
        out.print(f"{subject}: {value}")
        out.print(CONCEPT_DRIFT)


def _print_findings(drift: DriftRecord) -> None:
    rows = [_row(finding) for finding in drift.findings]
    if rows:
        print_table("Findings, and how each moves the mean score", tuple(rows[0]), rows)

    resolved = resolved_columns(drift)
    if resolved:
        out.print(f"resolved: {', '.join(resolved)}")
    for name, reason in drift.errors.items():
        out.print(f"not compared: {name}: {reason}")


def _row(finding: FindingRecord) -> dict[str, str]:
    column, severity, score = finding.column, str(finding.severity), ""

    if finding.role == "schema":
        column += " (schema)"

    if finding.is_seasonal:
        severity += ", seasonal"

    if finding.impact is not None:
        score = f"{finding.impact:+.4f}"

    return {
        "column": column,
        "severity": severity,
        "since": f"{finding.since or ''} ({finding.status})",
        "score": score,
        "why": "; ".join(finding.reasons),
        "driven by": ", ".join(show_drivers(finding)),
    }
