"""The model of a job: one exact version, fetched and verified."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nightscore.errors import StorageUnavailableError
from nightscore.ledger.fingerprint import fingerprint
from nightscore.models.cache import CachedModel, ModelCache
from nightscore.models.mlmodel import MlModel, read_mlmodel
from nightscore.models.model_versions import fetch, recall, remember, resolve
from nightscore.models.registries.protocol import ModelVersion
from nightscore.models.trust import check_trust, naming_model
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import ModelRecord
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Partition

MODEL_S = 1_200.0
"""Least time that a model may take to load or to be compiled, however short its shards are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedModel:
    """One exact version of a registered model, or a logged model, on this host."""

    version: ModelVersion
    cached: CachedModel
    warnings: tuple[str, ...] = ()
    registry: str | None = field(default=None, repr=False)
    """As the job names it."""
    is_vouched: bool = False
    """Somebody has pinned the version, or the job allows pickles."""
    load_s: float = MODEL_S
    """Seconds that loading it may take."""

    @classmethod
    def resolve(cls, job: ScoringJob, cache: ModelCache) -> Self:
        """The job's model: resolved once, fetched, verified, and allowed to load.

        If the registry does not answer, a pinned version or a logged model that this host has used
        before still does.

        Raises:
            ModelNotFoundError, ModelDigestError, ModelRefusedError: It must not be loaded.
            StorageUnavailableError: The registry does not answer, and this host has no pinned copy.
        """
        warnings: tuple[str, ...] = ()

        try:
            version = resolve(job.model, job.registry)
            cached = fetch(version, job.registry, cache)
            remember(version, job.registry, cache, cached.digest)
        except StorageUnavailableError as error:
            recalled = recall(job.model, job.registry, cache)
            if recalled is None:
                raise
            version, cached = recalled
            source = f"{version} came from this host's cache"
            warnings = (f"{error.what} ({error.found}); {source}",)

        with naming_model(version, job.registry):
            check_trust(
                _read_verified(cached.path),
                str(version),
                is_pinned=cached.is_pinned,
                allow_pickle=job.allow_pickle,
                allow_code=job.allow_code,
            )

        return cls(
            version=version,
            cached=cached,
            warnings=warnings,
            registry=job.registry,
            is_vouched=cached.is_pinned or job.allow_pickle,
            load_s=model_seconds(job),
        )

    @property
    def is_pinned(self) -> bool:
        """Whether its artifacts match a pin, or are those of a logged model, which must not change.

        Only a pin vouches for a pickle: see `is_vouched`.
        """
        return self.cached.is_pinned or self.version.is_logged_model

    def fingerprint(
        self, job: ScoringJob, partition: Partition, canary: CanaryRecord | None = None
    ) -> str:
        """The fingerprint of scoring a partition with this model, and some rows with another."""
        name, version = self.version.name, self.version.version
        return fingerprint(job, partition, name, version, self.cached.digest, canary)

    def record(self, job: ScoringJob, facts: ModelFacts | None = None) -> ModelRecord:
        """The manifest's record of this model."""
        known = facts or ModelFacts(flavor="", estimator="")
        return ModelRecord(
            uri=job.model,
            name=self.version.name,
            version=self.version.version,
            digest=self.cached.digest,
            is_pinned=self.is_pinned,
            flavor=known.flavor,
            estimator=known.estimator,
            classes=known.classes or (),
            trained_with=known.trained_with,
        )


@functools.lru_cache(maxsize=16)
def _read_verified(folder: Path) -> MlModel:
    """The MLmodel file of a folder of the cache, parsed once.

    The folder is named by its digest, and was hashed just now: another content is another folder.
    """
    return read_mlmodel(folder)


def model_seconds(job: ScoringJob) -> float:
    """How long the job's model may take to load or compile: as a shard, but at least `MODEL_S`."""
    return max(job.limits.shard_s, MODEL_S)
