"""What a release is about: the alias of a job's model, and its log."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.errors import ConflictError, InvalidJobError, ModelNotFoundError
from nightscore.ledger.release_log import Release, ReleaseLog
from nightscore.models.aliases import Alias, alias_of_job
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import MODEL_URI

USUAL_ALIAS = "champion"
"""What most teams call the version in use."""
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
"""A version. MLflow takes 02 for 2, but then the log would have two names of one version."""


@dataclass(frozen=True, slots=True)
class ReleaseTarget:
    """The alias that a job scores with, and the log of its releases."""

    job: ScoringJob
    alias: Alias
    log: ReleaseLog

    def command(self, release: Release) -> str:
        """The command that completes an entry."""
        verb = "promote" if release.entry.kind == "promoted" else "demote"
        return self.job.command(verb, "--to", release.entry.after.version)

    def check_complete(self, releases: Sequence[Release]) -> None:
        """Refuse to begin something while the newest entry has no outcome.

        Raises:
            ConflictError: It has none; with the command that completes it.
        """
        if not releases or not releases[-1].is_pending:
            return

        pending = releases[-1].entry

        raise ConflictError(
            f"Another release of {self.alias} was begun and is not completed; nothing was changed.",
            self.log.place,
            expected="no entry without an outcome",
            found=f"entry {pending.number}: version {pending.after.version}, {pending.kind} by "
            f"{pending.by} at {pending.at:%Y-%m-%d %H:%M} UTC",
            next_step=f"if it has died, complete it with `{self.command(releases[-1])}`, or give "
            f"it up with `{self.job.command('promote', '--abandon')}`",
        )


def find_target(job: ScoringJob, command: str = "") -> ReleaseTarget:
    """The alias and the log of a job.

    Args:
        job: Whose model.
        command: That is going to change them, named in errors. Empty: they are only read.

    Raises:
        InvalidJobError: The job's model is pinned by number, or it is a logged model; or another
            place has the log, as the registered model says.
        StorageError: The store of the log cannot tell which of two writers was first.
    """
    target = open_target(job)
    target.alias.check_log(target.log.place, job.name)

    if command:
        target.log.check_exclusive(command)

    return target


def open_target(job: ScoringJob) -> ReleaseTarget:
    """The same without a look at the registry, which may say that another place has the log.

    Raises:
        InvalidJobError: The job's model is pinned by number, or it is a logged model.
    """
    alias = alias_of_job(job)
    if alias is None:
        raise _no_alias(job)

    return ReleaseTarget(job, alias, ReleaseLog(job, alias.model, alias.alias))


def check_number(job: ScoringJob, command: str, version: str | None, option: str = "--to") -> None:
    """Refuse what is no number of a version.

    Args:
        job: Whose model.
        command: To which it was given, for the error.
        version: As it was given. None: nothing was.
        option: By which it was given.

    Raises:
        InvalidJobError: It is none; with the corrected call.
    """
    if version is None or _NUMBER.fullmatch(version):
        return

    digits = version.lstrip("vV/0")
    corrected = digits if _NUMBER.fullmatch(digits) else "VERSION"

    raise InvalidJobError(
        "This is no version; nothing was changed.",
        job.name,
        expected="a number, as the registry shows it",
        found=version,
        next_step=job.command(command, option, corrected),
    )


def missing_alias(target: ReleaseTarget) -> ModelNotFoundError:
    """The error for an alias that does not exist."""
    return ModelNotFoundError(
        f"There is no alias {target.alias}.",
        target.alias.shown_registry,
        expected="an alias that means a version",
        next_step=f"`{target.job.command('promote')}` makes it",
    )


def _no_alias(job: ScoringJob) -> InvalidJobError:
    match = MODEL_URI.fullmatch(job.model)

    if match is None or match["logged"]:
        return InvalidJobError(
            "The job's model is a logged model, which has no alias that could move.",
            job.name,
            expected=f"models:/<name>@{USUAL_ALIAS}",
            found=job.model,
            next_step="register it, set an alias, and name that as `model` in the job file",
        )

    return InvalidJobError(
        "The job's model is pinned by number: no alias decides which version is live.",
        job.name,
        expected=f"model: models:/{match['name']}@{USUAL_ALIAS}",
        found=f"model: {job.model}",
        next_step=f"change it in {job.given_as}; an alias that does not exist yet is made by "
        "`nightscore promote`. Or change the number, and run the job again",
    )
