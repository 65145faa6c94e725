"""What predicts in a run, and where."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nightscore.models.compiled.form_cache import CachedForm
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts

LARGE_BYTES = 256 << 20
"""From this size on, one copy of a model for all workers is worth more than workers that never wait
for each other. Libraries count, up to 150 MiB."""
COMPILED_THREADS = 4
"""What is done in Python between the kernels is a tenth to a fifth of a thread's time: more threads
would wait for its lock. Processes map one copy of the form as well."""
ANY_NUMBER = 1 << 30
COMPILED_BYTES = 40 << 20
"""LLVM, machine code and buffers; measured 27 to 35 MiB. Apart from the model, whose measure
depends on what was loaded before it."""
COMPILER_BYTES = 100 << 20
"""Numba and what it compiles with, in a host's first run of a model; measured 94 MiB."""
MODEL_BYTES = 150 << 20
"""scikit-learn and pandas with a small model, where the model has not been measured yet."""


@dataclass(frozen=True, slots=True)
class PredictorChoice:
    """What predicts, and where."""

    fallback_reason: str
    """Why the model's own library predicts; empty: a compiled predictor does."""
    most_threads: int
    """Workers that may be threads of one process; more of them are processes."""
    model_bytes: int
    """Size of one copy of the model with its libraries."""
    is_unchecked: bool = False
    """Nobody on this host has compared the compiled predictor with the library's own."""

    def in_threads(self, n_workers: int) -> bool:
        """Whether so many workers are threads of one process."""
        return n_workers <= self.most_threads


def choose_predictor(job: ScoringJob, folder: Path, facts: ModelFacts) -> PredictorChoice:
    """The compiled predictor in threads where there is one, else the model's own library.

    The library's predictors hold Python's lock for part of their work, and so get processes. They
    get threads where copies of the model would take much memory and the library releases the lock.

    Args:
        job: Says which engine it wants, and whether its workers are a cluster's.
        folder: The model's folder in the cache.
        facts: What the model is.
    """
    form = CachedForm.for_model(folder, facts)
    may_share = not job.workers.is_cluster  # a cluster places shards by itself
    library_bytes = facts.model_bytes or MODEL_BYTES

    fallback_reason = facts.fallback_reason or form.differs

    if job.engine == "library":
        fallback_reason = "the job says `engine: library`"

    if fallback_reason:
        if may_share and facts.releases_gil and library_bytes > LARGE_BYTES:
            return PredictorChoice(fallback_reason, ANY_NUMBER, library_bytes)
        return PredictorChoice(fallback_reason, 0, library_bytes)

    model_bytes = COMPILED_BYTES + form.n_bytes

    if not form.checked:  # the library is there too, until it was compared, and what compiles
        model_bytes += library_bytes + COMPILER_BYTES

    return PredictorChoice(
        fallback_reason="",
        most_threads=COMPILED_THREADS if may_share else 0,
        model_bytes=model_bytes,
        is_unchecked=may_share and not form.checked,  # a cluster's nodes keep that for themselves
    )


def predictors_together(choices: Sequence[PredictorChoice]) -> PredictorChoice:
    """What several models take together, of which each worker has all.

    Workers are threads only if all models allow it. What predicts, and whether it was checked, is
    that of the first model.
    """
    return replace(
        choices[0],
        most_threads=min(choice.most_threads for choice in choices),
        model_bytes=sum(choice.model_bytes for choice in choices),
    )
