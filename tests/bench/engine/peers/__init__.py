"""Other ways of scoring Parquet files with an MLflow model, each as its own documentation advises.

One script each. All take the same argument, a task file, and write key and score as Parquet.
"""

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""For those that run a process a core, and do not limit the libraries' threads by themselves."""


@dataclass(frozen=True)
class Peer:
    """One way of scoring."""

    name: str
    title: str
    module: str
    """Of this package."""
    distributions: tuple[str, ...]
    """What it is made of, the one first whose version names it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    is_heavy: bool = False
    """It starts daemons or a JVM: 10 s and more before the first row."""
    workloads: tuple[str, ...] = ()
    """Those that it can score; empty: all."""
    needs_graph: bool = False
    """It reads an ONNX graph, which is written before, beside the model."""

    @property
    def command(self) -> list[str]:
        """Without the task file."""
        return [sys.executable, "-m", f"{__name__}.{self.module}"]

    @property
    def is_installed(self) -> bool:
        return all(importlib.util.find_spec(name) is not None for name in self.distributions)


PEERS = (
    Peer("polars", "Polars map_batches", "polars_map_batches", ("polars",)),
    Peer(
        "onnxruntime",
        "ONNX Runtime in a pyarrow loop",
        "onnx_runtime_loop",
        ("onnxruntime", "onnx"),
        workloads=("W1",),
        needs_graph=True,
    ),
    Peer("pandas", "pandas + mlflow.pyfunc, file by file", "pandas_loop", ("pandas",)),
    Peer("joblib", "joblib over files", "joblib_files", ("joblib",)),
    Peer(
        "daft", "Daft class UDF", "daft_udf", ("daft",), ONE_THREAD | {"DO_NOT_TRACK": "true"}, True
    ),
    Peer(
        "dask",
        "Dask map_partitions",
        "dask_map_partitions",
        ("dask", "distributed"),
        ONE_THREAD,
        True,
    ),
    Peer(
        "spark",
        "Spark spark_udf",
        "spark_udf",
        ("pyspark",),
        ONE_THREAD | {"PYSPARK_PYTHON": sys.executable},
        True,
    ),
    Peer(
        "ray",
        "Ray Data actor pool",
        "ray_data",
        ("ray",),
        ONE_THREAD | {"RAY_USAGE_STATS_ENABLED": "0"},
        True,
    ),
)
