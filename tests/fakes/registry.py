"""A model registry in memory, for tests in which the registry is not the point."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nightscore.models.cache import digest_tree
from nightscore.models.registries.protocol import ModelVersion, RegisteredModel
from nightscore.models.registry_catalog import registered

SCHEME = "stub"
URI = f"{SCHEME}://registry"


@dataclass
class StubRegistry:
    """A registry whose models are folders of this machine."""

    versions: dict[str, dict[str, ModelVersion]] = field(default_factory=dict)
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    logged: dict[str, ModelVersion] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    trained_with: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """Parameters by name and version."""

    def add(self, name: str, folder: Path, *, is_pinned: bool = True) -> ModelVersion:
        """Register a folder as the next version of a model."""
        by_number = self.versions.setdefault(name, {})
        number = str(len(by_number) + 1)
        digest = digest_tree(folder) if is_pinned else None
        by_number[number] = ModelVersion(name, number, str(folder), digest)
        return by_number[number]

    def log(self, name: str, folder: Path) -> str:
        """Take a folder as a logged model; returns its id."""
        model_id = f"m-{len(self.logged):032x}"
        self.logged[model_id] = ModelVersion(name, model_id, str(folder), None)
        return model_id

    def version_of_alias(self, name: str, alias: str) -> str | None:
        """See `Registry`."""
        return self.aliases.get(name, {}).get(alias)

    def version(self, name: str, version: str) -> ModelVersion | None:
        """See `Registry`."""
        return self.versions.get(name, {}).get(version)

    def logged_model(self, model_id: str) -> ModelVersion | None:
        """See `Registry`."""
        return self.logged.get(model_id)

    def logged_models(self, name: str) -> list[str]:
        """See `Registry`."""
        return [version.version for version in self.logged.values() if version.name == name][::-1]

    def names(self) -> list[str]:
        """See `Registry`."""
        return sorted(self.versions)

    def model(self, name: str) -> RegisteredModel | None:
        """See `Registry`."""
        if name not in self.versions:
            return None
        return RegisteredModel([*self.versions[name]], dict(self.aliases.get(name, {})))

    def model_tag(self, name: str, tag: str) -> str | None:
        """See `Registry`."""
        return self.tags.get(name, {}).get(tag)

    def parameters(self, name: str, version: str) -> dict[str, str] | None:
        """See `Registry`."""
        return self.trained_with.get((name, version))

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See `WritableRegistry`."""
        self.aliases.setdefault(name, {})[alias] = version

    def set_model_tag(self, name: str, tag: str, value: str) -> None:
        """See `WritableRegistry`."""
        self.tags.setdefault(name, {})[tag] = value


@contextlib.contextmanager
def stub_registry() -> Iterator[StubRegistry]:
    """A registry at `URI`, as long as the block runs, for code of this process."""
    registry = StubRegistry()
    with registered(SCHEME, lambda uri: registry):
        yield registry
