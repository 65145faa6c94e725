"""Estimates of any model that can be estimated: what its score is decides how."""

from nightscore.monitoring.performance.estimates.binary import baseline_metrics, estimate_metrics
from nightscore.monitoring.performance.estimates.calibration import BINARY_SCORE, Calibration
from nightscore.monitoring.performance.estimates.error_calibration import FLOATS, ErrorCalibration
from nightscore.monitoring.performance.estimates.placement import Placement, place
from nightscore.monitoring.performance.estimates.regression import baseline_errors, estimate_errors
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.profile_spec import NUMBER_SCORE
from nightscore.profiles.table import ColumnProfile
from nightscore.schemas.decision import Decision
from nightscore.schemas.performance import EstimateRecord, MetricRecord

AnyCalibration = Calibration | ErrorCalibration


def is_estimated(score: ColumnProfile) -> bool:
    """Whether models with this score are estimated: a probability, or a regression's number."""
    if not isinstance(score.profile, NumberProfile):
        return False
    return score.name == BINARY_SCORE or (score.name == NUMBER_SCORE and score.type in FLOATS)


def calibrate(score: ColumnProfile) -> AnyCalibration:
    """What a baseline's profile of its score says about it.

    Raises:
        ValueError: It has no labels of the kind that is needed; with the reason.
    """
    if score.name == BINARY_SCORE:
        return Calibration.of(score)
    return ErrorCalibration.of(score)


def estimate_placed(
    placement: Placement, calibration: AnyCalibration, decision: Decision
) -> list[MetricRecord]:
    """The expected metrics of a partition, or of several together, with 95 % bands.

    Args:
        placement: The partition's scores in the baseline's bins.
        calibration: Of the baseline.
        decision: Threshold and values, of binary models.
    """
    if isinstance(calibration, Calibration):
        return estimate_metrics(placement, calibration, decision)
    return estimate_errors(placement, calibration)


def baseline_values(calibration: AnyCalibration, decision: Decision) -> list[MetricRecord]:
    """The same metrics of the baseline's labelled rows."""
    if isinstance(calibration, Calibration):
        return baseline_metrics(calibration, decision)
    return baseline_errors(calibration)


def estimate_run(
    score: ColumnProfile | None,
    baseline: ColumnProfile | None,
    reference: str,
    decision: Decision,
) -> EstimateRecord | None:
    """What a run's record says of its performance.

    Args:
        score: The profile of the run's score; None: it has no single one.
        baseline: Of the same column, in the baseline; None: it has none.
        reference: The baseline's sha256.
        decision: Threshold and values.

    Returns:
        None: nothing can be estimated, since the model has several classes or none, or the
        baseline has no labels.
    """
    if score is None or baseline is None or not is_estimated(score):
        return None
    if not isinstance(score.profile, NumberProfile):
        return None

    try:
        calibration = calibrate(baseline)
    except ValueError:
        return None

    placement = place(score.profile, calibration)

    return EstimateRecord(
        metrics=tuple(estimate_placed(placement, calibration, decision)),
        baseline=tuple(baseline_values(calibration, decision)),
        reference=reference,
    )
