"""`nightscore history`."""

import dataclasses
import difflib
from collections.abc import Sequence
from datetime import UTC, datetime

from nightscore.cli.figures import explain_figures
from nightscore.cli.messages import say
from nightscore.cli.realised import print_metric
from nightscore.cli.resolve import load_any, read_value
from nightscore.cli.show import out, print_json, print_table
from nightscore.errors import LocationNotFoundError, PartitionNotFoundError
from nightscore.inputs.values import check_value
from nightscore.ledger.history import publications
from nightscore.ledger.timeline import recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.statistics.shared.statistic import Figure
from nightscore.monitoring.performance.estimates.wording import LABELS, metric_name
from nightscore.operations.column_history import ColumnDay, column_series, compared_columns
from nightscore.operations.history import run_history
from nightscore.operations.metric_history import metric_history
from nightscore.outputs.publish import open_publisher
from nightscore.reports.series import sparkline
from nightscore.schemas.dates import is_like_a_date
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import show_value

SHOWN_DAYS = 30
EXAMPLE_DAY = "2024-02-29"
SEEN = "seen now"
RESTORED = "restored above"
"""Readers see these results again, by the rollback that is listed as seen."""
COMPARED_AGAIN = "compared again (UTC)"


def history(
    job: str, subject: str, last: int | None, as_known_at: datetime | None, as_json: bool
) -> None:
    """Print the results of a partition, how a column drifted, or a metric."""
    spec = load_any(job)
    moment = None if as_known_at is None else as_known_at.replace(tzinfo=UTC)
    metric = metric_name(subject)
    metric_days = metric_history(spec, metric, moment)
    if metric_days:
        print_metric(spec, metric, metric_days[-(last or SHOWN_DAYS) :], as_json=as_json)
        return
    if moment is not None:
        _check_known_by(spec, metric, moment)

    series = column_series(spec, subject, last or SHOWN_DAYS)

    if series is not None:
        _print_series(spec, subject, series, as_json=as_json)
    else:
        if last is not None:
            say("--last has no effect here: all results of the partition are shown.")
        _print_results(spec, subject, as_json=as_json)


def _check_known_by(spec: ScoringJob, metric: str, moment: datetime) -> None:
    """Whether a metric was known only later; of anything else, a time says nothing."""
    later = metric_history(spec, metric)

    if not later:
        say(f"--as-known-at has no effect here: {metric} is no metric of an evaluation.")
        return

    first = min(day.made_at for day in later)

    raise PartitionNotFoundError(
        f"Nothing was known of {metric} by then.",
        f"{spec.output.uri}.nightscore/evaluations",
        expected=f"a time after {first:%Y-%m-%d %H:%M:%S} UTC, when `evaluate` made the first of "
        "these records",
        found=f"--as-known-at {moment:%Y-%m-%d %H:%M:%S} UTC",
        next_step=spec.command("history", metric),
    )


def _print_results(spec: ScoringJob, partition: str, *, as_json: bool) -> None:
    value = read_value(spec, partition)
    rows = _result_rows(spec, value)
    if not rows:
        raise _unknown(spec, show_value(value))

    if as_json:
        print_json(rows)
    else:
        print_table(f"Results of {spec.name}, {partition}", tuple(rows[0]), rows)


def _result_rows(spec: ScoringJob, value: str | None) -> list[dict[str, str]]:
    publisher = open_publisher(Workspace(spec))
    live = publisher.live(value)

    # The results of a run that was rolled back to have several publications; one is the last.
    seen_id = live.run_id if live is not None else None
    is_later = False

    rows = []
    for manifest in publications(run_history(spec, value, everything=False)):
        state = "can be put back"
        if seen_id is not None and manifest.result_id == seen_id:
            state = RESTORED if is_later else SEEN
            is_later = True

        try:
            publisher.find_results(manifest)
        except LocationNotFoundError:
            state = "removed"

        rows.append(
            {
                "run": manifest.run_id,
                "published (UTC)": f"{manifest.finished_at:%Y-%m-%d %H:%M:%S}",
                "model": f"{manifest.model.name} {manifest.model.version}",
                "rows": f"{manifest.counts.rows_scored:,}",
                "results": state,
                "rollback to": manifest.restores or "",
            }
        )

    return rows


def _unknown(spec: ScoringJob, partition: str) -> PartitionNotFoundError:
    if is_like_a_date(partition):
        check_value(spec, partition, "history")

    recorded = recorded_values(Workspace(spec))
    example = show_value(recorded[-1]) if recorded else EXAMPLE_DAY

    columns = compared_columns(spec)
    near = difflib.get_close_matches(partition, columns, n=3, cutoff=0.6)
    found = partition
    next_step = (
        f"`{spec.command('partitions')}` lists partitions, "
        f"`{spec.command('report', example)}` columns"
    )
    if near:
        found += f"; near: {', '.join(near)}"
        next_step = spec.command("history", near[0])
    elif metric_name(partition) in LABELS:
        found += ", a metric, of which `evaluate` has no record"
        next_step = f"`{spec.command('evaluate')}` compares predictions with labels"

    return PartitionNotFoundError(
        "There are no results of this partition, and no profiled column or metric of this name.",
        f"{spec.output.uri}.nightscore/runs",
        expected=f"a partition such as {example}, a column that recent runs have profiled, or a "
        "metric that `evaluate` has found, such as roc_auc",
        found=found,
        next_step=next_step,
    )


def _print_series(
    spec: ScoringJob, column: str, series: Sequence[ColumnDay], *, as_json: bool
) -> None:
    if as_json:
        print_json([dataclasses.asdict(day) for day in series])
        return

    figures = [
        figure
        for figure in statistic_catalog.shown_in("history")
        if any(day.values.get(figure.name) is not None for day in series)
    ]
    columns = ["partition", "severity", *(figure.label for figure in figures)]

    if any(day.compared_at is not None for day in series):
        columns.append(COMPARED_AGAIN)

    print_table(f"{column} of {spec.name}", columns, [_day_row(day, figures) for day in series])

    for figure in figures:
        line = sparkline([day.values.get(figure.name) for day in series])
        out.print(f"{figure.label:<22}{line}")

    explain_figures(figures)


def _day_row(day: ColumnDay, figures: Sequence[Figure]) -> dict[str, str]:
    severity, compared_at = str(day.severity), ""

    if day.status:
        severity += f" ({day.status})"

    if day.compared_at is not None:
        compared_at = f"{day.compared_at:%Y-%m-%d %H:%M:%S}"

    return {
        "partition": day.partition,
        "severity": severity,
        **{figure.label: figure.show(day.values.get(figure.name)) for figure in figures},
        COMPARED_AGAIN: compared_at,
    }
