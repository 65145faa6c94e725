"""Estimates of runs, adjusted for covariate shift by the samples that runs have stored."""

from dataclasses import dataclass

import pyarrow as pa

from nightscore.errors import CorruptFileError, LocationNotFoundError
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.performance.estimates.calibration import Calibration
from nightscore.monitoring.performance.estimates.estimation import AnyCalibration, AnyPlacement
from nightscore.monitoring.performance.estimates.placement import Placement
from nightscore.monitoring.performance.estimates.reweighted import (
    BASELINE_FACTOR,
    Reweighted,
    Sample,
    estimate_reweighted,
)
from nightscore.outputs.samples import (
    LABEL,
    OWN_COLUMNS,
    SCORE,
    baseline_sample_path,
    read_samples,
)
from nightscore.profiles.bins import Floats
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.performance import MetricRecord

NOT_STORED = "not stored: the run took no sample of its rows (estimate.sample_rows)"
REMOVED = "the sample of the run's rows was removed"
NO_BASELINE = "the baseline has no sample of its rows: `nightscore baseline --label` stores one"
ONLY_BINARY = "only estimates of binary models are adjusted for covariate shift"


@dataclass(frozen=True, slots=True)
class Adjusted:
    """An estimate that is adjusted for covariate shift."""

    metrics: tuple[MetricRecord, ...] = ()
    """Empty: there is none."""
    note: str = ""
    """What moved, or why there is none. Empty: the job asks for no samples."""


class AdjustedEstimates:
    """Estimates of a job's runs. The sample of each baseline is read once."""

    def __init__(self, workspace: Workspace) -> None:
        """Nothing is read yet."""
        self._state, self._decision = workspace.state, workspace.job.decision
        self._n_rows = workspace.job.estimate.sample_rows
        self._baselines: dict[tuple[str, int], Sample | None] = {}

    def estimate(
        self, manifest: Manifest, placement: AnyPlacement, calibration: AnyCalibration, digest: str
    ) -> Adjusted:
        """The estimate of a run's predictions.

        Args:
            manifest: Of the run.
            placement: Its scores in the baseline's bins.
            calibration: Of the baseline.
            digest: Of the baseline.

        Raises:
            StorageError: The store failed.
        """
        if manifest.sample is None and not self._n_rows:
            return Adjusted()
        if not isinstance(calibration, Calibration) or not isinstance(placement, Placement):
            return Adjusted(note=ONLY_BINARY)
        if manifest.sample is None:
            return Adjusted(note=NOT_STORED)

        baseline = self._baseline(digest, manifest.sample.rows)
        if baseline is None:
            return Adjusted(note=NO_BASELINE)

        paths = [file.path for file in manifest.sample.files]
        day = self._read(paths, manifest.sample.rows)
        if day is None:
            return Adjusted(note=REMOVED)

        # Fits classifiers: a third of a second.
        found = estimate_reweighted(baseline, day, placement, calibration, self._decision)
        return Adjusted(tuple(found.metrics), _show_shift(found))

    def _baseline(self, digest: str, n_rows: int) -> Sample | None:
        """The baseline's sample for runs with samples of `n_rows`, which jobs may change."""
        known = digest, n_rows
        if known not in self._baselines:
            path = baseline_sample_path(digest)
            self._baselines[known] = self._read([path], BASELINE_FACTOR * n_rows)
        return self._baselines[known]

    def _read(self, paths: list[str], n_rows: int) -> Sample | None:
        """The rows of some files; None: they are gone, or cannot be read."""
        try:
            rows = read_samples(self._state, paths, n_rows)
        except (LocationNotFoundError, CorruptFileError):
            return None
        return None if rows is None else _sample(rows)


def _show_shift(adjusted: Reweighted) -> str:
    """Whether the features have moved, as a sentence without a period."""
    if not adjusted.is_shifted:
        return "no covariate shift found: a classifier cannot tell the rows from the baseline's"
    return (
        f"covariate shift: a classifier tells the rows from the baseline's with an AUC of "
        f"{adjusted.shift_auc:.2f}; the baseline's sample is worth {adjusted.n_effective:,.0f} rows"
    )


def _sample(rows: pa.Table) -> Sample:
    own = [name for name in OWN_COLUMNS if name in rows.column_names]
    labels = _numbers(rows.column(LABEL)) if LABEL in own else None
    return Sample(
        features=rows.drop_columns(own), scores=_numbers(rows.column(SCORE)), labels=labels
    )


def _numbers(column: pa.ChunkedArray) -> Floats:
    """Null is NaN."""
    numbers: Floats = column.to_numpy()
    return numbers
