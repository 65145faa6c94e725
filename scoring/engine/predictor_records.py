"""What the shards of a run say about what has predicted."""

from collections.abc import Iterable

from nightscore.schemas.manifest import PredictorRecord


def merge_predictors(records: Iterable[PredictorRecord]) -> PredictorRecord | None:
    """One record for all shards; None: there was no shard.

    The run's engine is the library wherever one shard had it.
    """
    all_records = list(records)
    if not all_records:
        return None

    by_library = [record for record in all_records if record.engine == "library"]

    was_checked_earlier = all(record.checked_earlier for record in all_records)
    # An earlier comparison is the same one in each record.
    checked = all_records[:1] if was_checked_earlier else all_records
    library_s = sum(record.library_s for record in checked)
    compiled_s = sum(record.compiled_s for record in checked)

    return PredictorRecord(
        engine="library" if by_library else "compiled",
        why=next((record.why for record in by_library if record.why), ""),
        has_differed=any(record.has_differed for record in all_records),
        checked_rows=sum(record.checked_rows for record in checked),
        checked_earlier=was_checked_earlier,
        difference=max(record.difference for record in all_records),
        library_s=round(library_s, 6),
        compiled_s=round(compiled_s, 6),
        speed_up=round(library_s / compiled_s, 1) if compiled_s else None,
        rows_by_library=sum(record.rows_by_library for record in all_records),
        trouble=next((record.trouble for record in all_records if record.trouble), ""),
        rows_repeated=sum(record.rows_repeated for record in all_records),
        why_each_row=next(
            (record.why_each_row for record in by_library if record.why_each_row), ""
        ),
    )


def predictor_warnings(record: PredictorRecord | None) -> list[str]:
    """A warning for each way in which the library has taken the compiled predictor's place."""
    if record is None:
        return []

    warnings: list[str] = []
    if record.has_differed:
        warnings.append(f"{record.why}: the library's own has scored all rows")

    if record.trouble:
        warnings.append(
            "the compiled predictor failed on batches that the library's own then took "
            f"({record.trouble}): {record.rows_by_library:,} rows"
        )

    return warnings
