"""A plain loop: pyarrow's batches as pandas frames, scikit-learn's own predictions, one writer.

`python -m tests.bench.bars.sklearn_loop TASK`, a task as the peers have it. Libraries use all cores.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.engine.peers.task import BATCH_ROWS, Task, read_task


def main() -> None:
    task = read_task()
    with Path(task.model, "model.pkl").open("rb") as file:
        model = pickle.load(file)
    for path in task.files:
        _score_file(model, path, task)


def _score_file(model: Any, path: Path, task: Task) -> None:
    writer = None
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=task.columns):
            frame = batch.select(list(task.features)).to_pandas()
            probabilities = model.predict_proba(frame)
            columns = {task.key: batch.column(task.key)}
            columns["prediction"] = pa.array(model.classes_[np.argmax(probabilities, axis=1)])
            for i, label in enumerate(model.classes_):
                columns[f"probability_{label}"] = pa.array(probabilities[:, i].copy())
            scored = pa.record_batch(columns)
            writer = writer or pq.ParquetWriter(task.target(path), scored.schema)
            writer.write_batch(scored)
    if writer is not None:
        writer.close()


if __name__ == "__main__":
    main()
