"""What a model registry answers, whatever its store."""

import re
from dataclasses import dataclass, field
from typing import Protocol

from nightscore.schemas.model_uri import exact_uri, is_logged_model, named_model

DIGEST_TAG = "nightscore.digest"
"""Tag of a pinned version: the digest of its artifacts."""
BASELINE_TAG = "nightscore.baseline"
"""`{"uri": ..., "sha256": ...}`: where the version's baseline is, and what it must be."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One exact version of a registered model, or a logged model."""

    name: str
    version: str
    """A number, or the id of a logged model."""
    location: str
    """Where its artifacts are."""
    digest_tag: str | None
    """The digest that the version is pinned to, if it is pinned."""
    baseline_tag: str | None = None
    """Where its baseline is, if it has one."""
    is_ready: bool = True
    """Whether all of its artifacts are stored."""

    @property
    def uri(self) -> str:
        """The URI that names exactly this."""
        return exact_uri(self.name, self.version)

    @property
    def is_logged_model(self) -> bool:
        """Whether it is a logged model, which nobody changes, and not a version of another."""
        return is_logged_model(self.version)

    def __str__(self) -> str:
        """What messages call it."""
        return named_model(self.name, self.version)


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """All that a registry has under one name."""

    versions: list[str] = field(default_factory=list)
    """Oldest first."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Each alias and the version that it points to."""


LOGGED_MODEL_SOURCE = re.compile(r"models:/(m-[0-9a-f]{32})")
"""How the source of a version names the logged model that it was made from."""


class Registry(Protocol):
    """Looks up registered and logged models. It never changes them."""

    def version_of_alias(self, name: str, alias: str) -> str | None:
        """The version that an alias points to now, or None."""
        ...

    def version(self, name: str, version: str) -> ModelVersion | None:
        """One version, or None."""
        ...

    def logged_model(self, model_id: str) -> ModelVersion | None:
        """A logged model as if its id were a version, or None."""
        ...

    def logged_models(self, name: str) -> list[str]:
        """Ids of logged models with this name, newest first. Asked for error messages only."""
        ...

    def model(self, name: str) -> RegisteredModel | None:
        """Versions and aliases of a model, or None. A run does not ask for them."""
        ...

    def names(self) -> list[str]:
        """Names of models, as many as one answer holds. They are asked for error messages only."""
        ...

    def model_tag(self, name: str, tag: str) -> str | None:
        """A tag of a registered model itself, or None."""
        ...

    def parameters(self, name: str, version: str) -> dict[str, str] | None:
        """What the training run of a version and its logged model have as parameters.

        None: the registry knows neither. It is asked for comparisons of versions only.
        """
        ...


class WritableRegistry(Registry, Protocol):
    """A registry in which aliases can be moved. None of this is conditional: MLflow has no way."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias to a version, whatever it points to now."""
        ...

    def set_model_tag(self, name: str, tag: str, value: str) -> None:
        """Set a tag of a registered model itself."""
        ...
