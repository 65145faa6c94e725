"""Records estimates that are adjusted for covariate shift, so that they outlive samples of rows."""

from collections.abc import Sequence

from nightscore.errors import ScoringError
from nightscore.ledger.evaluation_files import EvaluationFile, read_evaluations
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache, default_cache
from nightscore.monitoring.performance.estimates.adjusted import (
    ONLY_BINARY,
    AdjustedEstimates,
)
from nightscore.monitoring.performance.estimates.of_runs import RunScores
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.performance import AdjustedRecord


class AdjustedRecords:
    """Makes the adjusted estimates that evaluations record. Each baseline is read once."""

    def __init__(self, workspace: Workspace, cache: ModelCache | None = None) -> None:
        """Nothing is read yet.

        Args:
            workspace: Of the job.
            cache: Of baselines on this host; None: this user's.
        """
        self._workspace, self._cache = workspace, cache
        self._scores: RunScores | None = None
        self._estimates = AdjustedEstimates(workspace)

    def record(
        self, manifest: Manifest, earlier: Sequence[EvaluationFile]
    ) -> tuple[AdjustedRecord, tuple[str, ...]]:
        """The adjusted estimate of a run, and notes about what went wrong. It does not raise.

        If the sample is gone, the estimate is that of the run's earlier evaluation: it does not
        depend on labels.

        Args:
            manifest: Of the run, which has taken a sample.
            earlier: Evaluations of the partition, oldest first.
        """
        try:
            adjusted = self._estimate(manifest)
        except ScoringError as error:
            adjusted = AdjustedRecord(note=error.what.rstrip("."))
        except Exception as error:  # noqa: BLE001 (whatever it is, what came true is recorded)
            adjusted = AdjustedRecord(note=f"{type(error).__name__}: {str(error)[:200]}")

        if adjusted.metrics or adjusted.note == ONLY_BINARY:
            return adjusted, ()

        recorded = self._recorded(manifest, earlier)
        if recorded is not None:
            return recorded, ()

        return adjusted, (f"not adjusted for covariate shift: {adjusted.note}",)

    def _estimate(self, manifest: Manifest) -> AdjustedRecord:
        if self._scores is None:
            self._scores = RunScores(self._workspace, self._cache or default_cache())

        placement = self._scores.placement(manifest)
        calibration = self._scores.calibration(manifest)
        digest = self._scores.baseline_digest(manifest)
        found = self._estimates.estimate(manifest, placement, calibration, digest)

        return AdjustedRecord(metrics=found.metrics, note=found.note, reference=digest)

    def _recorded(
        self, manifest: Manifest, earlier: Sequence[EvaluationFile]
    ) -> AdjustedRecord | None:
        """What an earlier evaluation of the run has recorded, of the job's present decision."""
        files = [file for file in earlier if file.run_id == manifest.result_id]
        for record in reversed(read_evaluations(self._workspace.state, files)):
            if record.adjusted is not None and record.adjusted.metrics and self._is_same(record):
                return record.adjusted
        return None

    def _is_same(self, record: EvaluationRecord) -> bool:
        decision = self._workspace.job.decision
        return (record.threshold, record.values) == (decision.threshold, decision.values)
