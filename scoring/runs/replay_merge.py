"""Puts replayed rows among the published ones, where they belong."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from nightscore.errors import ReconciliationError
from nightscore.ledger.layout import part_path, sealed_history_path
from nightscore.ledger.output_formats import format_of
from nightscore.outputs.merge import Merge, merge_rows
from nightscore.outputs.parquet_publisher import RUN_KEY
from nightscore.outputs.quarantine import read_origin
from nightscore.outputs.writer import WrittenPart
from nightscore.profiles.column_records import merge_records
from nightscore.runs.execution import Execution
from nightscore.runs.publishing import record_files
from nightscore.runs.replay_plan import ReplayPlan
from nightscore.schemas.manifest import Counts, FileRecord, SampleRecord
from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store

Places = npt.NDArray[np.int64]
"""Rows of the partition, counted from its first one."""
ROW_BITS = 40
"""A file has fewer rows than 2 to this power."""
MERGED_SHARD = 99_999
"""Number in the name of the merged file, which is no shard's."""


def merge_with_published(execution: Execution, plan: ReplayPlan) -> WrittenPart:
    """One file with the published and the replayed rows.

    The record counts the whole partition from then on.

    Raises:
        ReconciliationError: A row has no place, or the rows do not add up.
    """
    state = execution.workspace.state
    replayed = _find_places(state, plan.quarantined, plan.first_rows)
    still_quarantined = _find_places(
        state, execution.record.manifest.quarantine.files, plan.first_rows
    )
    scored = replayed[~np.isin(replayed, still_quarantined)]
    _check_places(execution, len(scored))

    if plan.first_rows is None:
        # Without the input nobody knows the order: the rows go to the end.
        n_published_before = np.full(len(scored), plan.base.counts.rows_scored)
    else:
        n_published_before = scored - np.searchsorted(np.sort(replayed), scored)

    merged = _merge(execution, plan, scored, n_published_before)
    _count_whole_partition(execution, plan, merged)

    return merged


def _find_places(
    state: Store, files: Sequence[InputFile | FileRecord], first_rows: dict[str, int] | None
) -> Places:
    """Where quarantined rows stand in the partition.

    Without the input, these are numbers that only tell them apart.
    """
    origins = [read_origin(state, file.path) for file in files]
    if first_rows is None:
        first_rows = _distinct_first_rows(name for name, _ in origins)

    places = [np.empty(0, np.int64)]
    for name, rows in origins:
        places.append(first_rows[name] + rows)

    return np.concatenate(places)


def _distinct_first_rows(names: Iterable[str]) -> dict[str, int]:
    """A first row for each input file, so far apart that no two rows have one number."""
    return {name: index << ROW_BITS for index, name in enumerate(sorted(set(names)))}


def _check_places(execution: Execution, n_places: int) -> None:
    n_rows = execution.record.manifest.counts.rows_scored
    if n_places != n_rows:
        raise ReconciliationError(
            "The rows do not add up; nothing was published.",
            execution.folder,
            expected=f"a place in the partition for each of {n_rows:,} scored rows",
            found=f"{n_places:,} places that are not in quarantine any more",
            next_step="report this as a defect of nightscore, with the manifest",
        )


def _merge(
    execution: Execution, plan: ReplayPlan, places: Places, n_published_before: Places
) -> WrittenPart:
    run_id, folder = execution.run_id, execution.folder
    output_format = format_of(execution.job)
    in_place = output_format.writes_in_place
    if in_place:
        path = part_path(folder, run_id, MERGED_SHARD, 0)
    else:
        path = sealed_history_path(folder, run_id)

    execution.extra_files.append(path)

    replayed = execution.results.in_order()
    merge = Merge(
        store=execution.workspace.parts,
        old=tuple(part.file.path for part in plan.published),
        new=tuple(result.part.file.path for result in replayed),
        places=places,
        before=n_published_before,
        path=path,
        schema=plan.run.contract.output_schema(),
        keep_types=output_format.stores_arrow_schema,
        metadata={} if in_place else {RUN_KEY: run_id},
    )
    merged = execution.pool.call(merge_rows, merge)
    record_files(execution, [merged])

    return merged


def _count_whole_partition(execution: Execution, plan: ReplayPlan, merged: WrittenPart) -> None:
    """Add the published rows to the record, which knows only the replayed ones so far."""
    base, replayed = plan.base, execution.record.manifest
    counts = Counts(
        rows_in=base.counts.rows_in,
        rows_scored=base.counts.rows_scored + replayed.counts.rows_scored,
        rows_quarantined=replayed.counts.rows_quarantined,
    )
    n_accounted_for = counts.rows_scored + counts.rows_quarantined
    if counts.rows_in != n_accounted_for or merged.file.rows != counts.rows_scored:
        raise ReconciliationError(
            "The rows do not add up; nothing was published.",
            execution.folder,
            expected=f"{counts.rows_in:,} rows = scored + quarantined; "
            f"{counts.rows_scored:,} in the merged file",
            found=f"{counts.rows_scored:,} scored, {counts.rows_quarantined:,} quarantined; "
            f"{merged.file.rows:,} in the merged file",
            next_step="report this as a defect of nightscore, with the manifest",
        )

    # The base run profiled all features when it read them. Its profile lacks the new predictions.
    predictions = [column for column in replayed.columns if column.role == "prediction"]
    columns = merge_records([*base.columns, *predictions])
    execution.record.update(
        counts=counts,
        columns=columns,
        drift=base.drift,
        estimate=base.estimate,
        sample=_join_samples(base.sample, replayed.sample),
    )


def _join_samples(base: SampleRecord | None, replayed: SampleRecord | None) -> SampleRecord | None:
    """The sample of the published and the replayed rows; None: one of them has none."""
    if base is None or replayed is None:
        return None

    n_rows = min(base.rows, replayed.rows)
    return SampleRecord(rows=n_rows, files=base.files + replayed.files)
