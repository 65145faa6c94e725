"""Daft: a class with a batch method, one process a core, each with its model."""

import daft
import pandas as pd
from daft import Series, col

from tests.bench.engine.peers.task import BATCH_ROWS, Task, load_model, read_task, scores


class Scorer:
    def __init__(self, task: Task) -> None:
        self.task, self.model = task, load_model(task.model)

    @daft.method.batch(return_dtype=daft.DataType.float64(), batch_size=BATCH_ROWS)
    def score(self, *columns: Series) -> Series:
        frame = pd.DataFrame(
            {
                name: column.to_arrow().to_pandas()
                for name, column in zip(self.task.features, columns, strict=True)
            }
        )
        return Series.from_numpy(scores(self.model, frame, self.task))


def main() -> None:
    task = read_task()
    scorer = daft.cls(Scorer, max_concurrency=task.workers, use_process=True)(task)
    pattern = f"{task.input}/**/*.parquet"
    source = daft.read_parquet(pattern, hive_partitioning=task.partition is not None)
    kept = [task.key, *([task.partition] if task.partition else [])]
    score = scorer.score(*(col(name) for name in task.features))
    scored = source.select(*kept, score.alias("score"))
    scored.write_parquet(task.output, partition_cols=[task.partition] if task.partition else None)


if __name__ == "__main__":
    main()
