"""Dask: `map_partitions` on a local cluster, one process with one thread a core, one model a worker."""

import dask
import dask.dataframe as dd
import pandas as pd
from distributed import Client, LocalCluster

from tests.bench.engine.peers.task import Task, cached_model, read_task, scores


def score(frame: pd.DataFrame, task: Task) -> pd.DataFrame:
    return kept(frame, task).assign(score=scores(cached_model(task.model), frame, task))


def kept(frame: pd.DataFrame, task: Task) -> pd.DataFrame:
    if task.partition is None:
        return frame[[task.key]]
    # As categories, `partition_on` would write a file for each value that there is, for each of
    # them.
    return frame[[task.key, task.partition]].astype({task.partition: "str"})


def main() -> None:
    task = read_task()
    # Strings of Arrow come with pandas' NA, which scikit-learn's imputers do not know.
    dask.config.set({"dataframe.convert-string": False})
    with (
        LocalCluster(
            n_workers=task.workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster),
    ):
        columns = [*task.columns, *([task.partition] if task.partition else [])]
        source = dd.read_parquet(task.input, columns=columns)
        meta = kept(source._meta, task).assign(score=pd.Series(dtype="float64"))
        scored = source.map_partitions(score, task, meta=meta)
        scored.to_parquet(
            task.output,
            write_index=False,
            partition_on=[task.partition] if task.partition else None,
        )


if __name__ == "__main__":
    main()
