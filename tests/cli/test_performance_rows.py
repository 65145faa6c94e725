"""Rows of the table that `nightscore performance` prints."""

from nightscore.cli.commands.performance import adjusted_row
from nightscore.monitoring.performance.track_record import PartitionPerformance
from nightscore.schemas.performance import MetricRecord

SHIFT = "covariate shift: a classifier tells the rows from the baseline's"


def test_an_adjusted_estimate_that_is_not_known_says_why_in_short() -> None:
    known = MetricRecord(name="roc_auc", value=0.7, n=9)
    few = MetricRecord(name="brier", n=9, note="too few: 171 effective rows")
    partition = PartitionPerformance(
        partition="2024-02-29", run_id="", model="", adjusted=(known, few), adjusted_note=SHIFT
    )

    assert adjusted_row(partition, ["roc_auc"])["note"] == "covariate shift"
    assert adjusted_row(partition, ["roc_auc", "brier"])["note"] == "covariate shift; too few"
