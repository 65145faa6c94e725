"""Spark: `mlflow.pyfunc.spark_udf` in local mode, Arrow batches as large as trees like them."""

import mlflow.pyfunc
from pyspark.sql import SparkSession
from pyspark.sql.functions import struct
from pyspark.sql.types import ArrayType, DoubleType

from tests.bench.engine.peers.task import BATCH_ROWS, read_task


def main() -> None:
    task = read_task()
    spark = (
        SparkSession.builder.master(f"local[{task.workers}]")
        .config("spark.driver.memory", "2g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", BATCH_ROWS)
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    source = spark.read.parquet(task.input)
    # Probabilities are two columns; a booster's answer is one, which an array takes as well.
    predict = mlflow.pyfunc.spark_udf(
        spark, task.model, result_type=ArrayType(DoubleType()), env_manager="local"
    )
    kept = [task.key, *([task.partition] if task.partition else [])]
    answers = source.select(*kept, predict(struct(*task.features)).alias("answer"))
    scored = answers.selectExpr(*kept, "element_at(answer, -1) AS score")
    writer = scored.write.mode("overwrite")
    (writer.partitionBy(task.partition) if task.partition else writer).parquet(task.output)
    spark.stop()


if __name__ == "__main__":
    main()
