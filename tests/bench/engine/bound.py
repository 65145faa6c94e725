"""What is possible: decode, predict, profile and encode, each alone on one core, and how the bare predictor scales.

A process of its own, with one library thread: `python -m tests.bench.engine.bound SPEC`; prints JSON. Nothing of
nightscore is in it but the predictor and the profiler that its workers use.
"""

import json
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections.abc import Collection
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.models.loading import LoadedModel, inspect_model
from nightscore.models.protocol import Predictor
from nightscore.profiles.profile import kind_of
from nightscore.profiles.profile_spec import ProfiledColumn, ProfileSpec, cut_column
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import Role

BATCH_ROWS = 65_536
N_KEPT = 4
"""Batches that are predicted again and again: enough that none is in the caches still."""
MAX_DECODED_ROWS = 1_000_000
LEAST_S = 0.5
"""That predicting and encoding are measured for, and twice that each process of the scaling."""


def kernel_of(folder: Path) -> tuple[Predictor, Collection[str]]:
    """What a worker would predict with, given rows enough; and what is asked of it."""
    facts = inspect_model(folder)
    model = LoadedModel(folder, facts)
    return model.compiled_predictor(
        model.library_predictor()
    ) if model.form else model.library_predictor(), ["probability"] if facts.classes else []


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """CPU seconds a row of each stage, and rows a second of the predictor in one and in several processes."""
    warnings.simplefilter("ignore")
    files = sorted(Path(spec["features"]).rglob("*.parquet"))
    predictor, kinds = kernel_of(Path(spec["model"]))
    forms = {"plain": [], "dictionaries": spec["strings"]} if spec["strings"] else {"plain": []}
    stages: dict[str, dict[str, float]] = {}
    for form, coded in forms.items():
        decode = _decode_s(files, spec, coded)
        tables = [
            t.select(spec["features_in_order"])
            for t in islice(_batches(files, spec, coded), N_KEPT)
        ]
        stages[form] = {"decode": decode, "predict": _predict_s(predictor, kinds, tables)}
    form = min(stages, key=lambda name: sum(stages[name].values()))
    tables = list(islice(_batches(files, spec, forms[form]), N_KEPT))
    seconds = stages[form] | {
        "profile": _profile_s(predictor, kinds, tables, spec),
        "encode": _encode_s(predictor, kinds, files, spec),
    }
    n_cores, total = int(spec["cores"]), sum(seconds.values())
    scaling = {n: _rate(spec, n, seconds["predict"]) for n in dict.fromkeys((1, n_cores))}
    return {
        "cpu_s_per_row": seconds,
        "strings_read": form if spec["strings"] else None,
        "predictor": type(predictor).__name__,
        "rows_per_s": n_cores / total,
        "kernel_rows_per_s": {str(n): rate for n, rate in scaling.items()},
        "kernel_scaling": scaling[n_cores] / scaling[1],
    }


