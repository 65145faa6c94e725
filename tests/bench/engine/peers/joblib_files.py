"""The same over files in parallel: joblib's processes, which limit the libraries' threads; one model a worker."""

from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

from tests.bench.engine.peers.task import Task, cached_model, read_task, scores


def score_file(task: Task, file: Path) -> None:
    frame = pd.read_parquet(file, columns=task.columns, partitioning=None)
    result = pd.DataFrame(
        {task.key: frame[task.key], "score": scores(cached_model(task.model), frame, task)}
    )
    result.to_parquet(task.target(file), index=False)


def main() -> None:
    task = read_task()
    Parallel(n_jobs=task.workers)(delayed(score_file)(task, file) for file in task.files)


if __name__ == "__main__":
    main()
