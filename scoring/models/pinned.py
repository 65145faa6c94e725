"""The model of a job: one exact version, fetched and verified."""

from dataclasses import dataclass, field
from typing import Self

from nightscore.errors import StorageUnavailableError
from nightscore.ledger.fingerprint import fingerprint
from nightscore.models.cache import CachedModel, ModelCache
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.registries.protocol import ModelVersion
from nightscore.models.registry import fetch, recall, remember, resolve
from nightscore.models.trust import check_trust
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import ModelRecord
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Partition

MODEL_S = 1_200.0
"""That a model may take to load or to be compiled, however short its shards may be."""


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """One exact model version on this host."""

    version: ModelVersion
    cached: CachedModel
    warnings: tuple[str, ...] = ()
    registry: str | None = field(default=None, repr=False)
    """As the job names it."""
    is_vouched: bool = False
    """Somebody has pinned the version, or the job allows pickles."""
    load_s: float = field(default=MODEL_S, kw_only=True)
    """Seconds that loading it may take."""

    @classmethod
    def resolve(cls, job: ScoringJob, cache: ModelCache) -> Self:
        """The job's model, resolved once, fetched, and verified; what loading it would run is allowed.

        A registry that does not answer does not stop a pinned version that this host has used before.
        """
        warnings: tuple[str, ...] = ()
        try:
            version = resolve(job.model, job.registry)
            cached = fetch(version, job.registry, cache)
            remember(version, job.registry, cache)
        except StorageUnavailableError as error:
            known = recall(job.model, job.registry, cache)
            if known is None:
                raise
            version, cached = known
            warnings = (
                f"{error.what} ({error.found}); version {version.version} came from this host's cache",
            )
        check_trust(
            read_mlmodel(cached.path),
            f"{version.name} version {version.version}",
            is_pinned=cached.is_pinned,
            allow_pickle=job.allow_pickle,
            allow_code=job.allow_code,
        )
        is_vouched = cached.is_pinned or job.allow_pickle
        return cls(version, cached, warnings, job.registry, is_vouched, load_s=model_seconds(job))

    def fingerprint(self, job: ScoringJob, partition: Partition) -> str:
        """Of this model on a partition."""
        return fingerprint(
            job, partition, self.version.name, self.version.version, self.cached.digest
        )

    def record(self, job: ScoringJob, facts: ModelFacts | None = None) -> ModelRecord:
        """As the manifest has it."""
        return ModelRecord(
            uri=job.model,
            name=self.version.name,
            version=self.version.version,
            digest=self.cached.digest,
            is_pinned=self.cached.is_pinned,
            flavor=facts.flavor if facts else "",
            estimator=facts.estimator if facts else "",
            trained_with=facts.trained_with if facts else {},
        )


def model_seconds(job: ScoringJob) -> float:
    """How long loading or compiling the job's model may take: as long as a shard, and time enough in any case."""
    return max(job.limits.shard_s, MODEL_S)
