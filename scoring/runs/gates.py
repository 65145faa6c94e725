"""What stands between a finished run and its readers: each gate passes, warns, holds or fails.

A new gate is its settings in `schemas/gates.py`, a check here, and an entry in `GATES`.
"""

import math
import statistics
from collections.abc import Iterator, Sequence

from nightscore.monitoring.drift.findings import worse
from nightscore.monitoring.performance.estimates.wording import show_metric
from nightscore.runs.gate_declaration import Action, FinishedRun, Gate, Outcome
from nightscore.schemas.gates import LEAST_HISTORY, Estimated, History, NullRate, Range
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import ColumnRecord, GateRecord, Manifest
from nightscore.schemas.performance import EstimateRecord

SHOWN_FINDINGS = 5
"""In the text of the drift gate."""


def check_gates(run: FinishedRun) -> list[GateRecord]:
    """What each gate of the job says of a run that is complete."""
    return [record for gate in GATES for record in gate.check(run)]


def _unique_keys_action(job: ScoringJob) -> Action:
    return job.gates.unique_keys if job.keys.unique else "off"


def _check_unique_keys(run: FinishedRun) -> Iterator[Outcome]:
    n_rows, examples = run.duplicates.n_rows, run.duplicates.examples
    found = f"{n_rows:,} rows"
    if examples:
        found += f": {'; '.join(examples)}"
    yield Outcome(passed=n_rows == 0, expected="no key twice", found=found)


def _check_finite(run: FinishedRun) -> Iterator[Outcome]:
    bad = []
    for column in run.predictions:
        n_bad = column.missing + column.infinite
        if n_bad:
            bad.append(f"{column.name}: {n_bad:,} rows")
    expected = "no missing or infinite prediction"
    yield Outcome(passed=not bad, expected=expected, found=", ".join(bad))


def _check_range(run: FinishedRun, prefix: str, bounds: Range | None) -> Iterator[Outcome]:
    assert bounds is not None  # noqa: S101
    low = -math.inf if bounds.min is None else bounds.min
    high = math.inf if bounds.max is None else bounds.max
    columns = [column for column in run.predictions if column.name.startswith(prefix)]

    outside = [
        f"{column.name} from {column.low:g} to {column.high:g}"
        for column in columns
        if column.finite and (column.low < low or column.high > high)
    ]

    for column in columns:
        if column.infinite:
            outside.append(f"{column.name} infinite in {column.infinite:,} rows")

    yield Outcome(passed=not outside, expected=f"{low:g} to {high:g}", found="; ".join(outside))


def _check_null_rate(run: FinishedRun) -> Iterator[Outcome]:
    gate = run.job.gates.null_rate
    assert gate is not None  # noqa: S101
    above = []
    for column in run.manifest.columns:
        bound = gate.columns.get(column.name, gate.max)
        share = column.missing / column.rows if column.rows else 0.0
        if share > bound:
            above.append(f"{column.name} {share:.2%} (at most {bound:.2%})")
    expected = f"at most {gate.max:.2%} missing in a column"
    yield Outcome(passed=not above, expected=expected, found="; ".join(above))


def _check_rows(run: FinishedRun) -> Iterator[Outcome]:
    gate = run.job.gates.rows
    assert gate is not None  # noqa: S101
    low = gate.min_ratio or 0.0
    high = math.inf if gate.max_ratio is None else gate.max_ratio
    expected = f"{low:g} to {high:g} of the usual number of rows"

    history = run.earlier(gate.runs)
    if len(history) < LEAST_HISTORY:
        yield Outcome(passed=True, expected=expected, found=_too_few(len(history)))
        return

    n_rows = run.manifest.counts.rows_in
    usual = statistics.median(manifest.counts.rows_in for manifest in history)
    ratio = _ratio(n_rows, usual, of_nothing=1.0)
    found = f"{n_rows:,} rows, {ratio:.2f} of the usual {usual:,.0f}"

    yield Outcome(passed=low <= ratio <= high, expected=expected, found=found)


def _check_score_shift(run: FinishedRun) -> Iterator[Outcome]:
    gate = run.job.gates.score_shift
    assert gate is not None  # noqa: S101
    expected = f"at most {gate.max:g} standard deviations from the usual mean"

    for column in run.predictions:
        if not column.finite:
            continue

        passed, found = _judge_mean(column, gate.max, run.earlier(gate.runs))
        yield Outcome(passed=passed, expected=expected, found=found, column=column.name)


def _judge_mean(column: ColumnRecord, most: float, earlier: Sequence[Manifest]) -> tuple[bool, str]:
    """Whether a column's mean is near enough to the earlier ones, and what it is."""
    if column.mean is None:
        return False, "predictions whose mean exceeds float64"

    moments = _earlier_moments(column.name, earlier)
    if len(moments) < LEAST_HISTORY:
        return True, _too_few(len(moments))

    usual = statistics.median(mean for mean, _, _ in moments)
    n_values = sum(n for _, _, n in moments)
    spread = math.sqrt(sum(squares for _, squares, _ in moments) / n_values)
    shift = _ratio(abs(column.mean - usual), spread, of_nothing=0.0)

    return shift <= most, f"a mean of {column.mean:.4g}, {shift:.2f} from the usual {usual:.4g}"


