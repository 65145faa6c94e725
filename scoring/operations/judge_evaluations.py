"""Judges what came true by the bounds that a job sets to its estimates: `gates.estimated`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightscore.ledger.evaluation_files import in_order, list_evaluations, read_evaluations
from nightscore.ledger.manifest_files import find_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.runs.gates import bound_of_estimate
from nightscore.schemas.drift import Severity
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.gates import Estimated
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import order_of
from nightscore.schemas.performance import MetricRecord

OF_SELECTION = "a warning at most: its labelled rows are a selection by score"
LOOK_BACK = 30
"""Partitions before that are looked at for one that could be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedEvaluation:
    """How right a matured partition's predictions came out, and how it was before."""

    record: EvaluationRecord
    metric: MetricRecord
    expected: str
    """The bound, in words."""
    severity: Severity
    """`critical`: the whole 95 % band is worse than the bound. `warning`: the value is worse, and
    the band reaches what is allowed, or there is none. `ok`: neither."""
    was: Severity
    """By the partition's own evaluation before, else by the nearest partition before it."""
    note: str = ""
    """Why it is judged with care. Empty: its labels stand for all rows."""


def judge_evaluations(
    job: ScoringJob, records: Sequence[EvaluationRecord]
) -> list[JudgedEvaluation]:
    """Those of some new evaluations that can be judged, in the order of their partitions.

    Partitions that are not matured are left out: their labels are a selection. So are those whose
    metric is not known, and results that readers no longer see: they are no news. Without
    `gates.estimated` nothing is judged.

    If the labelled rows of a matured partition are a selection by score, its weighted metric is
    judged, where there is one, and a warning is the worst that it can be. If that metric is within
    the bound, the partition is left out: it shows no more than that.

    Args:
        job: Whose evaluations.
        records: The newest ones of their partitions.
    """
    gate = job.gates.estimated
    matured = [record for record in records if record.is_matured and not record.is_replaced]
    if gate is None or not matured:
        return []

    history = _History(Workspace(job), gate)
    pattern = job.input.partition_format
    matured.sort(key=lambda record: order_of(record.partition, pattern))

    judged = []
    for record in matured:
        verdict = history.judge(record)
        if verdict is None:
            continue

        metric, expected, severity = verdict
        judged.append(
            JudgedEvaluation(
                record=record,
                metric=metric,
                expected=expected,
                severity=severity,
                was=history.severity_before(record),
                note="" if record.is_complete else OF_SELECTION,
            )
        )

    return judged


class _History:
    """The evaluations of a job, of which few are read."""

    def __init__(self, workspace: Workspace, gate: Estimated) -> None:
        """List them once."""
        self._workspace, self._gate = workspace, gate
        self._files = list_evaluations(workspace.state)
        self._folders = in_order(self._files, workspace.job.input.partition_format)

    def judge(self, record: EvaluationRecord) -> tuple[MetricRecord, str, Severity] | None:
        """The metric, its bound in words, and how severe it is; None: it cannot be judged."""
        gate = self._gate
        metric = _judged_metric(record, gate.metric)
        if metric is None or metric.value is None or not record.is_matured:
            return None

        bound, words = bound_of_estimate(gate, self._baseline(record))
        if bound is None:
            return None

        severity = _severity(metric, metric.value, bound, less_is_better=gate.less_is_better)
        if not record.is_complete and severity == "ok":
            return None
        if not record.is_complete:
            severity = "warning"

        return metric, f"{gate.metric} of {words}", severity

    def severity_before(self, record: EvaluationRecord) -> Severity:
        """What was known before; `ok` if nothing was."""
        for earlier in self._before(record):
            verdict = self.judge(earlier)
            if verdict is not None:
                return verdict[2]

        return "ok"

    def _before(self, record: EvaluationRecord) -> Iterator[EvaluationRecord]:
        """Earlier evaluations of the partition, then the newest ones of partitions before it."""
        folder = self._workspace.folder(record.partition)
        own = [file for file in self._files[folder] if file.number < record.number]
        place = self._folders.index(folder)
        nearest_first = self._folders[max(place - LOOK_BACK, 0) : place][::-1]
        newest = [self._files[name][-1] for name in nearest_first]

        for file in [*reversed(own), *newest]:
            yield from read_evaluations(self._workspace.state, [file])

    def _baseline(self, record: EvaluationRecord) -> float | None:
        """The metric's value in the baseline of the run that wrote the predictions."""
        if self._gate.max_drop is None and self._gate.max_rise is None:
            return None

        folder = self._workspace.folder(record.partition)
        manifest = find_manifest(self._workspace.state, folder, record.run_id)
        if manifest is None or manifest.estimate is None:
            return None

        values = {metric.name: metric.value for metric in manifest.estimate.baseline}
        return values.get(self._gate.metric)


def _judged_metric(record: EvaluationRecord, name: str) -> MetricRecord | None:
    """The metric of the labelled rows; of a selection weighted by score, if that is known."""
    if not record.is_complete:
        for metric in record.weighted:
            if metric.name == name and metric.value is not None:
                return metric

    return record.metric(name)


def _severity(
    metric: MetricRecord, value: float, bound: float, *, less_is_better: bool
) -> Severity:
    best = metric.low if less_is_better else metric.high
    is_worse = value > bound if less_is_better else value < bound
    if not is_worse:
        return "ok"

    # Without a band nobody knows how far off the value may be.
    if best is None:
        return "warning"

    is_surely_worse = best > bound if less_is_better else best < bound
    return "critical" if is_surely_worse else "warning"
