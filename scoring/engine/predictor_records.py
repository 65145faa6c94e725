"""What the shards of a run say about what has predicted."""

from collections.abc import Iterable

from nightscore.schemas.manifest import PredictorRecord


def merge_predictors(records: Iterable[PredictorRecord]) -> PredictorRecord | None:
    """The library's own wherever one shard had it; None: there was no shard."""
    found = list(records)
    if not found:
        return None
    library = [record for record in found if record.engine == "library"]
    is_earlier = all(record.checked_earlier for record in found)
    checked = found[:1] if is_earlier else found  # the same comparison in each
    library_s = sum(record.library_s for record in checked)
    compiled_s = sum(record.compiled_s for record in checked)
    return PredictorRecord(
        engine="library" if library else "compiled",
        why=next((record.why for record in library if record.why), ""),
        has_differed=any(record.has_differed for record in found),
        checked_rows=sum(record.checked_rows for record in checked),
        checked_earlier=is_earlier,
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
