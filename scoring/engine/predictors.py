"""What the shards say about their predictors, as one record of the run."""

from collections.abc import Iterable

from schemas.job import ScoringJob
from schemas.manifest import PredictorRecord

LEAST_ROWS = 50_000
"""That a worker must have, or have had, of a model before its compiled form is loaded: that takes .35 s of CPU, and
boosted trees save 8 s in a million rows."""


def library_because(job: ScoringJob, n_rows: int, n_workers: int) -> str:
    """Why the library's own is to predict; empty: a compiled predictor may.

    Args:
        job: What it says of the engine.
        n_rows: Of the partition, and of those before it that the same workers have scored with the model.
        n_workers: That share them.
    """
    if job.engine == "library":
        return "the job says `engine: library`"
    if job.engine == "auto" and n_rows < LEAST_ROWS * n_workers:
        return (
            f"{n_rows:,} rows do not make up for loading the compiled form (`engine: compiled` loads it all the same)"
        )
    return ""


def merge_predictors(records: Iterable[PredictorRecord]) -> PredictorRecord | None:
    """The library's own wherever one shard had it; None: there was no shard."""
    found = list(records)
    if not found:
        return None
    library = [record for record in found if record.engine == "library"]
    library_s = sum(record.library_s for record in found)
    compiled_s = sum(record.compiled_s for record in found)
    return PredictorRecord(
        engine="library" if library else "compiled",
        why=next((record.why for record in library if record.why), ""),
        has_differed=any(record.has_differed for record in found),
        checked_rows=sum(record.checked_rows for record in found),
        difference=max(record.difference for record in found),
        library_s=round(library_s, 6),
        compiled_s=round(compiled_s, 6),
        speed_up=round(library_s / compiled_s, 1) if compiled_s else None,
        rows_by_library=sum(record.rows_by_library for record in found),
        trouble=next((record.trouble for record in found if record.trouble), ""),
    )


def predictor_warnings(record: PredictorRecord | None) -> list[str]:
    """What somebody should look at: the compiled predictor failed, and the library's own took its place."""
    if record is None:
        return []
    found = [f"{record.why}: the library's own has scored all rows"] if record.has_differed else []
    if record.trouble:
        found.append(
            f"the compiled predictor failed on batches that the library's own then took ({record.trouble}): "
            f"{record.rows_by_library:,} rows"
        )
    return found
