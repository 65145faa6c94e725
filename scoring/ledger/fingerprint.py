"""The fingerprint of a run: what decides its predictions."""

import hashlib
import json

from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import Partition

ENGINE_VERSION = "1"
"""Part of every fingerprint. Raised when the engine would write other predictions for the same
input."""
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=True)
"""Made once: a list of partitions has 10,000 fingerprints."""


def fingerprint(
    job: ScoringJob,
    partition: Partition,
    model_name: str,
    version: str,
    digest: str,
    canary: CanaryRecord | None = None,
) -> str:
    """sha256 over everything that decides the predictions: same fingerprint, nothing to do.

    Args:
        job: The job.
        partition: Its input.
        model_name: Of the registered model.
        version: Of the job's own model.
        digest: Of its artifacts.
        canary: Whose predictions readers see of some rows. None: there is none.
    """
    parts = {
        "engine": ENGINE_VERSION,
        "partition": [partition.key, partition.value],
        "files": [[f.path, f.size_bytes, f.version] for f in partition.files],
        "model": [model_name, version, digest],
        "keys": job.keys.columns,
        "pass_through": job.pass_through,
        "features": job.features,
        "predict": job.predict,
        **({"policy": policy} if (policy := job.policy.model_dump(exclude_defaults=True)) else {}),
        "format": job.output.format,
        **({"canary": canary.assigned} if canary is not None else {}),
    }
    text = _ENCODER.encode(parts)

    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
