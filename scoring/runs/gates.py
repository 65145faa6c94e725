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
    workspace: Workspace, manifest: Manifest, n_twice: int, twice: Sequence[str]
) -> list[GateRecord]:
    """What each gate of the job says of a run that is complete.

    Args:
        workspace: Of the job.
        manifest: Of the run, with its counts and columns.
        n_twice: Rows whose keys another row has too.
        twice: Some of these keys, as text.
    """
    job = workspace.job
    gates = job.gates
    predictions = [column for column in manifest.columns if column.role == "prediction"]
    found: list[GateRecord] = []
    if job.keys.unique:
        shown = f"{n_twice:,} rows{': ' if twice else ''}{'; '.join(twice)}"
        found.append(
            _gate("unique_keys", gates.unique_keys, "no key twice", shown, passed=n_twice == 0)
        )
    if gates.finite_predictions != "off":
        bad = [
            f"{c.name}: {c.missing + c.infinite:,} rows"
            for c in predictions
            if c.missing + c.infinite
        ]
        expected = "no missing or infinite prediction"
        found.append(
            _gate(
                "finite_predictions",
                gates.finite_predictions,
                expected,
                ", ".join(bad),
                passed=not bad,
            )
        )
    for name, bounds in (
        ("prediction", gates.prediction_range),
        ("probability", gates.probability_range),
    ):
        if bounds is not None:
            found.append(_range(name, bounds, predictions))
    if gates.null_rate is not None:
        found.append(_null_rate(job, manifest.columns))
    wanted = max(
        (gate.runs for gate in (gates.rows, gates.score_shift) if gate is not None), default=0
    )
    earlier: list[Manifest] = []
    if wanted:
        values = earlier_values(workspace, manifest.partition)
        earlier = list(islice(latest_publications(workspace, values), wanted))
    if gates.rows is not None:
        found.append(_rows(job, manifest.counts.rows_in, earlier))
    if gates.score_shift is not None:
        found += _score_shift(job, predictions, earlier)
    return found


def _gate(name: str, action: str, expected: str, found: str, *, passed: bool) -> GateRecord:
    return GateRecord.model_validate(
        {"gate": name, "action": action, "passed": passed, "expected": expected, "found": found}
    )


def _range(prefix: str, bounds: Range, predictions: Sequence[ColumnRecord]) -> GateRecord:
    low = -math.inf if bounds.min is None else bounds.min
    high = math.inf if bounds.max is None else bounds.max
    columns = [c for c in predictions if c.name.startswith(prefix)]
    outside = [
        f"{c.name} from {c.low:g} to {c.high:g}"
        for c in columns
        if c.finite and (c.low < low or c.high > high)
    ]
    outside += [f"{c.name} infinite in {c.infinite:,} rows" for c in columns if c.infinite]
    return _gate(
        f"{prefix}_range",
        bounds.action,
        f"{low:g} to {high:g}",
        "; ".join(outside),
        passed=not outside,
    )


def _null_rate(job: ScoringJob, columns: Sequence[ColumnRecord]) -> GateRecord:
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


def _rows(job: ScoringJob, n_rows: int, earlier: Sequence[Manifest]) -> GateRecord:
    gate = job.gates.rows
    assert gate is not None  # noqa: S101
    low = gate.min_ratio or 0.0
    high = math.inf if gate.max_ratio is None else gate.max_ratio
    expected = f"{low:g} to {high:g} of the usual number of rows"
    history = earlier[: gate.runs]
    if len(history) < LEAST_HISTORY:
        return _gate("rows", gate.action, expected, _too_few(len(history)), passed=True)
    usual = statistics.median(m.counts.rows_in for m in history)
    ratio = n_rows / usual if usual else math.inf if n_rows else 1.0
    shown = f"{n_rows:,} rows, {ratio:.2f} of the usual {usual:,.0f}"
    return _gate("rows", gate.action, expected, shown, passed=low <= ratio <= high)


def _score_shift(
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
            yield _gate(
                name, gate.action, expected, "predictions whose mean exceeds float64", passed=False
            )
            continue
        before = [
            c for m in earlier[: gate.runs] for c in m.columns if c.name == column.name and c.finite
        ]
        known = [(c.mean, c.squares, c.finite) for c in before if c.role == "prediction"]
        moments = [(m, s, n) for m, s, n in known if m is not None and s is not None]
        if len(moments) < LEAST_HISTORY:
            yield _gate(name, gate.action, expected, _too_few(len(moments)), passed=True)
            continue
        usual = statistics.median(mean for mean, _, _ in moments)
        spread = math.sqrt(
            sum(squares for _, squares, _ in moments) / sum(n for _, _, n in moments)
        )
        distance = abs(column.mean - usual)
        shift = distance / spread if spread else math.inf if distance else 0.0
        shown = f"a mean of {column.mean:.4g}, {shift:.2f} from the usual {usual:.4g}"
        yield _gate(name, gate.action, expected, shown, passed=shift <= gate.max)


def _too_few(n_partitions: int) -> str:
    return f"{n_partitions} earlier partitions, too few to compare with"
