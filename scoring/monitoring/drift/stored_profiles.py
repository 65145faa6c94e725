"""Reads the profiles that runs and baselines have stored; once for all runs that share a cache."""

import contextlib
from collections.abc import Sequence

from nightscore.errors import ScoringError
from nightscore.ledger.workspace import Workspace
from nightscore.models.baseline import fetch_baseline
from nightscore.models.cache import ModelCache
from nightscore.models.model_versions import resolve
from nightscore.models.pinned import PinnedModel
from nightscore.models.registries.protocol import ModelVersion
from nightscore.profiles.table import ColumnProfile, from_bytes, merge_profiles
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import exact_uri

BYTES_PARSED = 2
"""Bytes in memory for each byte of a stored profile, which is compressed. A day of 22 columns is
55 KB on the store and 80 KB parsed, since days over the same bins share their edges."""

Baseline = tuple[str, list[ColumnProfile]]
"""Its sha256 and its columns."""


def current_baseline(
    workspace: Workspace, model: PinnedModel, cache: ModelCache
) -> Baseline | None:
    """The baseline of a run's model; None: it has none."""
    return baseline_of_version(workspace, model.version, cache)


def baseline_of_version(
    workspace: Workspace, version: ModelVersion, cache: ModelCache
) -> Baseline | None:
    """The baseline of a model version; None: it has none."""
    # What the version's tag says is the key: another baseline has another tag.
    tag = version.baseline_tag
    if tag is None:
        return None

    def read() -> tuple[Baseline, int]:
        fetched = fetch_baseline(version, workspace.job.registry, cache)
        assert fetched is not None  # noqa: S101 (the version has a tag)
        sha256, content = fetched
        return (sha256, from_bytes(content)), BYTES_PARSED * len(content)

    return workspace.run_cache.read_once(("baseline", tag), tuple, read)


def stored_baseline(
    workspace: Workspace, manifest: Manifest, cache: ModelCache
) -> list[ColumnProfile]:
    """The baseline that a run was compared with; empty if its model version has another one by now.

    Raises:
        ScoringError: The registry does not answer.
        ValueError: It is no profile.
    """
    registry = workspace.job.registry

    sha256 = manifest.drift.references.get("baseline", "") if manifest.drift else ""
    if not sha256:
        return []

    def read() -> tuple[list[ColumnProfile], int]:
        content = cache.baseline(sha256)
        if content is None:
            uri = exact_uri(manifest.model.name, manifest.model.version)
            fetched = fetch_baseline(resolve(uri, registry), registry, cache)
            content = fetched[1] if fetched and fetched[0] == sha256 else b""
        return (from_bytes(content) if content else [], BYTES_PARSED * len(content))

    return workspace.run_cache.read_once(("baseline's columns", sha256), list, read)


def stored_profile(workspace: Workspace, path: str) -> list[ColumnProfile]:
    """A run's profile. It is shared with others: do not change it.

    Raises:
        ScoringError: It cannot be read.
        ValueError: It is no profile.
    """
    state = workspace.state

    def read() -> tuple[list[ColumnProfile], int]:
        content = state.read_bytes(path)
        return from_bytes(content), BYTES_PARSED * len(content)

    return workspace.run_cache.read_once(_key_of(workspace, path), list, read)


def cache_profile(
    workspace: Workspace, path: str, columns: Sequence[ColumnProfile], n_bytes: int
) -> None:
    """Cache the profile of a run that was just published, so that later runs need not read it.

    Args:
        workspace: Of the job.
        path: Where it was stored.
        columns: What reading it would give. They are shared from now on: do not change them.
        n_bytes: Size of the stored file.
    """
    key = _key_of(workspace, path)
    workspace.run_cache.put(key, list(columns), BYTES_PARSED * n_bytes)


def _key_of(workspace: Workspace, path: str) -> tuple[str, ...]:
    """The path names the run, which is published: nobody writes it again."""
    return ("profile", workspace.state.url, path)


def merged_profile(
    workspace: Workspace, manifests: Sequence[Manifest], warnings: list[str]
) -> list[ColumnProfile]:
    """The sum of the runs' profiles.

    Profiles that are gone are left out. Those that cannot be read are left out with a warning.
    """
    parts = []
    for manifest in manifests:
        assert manifest.drift is not None  # noqa: S101
        path = manifest.drift.profile

        with contextlib.suppress(ScoringError):
            try:
                parts.append(stored_profile(workspace, path))
            except ValueError as error:
                place = workspace.state.locate_url(path)
                warning = f"no comparison with the profile {place}: {str(error)[:200]}"
                warnings += [warning] if warning not in warnings else []

    if len(parts) == 1:
        return parts[0]

    return list(merge_profiles(parts)[0].values())
