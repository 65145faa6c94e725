"""What a model registry answers, whatever its store."""

from dataclasses import dataclass, field
from typing import Protocol

DIGEST_TAG = "nightscore.digest"
"""Tag of a pinned version: the digest of its artifacts."""
BASELINE_TAG = "nightscore.baseline"
"""`{"uri": ..., "sha256": ...}`: where the version's baseline is, and what it must be."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One exact version."""

    name: str
    version: str
    location: str
    """Where its artifacts are."""
    digest_tag: str | None
    """The digest that the version is pinned to, if it is pinned."""
    baseline_tag: str | None = None
    """Where its baseline is, if it has one."""


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """All that a registry has under one name."""

    versions: list[str] = field(default_factory=list)
    """Oldest first."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Each alias and the version that it points to."""


class Registry(Protocol):
    """Looks up registered models. It never changes them."""

    def version_of_alias(self, name: str, alias: str) -> str | None:
        """The version that an alias points to now, or None."""
        ...

    def version(self, name: str, version: str) -> ModelVersion | None:
        """One version, or None."""
        ...

    def model(self, name: str) -> RegisteredModel | None:
        """Versions and aliases of a model, or None. It is asked for error messages only."""
        ...

    def names(self) -> list[str]:
        """Names of models, as many as one answer holds. They are asked for error messages only."""
        ...
