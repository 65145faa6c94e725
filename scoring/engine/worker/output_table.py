"""The scored rows of a batch as they are written."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy, from_texts, repeated
from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.prediction_column import prediction_array
from nightscore.engine.worker.row_isolation import Outcome
from nightscore.engine.worker.row_origins import RowOrigins
from nightscore.inputs.batches import Batch
from nightscore.schemas.contract import REPEATED_TEXT


def output_table(
    task: ShardTask,
    batch: Batch,
    outcome: Outcome,
    origins: RowOrigins,
    beside: Mapping[str, pa.ChunkedArray],
) -> pa.Table:
    """Position, keys, passed-through columns and predictions of the rows that were scored.

    Args:
        task: The shard's task.
        batch: All rows.
        outcome: The predictions.
        origins: Where the rows stand in the input.
        beside: Further columns of the scored rows, by name: the champion's predictions beside
            those of a challenger.
    """
    is_scored = outcome.scored_mask
    columns: dict[str, pa.Array | pa.ChunkedArray] = dict(beside)
    if task.contract.has_position:
        columns["source_file"], columns["source_row"] = _position(batch, is_scored, origins)

    carried = (
        batch.passthrough if is_scored.all() else batch.passthrough.filter(from_numpy(is_scored))
    )

    for column in task.contract.passthrough:
        columns[column.name] = carried.column(column.name)

    for output in task.contract.predictions:
        columns[output.name] = prediction_array(output, outcome.answer)

    n_rows = int(is_scored.sum())
    columns["model_version"] = repeated(task.model_version, n_rows)
    columns["run_id"] = repeated(task.run_id, n_rows)

    schema = task.contract.output_schema()
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _position(
    batch: Batch, is_scored: npt.NDArray[np.bool_], origins: RowOrigins
) -> tuple[pa.Array, pa.Array]:
    """Input file and row number of each scored row."""
    located = []

    for stretch in batch.stretches:
        located.append(origins.locate(stretch.path, stretch.positions))

    places: dict[str, int] = {}
    for path, _ in located:
        places.setdefault(path, len(places))

    codes = np.concatenate([np.full(len(rows), places[path], np.int32) for path, rows in located])
    source_rows = np.concatenate([rows for _, rows in located])

    names = pa.DictionaryArray.from_arrays(from_numpy(codes[is_scored]), from_texts(list(places)))

    return names.cast(REPEATED_TEXT), from_numpy(source_rows[is_scored])
