"""Polars: a lazy scan with `map_batches` on the streaming engine, into a Parquet sink."""

from pathlib import Path

import polars as pl

from tests.bench.engine.peers.task import load_model, read_task, scores


def main() -> None:
    task = read_task()
    model = load_model(task.model)
    kept = [task.key, *([task.partition] if task.partition else [])]

    def score(batch: pl.DataFrame) -> pl.DataFrame:
        frame = batch.select(task.features).to_pandas()
        return batch.select(kept).with_columns(
            pl.Series("score", scores(model, frame, task), pl.Float64)
        )

    source = pl.scan_parquet(task.input, hive_partitioning=task.partition is not None)
    source = source.select(*kept, *task.features)
    schema = source.select(kept).collect_schema() | {"score": pl.Float64}
    scored = source.map_batches(score, schema=schema, streamable=True)
    Path(task.output).mkdir(parents=True, exist_ok=True)
    by_partition = (
        pl.PartitionBy(task.output, key=task.partition, include_key=False)
        if task.partition
        else None
    )
    scored.sink_parquet(
        by_partition or Path(task.output, "part-0.parquet"), engine="streaming", mkdir=True
    )


if __name__ == "__main__":
    main()
