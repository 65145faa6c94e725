"""ONNX Runtime in a loop over pyarrow's batches: float64, one session with a thread a core.

The graph was written before, beside the model. No scikit-learn, MLflow or pandas is imported.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.engine.peers.onnx_graph import INPUT, OUTPUT, onnx_path
from tests.bench.engine.peers.task import BATCH_ROWS, Task, read_task


def main() -> None:
    task = read_task()
    session = _open_session(task)
    for file in task.files:
        _score_file(session, file, task)


def _open_session(task: Task) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.workers
    graph = str(onnx_path(Path(task.model)))
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _score_file(session: Any, file: Path, task: Task) -> None:
    schema = pa.schema([(task.key, pa.string()), ("score", pa.float64())])
    with (
        pq.ParquetFile(file, pre_buffer=False) as source,
        pq.ParquetWriter(task.target(file), schema, compression="zstd") as writer,
    ):
        for batch in source.iter_batches(BATCH_ROWS, columns=task.columns):
            (scores,) = session.run([OUTPUT], {INPUT: _matrix(batch, task.features)})
            column = pa.Array.from_buffers(pa.float64(), len(scores), [None, pa.py_buffer(scores)])
            writer.write_batch(pa.record_batch([batch.column(task.key), column], schema=schema))


def _matrix(batch: pa.RecordBatch, features: tuple[str, ...]) -> Any:
    """The features as float64 with NaN for null, shape (n, k)."""
    matrix = np.empty((batch.num_rows, len(features)))
    for i, name in enumerate(features):
        matrix[:, i] = _values(batch.column(name))
    return matrix


def _values(column: pa.Array) -> Any:
    """A column's values, read from its buffers: `to_numpy` would import pandas."""
    validity, data = column.buffers()
    values = np.frombuffer(data, np.float64, len(column), 8 * column.offset)
    if not column.null_count:
        return values
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
    is_valid = bits[column.offset : column.offset + len(column)]
    return np.where(is_valid, values, np.nan)


if __name__ == "__main__":
    main()
