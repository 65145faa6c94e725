"""Compares a run's columns with earlier partitions.

What goes wrong here costs the comparison, never the predictions. A job that holds on drift then
waits for a review.
"""

import functools
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.bin_sampling import sample_bins
from nightscore.errors import ModelDigestError, ScoringError
from nightscore.models.pinned import PinnedModel, model_seconds
from nightscore.monitoring.drift.profiling import ColumnsWithoutBins, choose_columns, with_types
from nightscore.monitoring.drift.references import References, find_references
from nightscore.monitoring.drift.stored_profiles import cache_profile
from nightscore.process import start_daemon
from nightscore.profiles.profile_spec import ProfileSpec
from nightscore.profiles.table import ColumnProfile, Key
from nightscore.runs.execution import Execution
from nightscore.schemas.contract import Contract
from nightscore.schemas.manifest import DriftRecord
from nightscore.schemas.performance import EstimateRecord

if TYPE_CHECKING:  # what compares is imported while the shards are scored
    from nightscore.monitoring.drift.assess import Drift


class DriftCheck:
    """The comparison of one run's columns. Without references it does nothing."""

    def __init__(self, execution: Execution) -> None:
        """Begin without references.

        Args:
            execution: Of the run.
        """
        self._execution, self._job = execution, execution.job
        self._record = execution.record
        self._references: References | None = None
        """What the columns are compared with. None: they are not profiled."""
        self._drift: Drift | None = None
        self._stored_ahead: Future[DriftRecord] | None = None

        self.failure = ""
        """Why the columns were not compared, though the job asks for it."""

    def find_references(self, model: PinnedModel) -> None:
        """Find what the columns will be compared with.

        Raises:
            ModelDigestError: The baseline is not what the model's version says.
        """
        execution = self._execution
        try:
            self._references = find_references(
                execution.workspace, execution.value, model, execution.cache
            )
        except ModelDigestError:
            raise
        except Exception as error:  # noqa: BLE001 (it costs the comparison only)
            self._give_up(error)

    @property
    def bins(self) -> Mapping[Key, ColumnProfile]:
        """Columns whose bins the partition is counted over; empty without references."""
        return self._references.bins if self._references is not None else {}

    def add_profiles(
        self, tasks: list[ShardTask], contract: Contract, n_at_once: int
    ) -> list[ShardTask]:
        """The tasks, with the columns that the workers profile.

        Args:
            tasks: Of the shards that are not finished.
            contract: Names and types of the columns.
            n_at_once: Shards that are scored at the same time.
        """
        if self._references is None:
            return tasks

        self._references.features = frozenset(column.name for column in contract.features)

        resumed = self._execution.results.resumed
        try:
            spec, without_bins = choose_columns(self._job, contract, self._references, resumed)
        except ValueError as error:
            # A shard of an earlier attempt left a profile that cannot be read.
            self._give_up(error)
            return tasks

        if len(tasks) == 1:
            spec = replace(spec, to_cut=without_bins.to_cut(contract))
        elif without_bins.names and tasks:
            # Only threads of one process find there what was scored ahead.
            n_ahead = n_at_once if tasks[0].in_threads else 1
            spec = self._add_new_bins(tasks[:n_ahead], spec, without_bins)

        spec = replace(spec, columns=with_types(spec.columns, contract))
        return [replace(task, profile_spec=spec) for task in tasks]

    def _add_new_bins(
        self, tasks: list[ShardTask], spec: ProfileSpec, without_bins: ColumnsWithoutBins
    ) -> ProfileSpec:
        """Cut bins for columns that no reference has, at the first batch of the first shard.

        Several shards are counted at the same time, over the same bins. A single one cuts its bins
        itself, when it comes to its first batch.
        """
        timeout_s = model_seconds(self._job) + self._job.limits.shard_s
        try:
            columns, segments = self._execution.pool.call(
                sample_bins,
                tasks,
                without_bins.columns,
                without_bins.segments,
                timeout_s=timeout_s,
            )
        except Exception as error:  # noqa: BLE001 (the shards themselves have more attempts)
            names = ", ".join(without_bins.names)
            self._record.warn(f"not profiled: {names}: {_shorten(error)}")
            return spec

        return replace(spec, columns=spec.columns + columns, segments=spec.segments + segments)

    def assess(self) -> None:
        """Compare the columns, once all shards are finished."""
        if self._references is None:
            return

        from nightscore.monitoring.drift.assess import assess

        execution = self._execution
        try:
            drift = assess(
                self._job, self._record.manifest, execution.results.in_order(), self._references
            )
            estimate = self._estimate(drift, self._references)
        except Exception as error:  # noqa: BLE001 (the predictions are right without it)
            self._give_up(error)
            return

        self._record.update(drift=drift.record, estimate=estimate)
        self._record.warn(*drift.warnings)
        self._drift = drift

    def _estimate(self, drift: "Drift", references: References) -> EstimateRecord | None:
        """How right the predictions are likely to be, by the baseline's labels."""
        columns = references.profiles.get("baseline")
        if not columns:
            return None

        # Few models have a baseline with labels, and this imports much.
        if not any(column.scores for column in columns if column.role == "prediction"):
            return None

        from nightscore.monitoring.performance.estimates.estimation import estimate_run

        sha256 = drift.record.references.get("baseline", "")
        return estimate_run(drift.predictions, columns, sha256, self._job.decision)

    def store_ahead(self) -> None:
        """Begin to write what `store` writes, while the run waits for its turn.

        Of a run that is not published after all, `clean` removes the files.
        """
        if self._drift is not None:
            self._stored_ahead = start_daemon("drift", functools.partial(self._keep, self._drift))

    def store(self) -> None:
        """Write the profile of the columns, and their comparison. Failures are warnings.

        They are durable when this returns.
        """
        if self._drift is None:
            return

        try:
            if self._stored_ahead is not None:
                stored = self._stored_ahead.result()
            else:
                stored = self._keep(self._drift)
        except ScoringError as error:
            self._record.warn(f"the profile could not be written: {error.what}")
            return

        self._record.update(drift=stored)

    def share(self) -> None:
        """Hand the stored profile to later runs of this process, once the run is published.

        An attempt that failed might be made again, and would store another one.
        """
        drift, stored = self._drift, self._record.manifest.drift
        if drift is None or stored is None or not (drift.columns and stored.profile):
            return

        workspace = self._execution.workspace
        cache_profile(workspace, stored.profile, drift.columns, len(drift.profile))

    def _keep(self, drift: "Drift") -> DriftRecord:
        from nightscore.monitoring.drift.assess import keep

        execution = self._execution
        return keep(self._job, execution.folder, execution.run_id, drift)

    def _give_up(self, error: Exception) -> None:
        """Go on without a comparison."""
        self.failure = (
            f"the columns could not be compared with earlier partitions: {_shorten(error)}"
        )
        self._record.warn(self.failure)
        self._references = None


def _shorten(error: Exception) -> str:
    if isinstance(error, ScoringError):
        return error.what
    return f"{type(error).__name__}: {str(error)[:200]}"
