"""What came true, in the Prefect UI: plot and table of partitions, and the message of the run."""

from collections.abc import Sequence

from nightscore.flows.ui.markdown import escaped
from nightscore.flows.ui.messages import named_first
from nightscore.monitoring.decisions.wording import describe_details, describe_standing
from nightscore.monitoring.performance.estimates.wording import (
    CONCEPT_DRIFT,
    LABELS,
    OVER_TIME,
)
from nightscore.monitoring.performance.realised_wording import SHOWN, notes_of, show_realised
from nightscore.monitoring.performance.track_record import PartitionPerformance
from nightscore.operations.evaluate import Evaluation
from nightscore.operations.judge_evaluations import JudgedEvaluation
from nightscore.reports.performance_figures import (
    PerformanceFigures,
    known_metrics,
    performance_figures,
)
from nightscore.reports.performance_plot import performance_png
from nightscore.reports.plots import data_uri
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import counted, printable

MAX_PARTITIONS = 100
"""Partitions in the table, whose size the server limits: the latest ones."""
DRAWN_PARTITIONS = 28
"""Partitions in the plot: the latest ones."""
LEGEND = (
    "The line is what was estimated before labels came, with its 95 % band. Dots are what came "
    "true, with their 95 % interval. A hollow dot is of early labels. The dashed line is the "
    "baseline. Bars are the error: estimated minus came true."
)
OF_ADJUSTED = " Diamonds are estimates that are adjusted for covariate shift, with their 95 % band."


def evaluation_message(
    done: Evaluation,
    judged: Sequence[JudgedEvaluation] = (),
    standings: Sequence[ComparisonRecord] = (),
) -> str:
    """How many partitions are evaluated, what could not be, and which are worse than the bound.

    Args:
        done: What was evaluated.
        judged: Those of its records that could be judged.
        standings: Where the decisions between the job's model and its challengers stand.
    """
    if not done.has_label_files:
        return f"there are no files of labels yet: {done.labels_uri}"

    n_unchanged = len(done.unchanged)
    parts = [f"{counted(len(done.records), 'partition')} evaluated, {n_unchanged} unchanged"]

    if done.all_problems:
        parts.append(f"{len(done.all_problems)} could not be evaluated")
    for severity in ("critical", "warning"):
        worse = [show_value(one.record.partition) for one in judged if one.severity == severity]
        if worse:
            named = named_first(worse[::-1])
            parts.append(f"realised {judged[0].metric.name} {severity}: {named}")

    parts += map(describe_standing, standings)
    parts += filter(None, (done.describe_orphans(), done.describe_others()))
    return "; ".join(parts)


def evaluation_rows(records: Sequence[EvaluationRecord]) -> list[dict[str, object]]:
    """The table of evaluations, the latest partition first."""
    names: dict[str, None] = {}
    for record in records:
        names.update(dict.fromkeys(SHOWN[record.task]))

    return [_row(record, list(names)) for record in reversed(records)]


def _row(record: EvaluationRecord, names: Sequence[str]) -> dict[str, object]:
    share = record.counts.share
    return {
        "partition": show_value(record.partition),
        "rows": record.counts.predictions,
        "labelled": "" if share is None else f"{share:.1%}",
        "matured": "yes" if record.is_matured else "no",
        **{name: show_realised(record.metric(name)) for name in names},
        "model": record.model_version,
        "known at (UTC)": f"{record.made_at:%Y-%m-%d %H:%M}",
        "notes": printable("; ".join(notes_of(record))),
    }


def performance_markdown(
    job: str,
    partitions: Sequence[PartitionPerformance],
    page_url: str = "",
    standings: Sequence[ComparisonRecord] = (),
) -> str:
    """The page of a job's performance: estimates against what came true, drawn and as a table.

    Args:
        job: Its name.
        partitions: In order.
        page_url: URL of the page of all metrics; empty if no server has it.
        standings: Where the decisions between the job's model and its challengers stand.
    """
    lines = [f"## Performance of {escaped(job)}", ""]

    if page_url:
        lines += [f"**[Open the page of all metrics]({page_url})**", ""]

    for standing in standings:
        line = escaped(describe_standing(standing))
        lines += [f"**{line[:1].upper()}{line[1:]}**", ""]
        lines += [*(f"- {escaped(text)}" for text in describe_details(standing)), ""]

    names = known_metrics(partitions, OVER_TIME)[:1]

    for name in names:
        lines += _metric_lines(partitions, performance_figures(partitions, name), name)
    if not names:
        lines += ["No metric is known yet.", ""]

    return "\n".join([*lines, f"*{escaped(CONCEPT_DRIFT)}*", ""])


def _metric_lines(
    partitions: Sequence[PartitionPerformance], figures: PerformanceFigures, name: str
) -> list[str]:
    """The plot of a metric, how right its estimates were, and its table, the latest first."""
    picture = data_uri(performance_png(partitions, name))
    label = escaped(LABELS.get(name, name))

    lines = [
        f"**{label}**: {escaped(f'{figures.record} {figures.adjusted_record}'.strip())}",
        "",
        f"![{escaped(figures.alternative)}]({picture})",
        "",
        LEGEND + (OF_ADJUSTED if figures.adjusted_record else ""),
        "",
        f"| partition | {label} estimated | came true | error | labelled | notes |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]

    for row in reversed(figures.rows):
        cells = (row.partition, row.estimated, row.realised, row.error, row.labelled, row.note)
        lines.append(f"| {' | '.join(map(escaped, cells))} |")

    return [*lines, ""]
