"""Bins of a run that has no reference, cut at the first rows of a shard."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.begun_shards import begin_ahead, keep_begun
from nightscore.engine.worker.model_pass import ScoredBatch
from nightscore.process import limited_address_space
from nightscore.profiles.profile_spec import (
    ProfiledColumn,
    SegmentColumn,
    cut_column,
    cut_segments,
)
from nightscore.profiles.table import Role

Bins = tuple[tuple[ProfiledColumn, ...], tuple[SegmentColumn, ...]]


def sample_bins(
    tasks: Sequence[ShardTask], columns: Sequence[tuple[Role, str]], segments: Sequence[str]
) -> Bins:
    """Bins of columns of numbers, and segments of other columns, within the shards' memory.

    Threads of this process score the first batches of all these shards. Where the shards are
    scored in this process too, they go on from there.

    Args:
        tasks: Shards that will be scored at the same time. The bins are cut at the first batch of
            the first one.
        columns: Role and name of the columns to cut into bins.
        segments: Names of the columns to cut into segments.
    """
    with ThreadPoolExecutor(len(tasks), thread_name_prefix="first-batch") as threads:
        begun = [threads.submit(begin_ahead, task) for task in tasks]
        _, first = begun[0].result()
        with limited_address_space(tasks[0].memory_bytes):
            bins = _cut_bins(threads, first, columns, segments)

    pairs = zip(tasks, begun, strict=True)
    # A shard that has failed begins again in its turn, and then says why.
    keep_begun(
        (task, future.result()[0])
        for task, future in pairs
        if task.in_threads and future.exception() is None
    )
    return bins


def _cut_bins(
    threads: ThreadPoolExecutor,
    first: ScoredBatch | None,
    columns: Sequence[tuple[Role, str]],
    segments: Sequence[str],
) -> Bins:
    """Cut one column after another, in each thread that has scored its batch."""
    if first is None or first.output is None:
        return (), ()  # there is nothing to count: no rows, or none that the model takes

    batch = first.batch
    tables: dict[Role, pa.Table] = {
        "feature": batch.features,
        "prediction": first.output,
        "pass_through": batch.passthrough,
    }

    def cut(column: tuple[Role, str]) -> ProfiledColumn:
        role, name = column
        return cut_column(role, name, [tables[role].column(name)])

    bins = tuple(threads.map(cut, columns))

    cut_segment_columns = []
    for name in segments:
        is_feature = name in batch.features.column_names
        source = batch.features if is_feature else batch.passthrough
        cut_segment_columns.append(cut_segments(name, [source.column(name)]))

    return bins, tuple(cut_segment_columns)
