"""What stands between a finished run and its readers: each gate passes, warns, holds or fails."""

import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import islice

from nightscore.ledger.timeline import earlier_values, latest_publications
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.gates import LEAST_HISTORY, Range
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import ColumnRecord, GateRecord, Manifest


def check_gates(
    workspace: Workspace, manifest: Manifest, n_duplicates: int, examples: Sequence[str]
) -> list[GateRecord]:
    """What each gate of the job says of a run that is complete.

    Args:
        workspace: Of the job.
        manifest: Of the run, with its counts and columns.
        n_duplicates: Rows whose keys another row has too.
        examples: Some of these keys, as text.
    """
    job = workspace.job
    predictions = [column for column in manifest.columns if column.role == "prediction"]

    gates: list[GateRecord] = []
    if job.keys.unique:
        gates.append(_check_unique_keys(job, n_duplicates, examples))
    if job.gates.finite_predictions != "off":
        gates.append(_check_finite(job, predictions))

    ranges = {"prediction": job.gates.prediction_range, "probability": job.gates.probability_range}
    for prefix, bounds in ranges.items():
        if bounds is not None:
            gates.append(_check_range(prefix, bounds, predictions))

    if job.gates.null_rate is not None:
        gates.append(_check_null_rate(job, manifest.columns))

    return gates + _check_against_history(workspace, manifest, predictions)


def _check_against_history(
    workspace: Workspace, manifest: Manifest, predictions: Sequence[ColumnRecord]
) -> list[GateRecord]:
    """The gates that look at the latest publications of the partitions before."""
    job = workspace.job
    n_runs = [gate.runs for gate in (job.gates.rows, job.gates.score_shift) if gate is not None]
    if not n_runs:
        return []

    values = earlier_values(workspace, manifest.partition)
    earlier = list(islice(latest_publications(workspace, values), max(n_runs)))
    gates: list[GateRecord] = []
    if job.gates.rows is not None:
        gates.append(_check_rows(job, manifest.counts.rows_in, earlier))

    if job.gates.score_shift is not None:
        gates += _check_score_shift(job, predictions, earlier)

    return gates


def _gate(name: str, action: str, expected: str, found: str, *, passed: bool) -> GateRecord:
    return GateRecord.model_validate(
        {"gate": name, "action": action, "passed": passed, "expected": expected, "found": found}
    )


def _check_unique_keys(job: ScoringJob, n_duplicates: int, examples: Sequence[str]) -> GateRecord:
    found = f"{n_duplicates:,} rows"
    if examples:
        found += f": {'; '.join(examples)}"
    return _gate(
        "unique_keys", job.gates.unique_keys, "no key twice", found, passed=n_duplicates == 0
    )


def _check_finite(job: ScoringJob, predictions: Sequence[ColumnRecord]) -> GateRecord:
    bad = []
    for column in predictions:
        n_bad = column.missing + column.infinite
        if n_bad:
            bad.append(f"{column.name}: {n_bad:,} rows")
    expected = "no missing or infinite prediction"
    action = job.gates.finite_predictions
    return _gate("finite_predictions", action, expected, ", ".join(bad), passed=not bad)


def _check_range(prefix: str, bounds: Range, predictions: Sequence[ColumnRecord]) -> GateRecord:
    low = -math.inf if bounds.min is None else bounds.min
    high = math.inf if bounds.max is None else bounds.max
    columns = [column for column in predictions if column.name.startswith(prefix)]

    outside = [
        f"{column.name} from {column.low:g} to {column.high:g}"
        for column in columns
        if column.finite and (column.low < low or column.high > high)
    ]

    for column in columns:
        if column.infinite:
            outside.append(f"{column.name} infinite in {column.infinite:,} rows")

    expected = f"{low:g} to {high:g}"
    found = "; ".join(outside)

    return _gate(f"{prefix}_range", bounds.action, expected, found, passed=not outside)


def _check_null_rate(job: ScoringJob, columns: Sequence[ColumnRecord]) -> GateRecord:
    gate = job.gates.null_rate
    assert gate is not None  # noqa: S101
    above = []
    for column in columns:
        bound = gate.columns.get(column.name, gate.max)
        share = column.missing / column.rows if column.rows else 0.0
        if share > bound:
            above.append(f"{column.name} {share:.2%} (at most {bound:.2%})")
    expected = f"at most {gate.max:.2%} missing in a column"
    return _gate("null_rate", gate.action, expected, "; ".join(above), passed=not above)


def _check_rows(job: ScoringJob, n_rows: int, earlier: Sequence[Manifest]) -> GateRecord:
    gate = job.gates.rows
    assert gate is not None  # noqa: S101
    low = gate.min_ratio or 0.0
    high = math.inf if gate.max_ratio is None else gate.max_ratio
    expected = f"{low:g} to {high:g} of the usual number of rows"

    history = earlier[: gate.runs]
    if len(history) < LEAST_HISTORY:
        return _gate("rows", gate.action, expected, _too_few(len(history)), passed=True)

    usual = statistics.median(manifest.counts.rows_in for manifest in history)
    ratio = _ratio(n_rows, usual, of_nothing=1.0)
    found = f"{n_rows:,} rows, {ratio:.2f} of the usual {usual:,.0f}"

    return _gate("rows", gate.action, expected, found, passed=low <= ratio <= high)


def _check_score_shift(
    job: ScoringJob, predictions: Sequence[ColumnRecord], earlier: Sequence[Manifest]
) -> Iterator[GateRecord]:
    gate = job.gates.score_shift
    assert gate is not None  # noqa: S101
    expected = f"at most {gate.max:g} standard deviations from the usual mean"

    for column in predictions:
        if not column.finite:
            continue

        name = f"score_shift of {column.name}"

        if column.mean is None:
            found = "predictions whose mean exceeds float64"
            yield _gate(name, gate.action, expected, found, passed=False)
            continue

        moments = _earlier_moments(column.name, earlier[: gate.runs])
        if len(moments) < LEAST_HISTORY:
            yield _gate(name, gate.action, expected, _too_few(len(moments)), passed=True)
            continue

        usual = statistics.median(mean for mean, _, _ in moments)
        n_values = sum(n for _, _, n in moments)
        spread = math.sqrt(sum(squares for _, squares, _ in moments) / n_values)
        shift = _ratio(abs(column.mean - usual), spread, of_nothing=0.0)
        found = f"a mean of {column.mean:.4g}, {shift:.2f} from the usual {usual:.4g}"
        yield _gate(name, gate.action, expected, found, passed=shift <= gate.max)


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
