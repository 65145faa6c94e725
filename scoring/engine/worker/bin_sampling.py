"""Bins of a run that has no reference, cut at the first rows of a shard."""

from collections.abc import Sequence

from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.batch_scorer import BatchScorer
from nightscore.engine.worker.output_table import output_table
from nightscore.engine.worker.row_origins import RowOrigins
from nightscore.engine.worker.worker_model import predictor_of
from nightscore.inputs.reader import read_batches
from nightscore.process import limited_address_space
from nightscore.profiles.profile_spec import ProfiledColumn, SegmentColumn, cut_column, cut_segments
from nightscore.profiles.table import Role
from nightscore.storage.store import Store

Bins = tuple[tuple[ProfiledColumn, ...], tuple[SegmentColumn, ...]]


def sample_bins(
    task: ShardTask, columns: Sequence[tuple[Role, str]], segments: Sequence[str]
) -> Bins:
    """Bins of columns of numbers, and segments of other columns, within the shard's memory.

    Args:
        task: Its first batch is scored.
        columns: Role and name of the columns to cut into bins.
        segments: Names of the columns to cut into segments.
    """
    scorer = BatchScorer(task, predictor_of(task))

    with limited_address_space(task.memory_bytes):
        return _sample_bins(task, columns, segments, scorer)


def _sample_bins(
    task: ShardTask,
    columns: Sequence[tuple[Role, str]],
    segments: Sequence[str],
    scorer: BatchScorer,
) -> Bins:
    store = Store(task.job.input.uri, task.job.input.storage_options)
    batch = next(read_batches(store, task.shard, task.contract, task.batch_rows))
    outcome = scorer.score(batch, scorer.find_rejected(batch))

    schema, origins = task.contract.output_schema(), RowOrigins(task, store)
    output = output_table(task, batch, outcome, schema, origins)
    tables = {"feature": batch.features, "prediction": output, "pass_through": batch.passthrough}
    bins = [cut_column(role, name, [tables[role].column(name)]) for role, name in columns]

    cut = []

    for name in segments:
        is_feature = name in batch.features.column_names
        source = batch.features if is_feature else batch.passthrough
        cut.append(cut_segments(name, [source.column(name)]))

    return tuple(bins), tuple(cut)