def _batches(files: list[Path], spec: dict[str, Any], coded: list[str]) -> Any:
    columns = [spec["key"], *spec["features_in_order"]]

    def of(path: Path) -> Any:
        with pq.ParquetFile(path, read_dictionary=coded, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
                yield pa.Table.from_batches([batch])

    return chain.from_iterable(of(path) for path in files)


def _decode_s(files: list[Path], spec: dict[str, Any], coded: list[str]) -> float:
    n_rows, started = 0, time.process_time()
    for table in _batches(files, spec, coded):
        n_rows += table.num_rows
        if n_rows >= MAX_DECODED_ROWS:
            break
    return (time.process_time() - started) / n_rows


def _predict_s(predictor: Predictor, kinds: Collection[str], tables: list[pa.Table]) -> float:
    predictor.predict(tables[0], kinds)  # buffers, and what is imported at the first call
    n_rows, started = 0, time.process_time()
    while (spent := time.process_time() - started) < LEAST_S:
        for table in tables:
            predictor.predict(table, kinds)
            n_rows += table.num_rows
    return spent / n_rows


def _profile_s(
    predictor: Predictor, kinds: Collection[str], tables: list[pa.Table], spec: dict[str, Any]
) -> float:
    """Of counting each feature and the prediction, over bins that are cut at the first batch."""
    batches = []
    for table in tables:
        features = table.select(spec["features_in_order"])
        answer = predictor.predict(features, kinds)
        scores = {kind: pa.array(values[:, -1].copy()) for kind, values in answer.items()}
        batches.append((features, table.select([spec["key"]]), pa.table(scores)))

    features, _, scores = batches[0]
    columns = [_profiled("feature", features, name) for name in features.column_names]
    columns += [_profiled("prediction", scores, name) for name in scores.column_names]
    profiler = Profiler(
        ProfileSpec(tuple(columns))
    )  # as of a run; only a baseline counts scores by bin

    features, keys, scores = batches[0]
    profiler.add(features, keys, np.ones(len(keys), np.bool_), scores)  # compiles its kernels
    n_rows, started = 0, time.process_time()
    while (spent := time.process_time() - started) < LEAST_S:
        for features, keys, scores in batches:
            profiler.add(features, keys, np.ones(len(keys), np.bool_), scores)
            n_rows += len(keys)
    if profiler.errors:
        raise RuntimeError(f"columns cannot be counted: {profiler.errors}")
    return spent / n_rows


def _profiled(role: Role, table: pa.Table, name: str) -> ProfiledColumn:
    if kind_of(table.schema.field(name).type) == "category":
        return ProfiledColumn(role, name, None)
    return cut_column(role, name, [table.column(name)])


def _encode_s(
    predictor: Predictor, kinds: Collection[str], files: list[Path], spec: dict[str, Any]
) -> float:
    (table,) = islice(_batches(files, spec, []), 1)
    answer = predictor.predict(table.select(spec["features_in_order"]), kinds)
    columns = {spec["key"]: table.column(spec["key"])}
    for kind, values in answer.items():
        columns[kind] = pa.array(values[:, -1].copy())
    written = pa.table(columns)
    with tempfile.TemporaryDirectory(dir=spec["scratch"]) as folder:
        n_rows, started = 0, time.process_time()
        with pq.ParquetWriter(
            Path(folder, "part.parquet"), written.schema, compression="zstd", use_dictionary=False
        ) as writer:
            while time.process_time() - started < LEAST_S:
                writer.write_table(written)
                n_rows += written.num_rows
        return (time.process_time() - started) / n_rows


def _rate(spec: dict[str, Any], n_processes: int, row_s: float) -> float:
    """Rows a second of so many processes that predict at the same time, starts and loading not counted."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(n_processes)
    with context.Pool(n_processes, _prepare, (barrier,)) as pool:
        rates = pool.map(_predict_for, [(spec, row_s)] * n_processes, chunksize=1)
    return sum(n_rows for n_rows, _ in rates) / max(wall_s for _, wall_s in rates)


_barrier: Any = None


def _prepare(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _predict_for(task: tuple[dict[str, Any], float]) -> tuple[int, float]:
    spec, row_s = task
    warnings.simplefilter("ignore")
    predictor, kinds = kernel_of(Path(spec["model"]))
    files = sorted(Path(spec["features"]).rglob("*.parquet"))
    tables = [
        t.select(spec["features_in_order"])
        for t in islice(_batches(files, spec, spec["strings"]), N_KEPT)
    ]
    predictor.predict(tables[0], kinds)
    rounds = max(1, round(2 * LEAST_S / row_s / sum(table.num_rows for table in tables)))
    _barrier.wait()
    n_rows, started = 0, time.perf_counter()
    for table in tables * rounds:
        predictor.predict(table, kinds)
        n_rows += table.num_rows
    return n_rows, time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()))))
