"""An alias of a registered model: what it means, where its releases are logged, how it moves."""

from dataclasses import dataclass

from nightscore.errors import InvalidJobError
from nightscore.models.registries.uris import absolute_uri, redacted, registry_uri
from nightscore.models.registry_catalog import open_registry, open_writable
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import alias_of

LOG_TAG = "nightscore.release_log"
"""Tag of a registered model, with `.` and the alias: where the releases of the alias are logged."""


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias of a registered model in one registry.

    Raises, on every method:
        ModelNotFoundError: There is no such registry.
        StorageUnavailableError: The registry does not answer.
    """

    model: str
    alias: str
    registry: str | None
    """As the job names it."""

    def __str__(self) -> str:
        """What messages call it."""
        return f"{self.model}@{self.alias}"

    @property
    def uri(self) -> str:
        """What a job file calls it."""
        return f"models:/{self}"

    @property
    def shown_registry(self) -> str:
        """The registry, without credentials, wherever a process starts."""
        return redacted(absolute_uri(registry_uri(self.registry)))

    def version(self) -> str | None:
        """The version that it means now. None: there is no such alias."""
        with open_registry(registry_uri(self.registry)) as registry:
            return registry.version_of_alias(self.model, self.alias)

    def versions(self) -> list[str]:
        """All versions of the model, oldest first."""
        with open_registry(registry_uri(self.registry)) as registry:
            model = registry.model(self.model)
        return model.versions if model is not None else []

    def noted_log(self) -> str | None:
        """Where its releases are logged, as the registered model says. None: it does not say.

        An empty tag says nothing: MLflow's page can only empty one.
        """
        with open_registry(registry_uri(self.registry)) as registry:
            return registry.model_tag(self.model, f"{LOG_TAG}.{self.alias}") or None

    def check_log(self, place: str, job: str) -> bool:
        """Refuse a second log of the alias: neither would be whole.

        Args:
            place: Where a job has the log.
            job: Its name, for the error.

        Returns:
            Whether the registered model says that the log is there. False: it says nothing.

        Raises:
            InvalidJobError: It says that the log is somewhere else.
        """
        noted = self.noted_log()

        if noted is None or noted == place:
            return noted is not None

        raise InvalidJobError(
            f"The releases of {self} are logged in another place; nothing was changed.",
            job,
            expected=f"{noted}, as the tag {LOG_TAG}.{self.alias} of the registered model says",
            found=place,
            next_step=f"write release: {{log: {noted.rpartition('/')[0]}}} into the job file; or, "
            f"if that log was moved here, set the tag to {place}",
        )

    def note_log(self, place: str) -> None:
        """Have the registered model say where the releases are logged."""
        open_writable(registry_uri(self.registry)).set_model_tag(
            self.model, f"{LOG_TAG}.{self.alias}", place
        )

    def move(self, version: str) -> None:
        """Have it mean a version, whatever it means now."""
        open_writable(registry_uri(self.registry)).set_alias(self.model, self.alias, version)


def alias_of_job(job: ScoringJob) -> Alias | None:
    """The alias that the job's model is. None: it is one exact model."""
    names = alias_of(job.model)
    return Alias(*names, job.registry) if names else None
