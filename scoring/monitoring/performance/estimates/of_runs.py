"""Estimated performance of runs, from their stored profiles and the baselines of their models."""

from nightscore.errors import InputError, LocationNotFoundError, StorageUnavailableError
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.model_versions import resolve
from nightscore.monitoring.drift.stored_profiles import (
    baseline_of_version,
    stored_baseline,
    stored_profile,
)
from nightscore.monitoring.performance.estimates.estimation import (
    AnyCalibration,
    AnyPlacement,
    calibrate,
    is_estimated,
    place_any,
)
from nightscore.profiles.class_counter import class_names
from nightscore.profiles.table import ColumnProfile
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import exact_uri, is_logged_model, named_model
from nightscore.schemas.partition import show_value
from nightscore.schemas.performance import MOST_CLASSES


class RunScores:
    """The scores of runs in the bins of their models' baselines. Each baseline is read once."""

    def __init__(self, workspace: Workspace, cache: ModelCache) -> None:
        """Nothing is read yet.

        Args:
            workspace: Of the job.
            cache: Of baselines on this host.
        """
        self._workspace, self._job, self._cache = workspace, workspace.job, cache
        self._calibrations: dict[str, AnyCalibration | InputError] = {}
        self._digests: dict[str, str] = {}

    def placement(self, manifest: Manifest) -> AnyPlacement:
        """The predictions of a run that stored its profile.

        Raises:
            InputError: It stored none, or not what it takes, or its model or baseline does not
                allow an estimate; with what to do.
            StorageError: The registry or the store does not answer.
        """
        columns = self._profile(manifest)
        calibration = self.calibration(manifest)

        try:
            return place_any(columns, calibration)
        except ValueError as error:
            raise InputError(
                f"Nothing is estimated of this partition: {error}.",
                show_value(manifest.partition),
                expected="rows by predicted class and probability in the run's profile",
                found=manifest.run_id,
                next_step=self._rerun(manifest),
            ) from error

    def calibration(self, manifest: Manifest) -> AnyCalibration:
        """What the baseline of the run's model version says about scores.

        It is the baseline that the version has now: labels that are logged later count for earlier
        runs, too.

        Raises:
            InputError, StorageError: As of `placement`.
        """
        uri = exact_uri(manifest.model.name, manifest.model.version)
        if uri not in self._calibrations:
            self._calibrations[uri] = self._read_calibration(manifest, uri)

        calibration = self._calibrations[uri]

        if isinstance(calibration, InputError):
            raise calibration
        return calibration

    def baseline_digest(self, manifest: Manifest) -> str:
        """The sha256 of the baseline that `calibration` has read; empty: it has read none."""
        return self._digests.get(exact_uri(manifest.model.name, manifest.model.version), "")

    def _rerun(self, manifest: Manifest) -> str:
        command = self._job.command("run", show_value(manifest.partition), "--force")
        return f"`{command}` scores it again, with a profile"

    def _profile(self, manifest: Manifest) -> list[ColumnProfile]:
        partition = show_value(manifest.partition)
        rerun = self._rerun(manifest)

        if manifest.drift is None or not manifest.drift.profile:
            raise InputError(
                "The run has no profile, from which its performance could be estimated.",
                partition,
                expected="a run with `drift.profile: true`, which is the default",
                found=manifest.run_id,
                next_step=f"set drift.profile; {rerun}",
            )

        path = manifest.drift.profile
        try:
            columns = stored_profile(self._workspace, path)
        except (LocationNotFoundError, ValueError) as error:
            raise InputError(
                "The run's profile is gone, or it cannot be read.",
                self._workspace.state.locate_url(path),
                found=str(error)[:200],
                next_step=rerun,
            ) from error

        if not is_estimated(columns):
            raise self._not_estimated(manifest, columns)
        return columns

    def _read_calibration(self, manifest: Manifest, uri: str) -> AnyCalibration | InputError:
        columns = self._baseline(manifest, uri)

        if columns and not is_estimated(columns):
            return self._not_estimated(manifest, columns)

        found = "no baseline"
        if columns:
            try:
                return calibrate(columns)
            except ValueError as error:
                found = f"a baseline, but {error}"

        name, version = manifest.model.name, manifest.model.version
        command = self._job.command("baseline", "--from", "DATA", "--label", "COLUMN")
        return InputError(
            f"{named_model(name, version)} has no baseline with labels, from which performance "
            "could be estimated.",
            uri,
            expected="a baseline of hold-out data with labels: 0 and 1, names of the classes, or "
            "numbers of a regression",
            found=found,
            next_step=f"log one with `{command}`; estimates then also cover earlier runs",
        )

    def _baseline(self, manifest: Manifest, uri: str) -> list[ColumnProfile]:
        """The version's baseline; empty: it has none."""
        if is_logged_model(manifest.model.version):
            return []

        try:
            version = resolve(uri, self._job.registry)
            baseline = baseline_of_version(self._workspace, version, self._cache)
        except StorageUnavailableError:
            # What the run was compared with may be on this host.
            columns = stored_baseline(self._workspace, manifest, self._cache)
            if not columns or manifest.drift is None:
                raise

            baseline = manifest.drift.references.get("baseline", ""), columns

        if baseline is None:
            return []

        self._digests[uri] = baseline[0]
        return baseline[1]

    def _not_estimated(self, manifest: Manifest, columns: list[ColumnProfile]) -> InputError:
        names = [column.name for column in columns if column.role == "prediction"]
        n_classes = len(set(class_names(names)))

        found = ", ".join(dict.fromkeys(names)) or "no prediction that is profiled"
        if n_classes > MOST_CLASSES:
            found = f"a model of {n_classes} classes, more than the {MOST_CLASSES} that are counted"

        return InputError(
            "Performance is estimated for models with one probability, with a probability of each "
            "class, or with a predicted number.",
            named_model(manifest.model.name, manifest.model.version),
            expected="a column probability, columns prediction and probability_CLASS of at most "
            f"{MOST_CLASSES} classes, or a column prediction of floats",
            found=found,
            next_step="compare the columns with `nightscore report` instead",
        )
