"""What most teams begin with: file by file, pandas and the MLflow model in one process.

Libraries use all cores.
"""

import pandas as pd

from tests.bench.engine.peers.task import load_model, read_task, scores


def main() -> None:
    task = read_task()
    model = load_model(task.model)
    for file in task.files:
        frame = pd.read_parquet(file, columns=task.columns, partitioning=None)
        result = pd.DataFrame({task.key: frame[task.key], "score": scores(model, frame, task)})
        result.to_parquet(task.target(file), index=False)


if __name__ == "__main__":
    main()