def _check_drift(run: FinishedRun) -> Iterator[Outcome]:
    drift = run.job.drift

    if run.manifest.drift is None:
        # What was not compared holds a run only if the job holds runs for drift.
        if run.comparison_failure and drift.gate == "hold":
            expected = "columns that can be compared"
            yield Outcome(passed=False, expected=expected, found=run.comparison_failure)
        return

    closing = worse(run.manifest.drift.findings, drift.severity)
    shown = []
    for finding in closing[:SHOWN_FINDINGS]:
        reason = finding.reasons[0] if finding.reasons else ""
        shown.append(f"{finding.column} {finding.severity}: {reason}")

    if len(closing) > SHOWN_FINDINGS:
        shown.append(f"and {len(closing) - SHOWN_FINDINGS} more")

    or_worse = " or worse" if drift.severity == "warning" else ""
    expected = f"no {drift.severity} finding{or_worse}"
    yield Outcome(passed=not closing, expected=expected, found="; ".join(shown))


def _check_estimated(run: FinishedRun) -> Iterator[Outcome]:
    gate = run.job.gates.estimated
    assert gate is not None  # noqa: S101

    estimate = run.manifest.estimate or EstimateRecord()
    metrics = {metric.name: metric for metric in estimate.metrics}
    baselines = {metric.name: metric.value for metric in estimate.baseline}
    metric, baseline = metrics.get(gate.metric), baselines.get(gate.metric)

    bound, words = bound_of_estimate(gate, baseline)
    end = "upper" if gate.less_is_better else "lower"
    expected = f"{gate.metric} of {words}, by the {end} end of its band"

    if metric is None:
        yield _no_estimate(expected, "the baseline has no labels")
    elif metric.value is None or metric.low is None or metric.high is None:
        yield _no_estimate(expected, metric.note)
    elif bound is None:
        yield _no_estimate(expected, "the baseline's own value is not known")
    else:
        passed = metric.high <= bound if gate.less_is_better else metric.low >= bound
        yield Outcome(passed=passed, expected=expected, found=show_metric(metric))


def _no_estimate(expected: str, why: str) -> Outcome:
    return Outcome(passed=False, expected=expected, found=f"no estimate: {why}", only_warns=True)


def bound_of_estimate(gate: Estimated, baseline: float | None) -> tuple[float | None, str]:
    """The stricter one of the bounds, and its words. None: the baseline's value is needed."""
    if gate.less_is_better:
        fixed, change, side, word, sign = gate.max, gate.max_rise, "at most", "plus", 1
    else:
        fixed, change, side, word, sign = gate.min, gate.max_drop, "at least", "less", -1

    if change is None:
        return fixed, f"{side} {fixed:g}"
    if baseline is None:
        return None, f"{side} the baseline's {word} {change:g}"

    relative = baseline + sign * change
    if fixed is not None and sign * fixed < sign * relative:
        return fixed, f"{side} {fixed:g}"

    return relative, f"{side} {relative:.4g} (the baseline's {baseline:.4g} {word} {change:g})"


def _earlier_moments(name: str, earlier: Sequence[Manifest]) -> list[tuple[float, float, int]]:
    """Mean, sum of squared distances and number of values of a column in earlier runs."""
    columns = [column for manifest in earlier for column in manifest.columns]
    moments = []
    for column in columns:
        is_same = column.name == name and column.role == "prediction" and column.finite > 0
        if is_same and column.mean is not None and column.squares is not None:
            moments.append((column.mean, column.squares, column.finite))
    return moments


def _ratio(value: float, base: float, *, of_nothing: float) -> float:
    """`value / base`. If both are 0 it is `of_nothing`."""
    if base:
        return value / base
    return math.inf if value else of_nothing


def _too_few(n_partitions: int) -> str:
    return f"{n_partitions} earlier partitions, too few to compare with"


def _action_of(settings: Range | NullRate | History | Estimated | None) -> Action:
    return "off" if settings is None else settings.action


GATES: tuple[Gate, ...] = (
    Gate(
        name="unique_keys",
        looks_beyond_record=True,
        action=_unique_keys_action,
        outcomes=_check_unique_keys,
    ),
    Gate(
        name="finite_predictions",
        looks_beyond_record=False,
        action=lambda job: job.gates.finite_predictions,
        outcomes=_check_finite,
    ),
    Gate(
        name="prediction_range",
        looks_beyond_record=False,
        action=lambda job: _action_of(job.gates.prediction_range),
        outcomes=lambda run: _check_range(run, "prediction", run.job.gates.prediction_range),
    ),
    Gate(
        name="probability_range",
        looks_beyond_record=False,
        action=lambda job: _action_of(job.gates.probability_range),
        outcomes=lambda run: _check_range(run, "probability", run.job.gates.probability_range),
    ),
    Gate(
        name="null_rate",
        looks_beyond_record=False,
        action=lambda job: _action_of(job.gates.null_rate),
        outcomes=_check_null_rate,
    ),
    Gate(
        name="rows",
        looks_beyond_record=True,
        action=lambda job: _action_of(job.gates.rows),
        outcomes=_check_rows,
    ),
    Gate(
        name="score_shift",
        looks_beyond_record=True,
        action=lambda job: _action_of(job.gates.score_shift),
        outcomes=_check_score_shift,
    ),
    Gate(
        name="estimated",
        looks_beyond_record=False,
        action=lambda job: _action_of(job.gates.estimated),
        outcomes=_check_estimated,
    ),
    Gate(
        name="drift",
        looks_beyond_record=True,  # why the columns could not be compared
        action=lambda job: job.drift.gate,
        outcomes=_check_drift,
    ),
)
"""All gates, in the order of the manifest."""
