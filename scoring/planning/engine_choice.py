"""What predicts in a run, and where."""

from dataclasses import dataclass
from pathlib import Path

from nightscore.models.compiled.form_cache import CachedForm
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts

LARGE_BYTES = 256 << 20
"""From this size on, libraries included (up to 150 MiB), one copy of a model for all workers is worth more than
workers that never wait for each other."""
COMPILED_THREADS = 4
"""What is done in Python between the kernels is a tenth to a fifth of a thread's time: more would wait for its lock.
Processes map one copy of the form as well."""
ANY_NUMBER = 1 << 30
COMPILED_BYTES = 40 << 20
"""LLVM, machine code and buffers; measured 27 to 35 MiB. Apart from the model, whose measure depends on what was
loaded before it."""
COMPILER_BYTES = 100 << 20
"""Numba and what it compiles with, in a host's first run of a model; measured 94 MiB."""
MODEL_BYTES = 150 << 20
"""scikit-learn and pandas with a small model, where the model has not been measured yet."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What predicts, and where."""

    fallback_reason: str
    """Why the model's own library; empty: a compiled predictor."""
    most_threads: int
    """Workers that may be threads of one process; more of them are processes."""
    model_bytes: int
    """Of one copy of the model with its libraries."""
    is_unchecked: bool = False
    """Nobody on this host has compared the compiled predictor with the library's own."""

    def in_threads(self, n_workers: int) -> bool:
        """Whether so many workers are threads of one process."""
        return n_workers <= self.most_threads


def choose_engine(job: ScoringJob, folder: Path, facts: ModelFacts) -> EngineChoice:
    """The compiled predictor in threads where there is one, else the model's own library.

    The library's predictors hold Python's lock for part of their work, and so get processes, unless copies of the
    model would take much memory and it does release the lock.

    Args:
        job: What it says of the engine.
        folder: Of the model in the cache.
        facts: What it is.
    """
    kept = CachedForm.for_model(folder, facts)
    because = (
        "the job says `engine: library`"
        if job.engine == "library"
        else facts.fallback_reason or kept.differs
    )
    library_bytes = facts.model_bytes or MODEL_BYTES
    may_share = not job.workers.is_cluster  # which places shards by itself
    if because:
        is_shared = may_share and facts.releases_gil and library_bytes > LARGE_BYTES
        return EngineChoice(because, ANY_NUMBER if is_shared else 0, library_bytes)
    # Until the compiled form was compared with it, the library is there too, and what compiles.
    first_bytes = 0 if kept.checked else library_bytes + COMPILER_BYTES
    model_bytes = COMPILED_BYTES + kept.n_bytes + first_bytes
    is_unchecked = (
        not job.workers.is_cluster and not kept.checked
    )  # a cluster's nodes keep that for themselves
    return EngineChoice("", COMPILED_THREADS if may_share else 0, model_bytes, is_unchecked)
