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
    calibrate,
    is_estimated,
)
from nightscore.monitoring.performance.estimates.placement import Placement, place
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.profile_spec import score_column
from nightscore.profiles.table import ColumnProfile, Key
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import exact_uri, is_logged_model, named_model
from nightscore.schemas.partition import show_value


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

    def placement(self, manifest: Manifest) -> Placement:
        """The scores of a run that stored its profile.

        Raises:
            InputError: It stored none, or its model or baseline does not allow an estimate; with
                what to do.
            StorageError: The registry or the store does not answer.
        """
        profile = self._profile(manifest)
        return place(profile, self.calibration(manifest))

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

    def _profile(self, manifest: Manifest) -> NumberProfile:
        partition = show_value(manifest.partition)
        rerun = (
            f"`{self._job.command('run', partition, '--force')}` scores it again, with a profile"
        )

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

        score = _score_of(columns)
        if score is None or not isinstance(score.profile, NumberProfile):
            raise self._not_estimated(manifest)
        return score.profile

    def _read_calibration(self, manifest: Manifest, uri: str) -> AnyCalibration | InputError:
        columns = self._baseline(manifest, uri)

        score = _score_of(columns)
        if columns and score is None:
            return self._not_estimated(manifest)

        found = "no baseline"
        if score is not None:
            try:
                return calibrate(score)
            except ValueError as error:
                found = f"a baseline, but {error}"

        name, version = manifest.model.name, manifest.model.version
        command = self._job.command("baseline", "--from", "DATA", "--label", "COLUMN")
        return InputError(
            f"{named_model(name, version)} has no baseline with labels, from which performance "
            "could be estimated.",
            uri,
            expected="a baseline of hold-out data with labels; those of a binary model are 0 and 1",
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

    def _not_estimated(self, manifest: Manifest) -> InputError:
        score = manifest.drift.score if manifest.drift is not None else ""
        return InputError(
            "Performance is estimated for binary models and regressions only; of models of several "
            "classes, what it takes is not stored.",
            named_model(manifest.model.name, manifest.model.version),
            expected="a model with the column probability, or a column prediction of floats",
            found=f"the score {score}" if score else "no single score",
            next_step="compare the columns with `nightscore report` instead",
        )


def _score_of(columns: list[ColumnProfile]) -> ColumnProfile | None:
    """The score, if models with such a score are estimated."""
    predictions = {column.name: column.kind for column in columns if column.role == "prediction"}
    key: Key = ("prediction", score_column(predictions), "")
    score = {column.key: column for column in columns}.get(key)
    return score if score is not None and is_estimated(score) else None
