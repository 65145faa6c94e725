"""Ray Data: `map_batches` with a class on a pool of actors, one a core, each with its model."""

from typing import Any

import pyarrow as pa
import ray
import ray.data

from tests.bench.engine.peers.task import BATCH_ROWS, Task, load_model, read_task, scores

ACTOR_CPUS = 0.5
"""Ray's CPUs are tickets: actors that took all of them would leave none to the tasks that read and
write."""


class Scorer:
    def __init__(self, task: Task) -> None:
        self.task, self.model = task, load_model(task.model)

    def __call__(self, batch: pa.Table) -> pa.Table:
        # Ray's own pandas batches have NA in strings, which scikit-learn's imputers do not know.
        frame = batch.select(self.task.features).to_pandas()
        kept = [self.task.key, *([self.task.partition] if self.task.partition else [])]
        return batch.select(kept).append_column(
            "score", pa.array(scores(self.model, frame, self.task), pa.float64())
        )


def main() -> None:
    task = read_task()
    ray.init(num_cpus=task.workers, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    options: dict[str, Any] = {"partition_cols": [task.partition]} if task.partition else {}
    columns = [*task.columns, *([task.partition] if task.partition else [])]
    source = ray.data.read_parquet(task.input, columns=columns)
    scored = source.map_batches(
        Scorer,
        fn_constructor_args=(task,),
        batch_format="pyarrow",
        batch_size=BATCH_ROWS,
        compute=ray.data.ActorPoolStrategy(size=task.workers),
        num_cpus=ACTOR_CPUS,
    )
    scored.write_parquet(task.output, **options)


if __name__ == "__main__":
    main()
