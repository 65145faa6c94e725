"""The page of a job's performance over time: estimates against what came true."""

from nightscore.monitoring.decisions.wording import describe_details, describe_standing
from nightscore.monitoring.performance.estimates.wording import (
    HEADLINE,
    LABELS,
    metric_of,
    show_metric,
)
from nightscore.operations.performance import ModelPerformance, Performance
from nightscore.operations.standing import standings
from nightscore.reports.performance_page import performance_page
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.text import counted


def read_performance_page(
    job: ScoringJob, performance: Performance, *, with_standings: bool = True
) -> str:
    """The page as HTML.

    Args:
        job: Whose partitions.
        performance: What was estimated of them, and what came true.
        with_standings: Also say where the decision with each challenger stands now.
    """
    facts = [(model.model, _describe(model)) for model in performance.models]
    if with_standings:
        facts += map(_describe_standing, standings(job))

    return performance_page(f"Performance of {job.name}", performance.partitions, facts)


def _describe_standing(standing: ComparisonRecord) -> tuple[str, str]:
    """Where the decision between the job's model and a challenger stands."""
    text = "; ".join([describe_standing(standing), *describe_details(standing)])
    who, _, what = text.partition(": ")
    return who, what


def _describe(model: ModelPerformance) -> str:
    """All partitions of a model version together, beside its baseline."""
    partitions = counted(model.n_partitions, "partition")
    parts = [f"{counted(model.n_rows, 'row')} in {partitions}"]

    for name in HEADLINE:
        estimated = metric_of(model.estimated, name)
        if estimated is not None:
            parts.append(f"estimated {LABELS[name]} of all of them {show_metric(estimated)}")

        baseline = metric_of(model.baseline, name)
        if baseline is not None:
            parts.append(f"{show_metric(baseline)} in {baseline.n:,} labelled rows of the baseline")

    return "; ".join(parts)
