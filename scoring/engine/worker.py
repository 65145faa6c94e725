"""Scores one shard. Runs in a worker process; only small records come back."""

import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.columns import MODEL_VERSION, Contract, OutputColumn
from schemas.contract import ModelFacts
from schemas.job import ScoringJob
from schemas.manifest import FileRecord, QuarantineExample
from schemas.partition import Shard
from scoring.engine.isolate import Cause, Isolator
from scoring.errors import ModelLoadError
from scoring.inputs.reader import Batch, read_batches, read_rows
from scoring.models.predictor import Answer, Predictor, inspect_model, load_predictor
from scoring.outputs.layout import part_path, predictions_store, staging_folder, state_store
from scoring.outputs.quarantine import quarantine_path, write_quarantine
from scoring.outputs.writer import PartWriter, WrittenPart
from scoring.process import peak_resident_bytes
from scoring.storage import Store

PAD_ROWS = 64
"""Vector kernels treat the last few rows of a matrix apart from the rest, and BLAS sums them in another order. A
batch is filled up to a multiple of this by repeating its last row, so that a row's prediction does not depend on how
the partition is cut; the partition's last batch is not, so that it equals the model's own on the whole partition."""
PARENT_POLL_S = 0.5
MAX_EXAMPLES = 5
QUARANTINE_SLACK_ROWS = 10_000
"""Rows kept beyond what the job allows, to be looked at: a run that fails need not copy its whole input."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Everything that a worker needs."""

    job: ScoringJob
    run_id: str
    folder: str
    """Of the partition, on the output."""
    model_folder: Path
    model_version: str
    facts: ModelFacts
    contract: Contract
    shard: Shard
    batch_rows: int
    max_quarantined: int
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What a worker did."""

    index: int
    part: WrittenPart
    rows_in: int
    rows_quarantined: int
    by_reason: dict[str, int]
    by_column: dict[str, int]
    examples: tuple[QuarantineExample, ...]
    quarantine_files: tuple[FileRecord, ...]
    wall_s: float
    process_cpu_s: float
    """Of the worker since it was started, its imports included."""
    stages_s: dict[str, float]
    pid: int
    peak_bytes: int


def inspect(model_folder: Path) -> ModelFacts:
    """Load a model once and say what it is. The driver never unpickles anything itself."""
    return inspect_model(model_folder)


def score_shard(task: ShardTask) -> ShardResult:
    """Score the rows of one shard and write their predictions.

    Raises:
        CorruptFileError, InputChangedError, ModelLoadError, StorageError: See there; nothing was published.
    """
    started = time.perf_counter()
    clock = _Clock()
    with clock("load"):
        predictor = _load(str(task.model_folder), task.facts)
    isolator = Isolator(functools.partial(_predict, predictor, task.contract, task.facts), task.max_quarantined)
    store = Store(task.job.input.uri, task.job.input.storage_options)
    schema = task.contract.output_schema()
    is_delta = task.job.output.format == "delta"
    place = predictions_store(task.job) if is_delta else state_store(task.job)
    folder = task.folder if is_delta else staging_folder(task.run_id)
    path = part_path(folder, task.run_id, task.shard.index, task.attempt)
    rejected: dict[str, dict[int, Cause]] = {}
    rows_in = 0
    with PartWriter(place, path, schema, keep_types=not is_delta) as writer:
        batches = read_batches(store, task.shard, task.contract, task.batch_rows)
        while (batch := clock.next("read", batches)) is not None:
            with clock("predict"):
                outcome = isolator.score(batch.features, _changed(batch), pad=not batch.is_last)
            with clock("write"):
                writer.write(_output(task, batch, outcome.kept, outcome.answer, schema))
            rows_in += batch.n_rows
            if outcome.rejected:
                _place(batch, outcome.rejected, rejected)
        with clock("write"):
            part = writer.close()
    with clock("quarantine"):
        files = tuple(_quarantine(task, store, rejected))
    return ShardResult(
        task.shard.index,
        part,
        rows_in,
        sum(map(len, rejected.values())),
        _count(rejected, by_column=False),
        _count(rejected, by_column=True),
        tuple(_examples(rejected)),
        files,
        time.perf_counter() - started,
        time.process_time(),
        clock.seconds,
        os.getpid(),
        peak_resident_bytes(),
    )


@functools.lru_cache(maxsize=1)
def _cached(folder: str, _facts: str) -> Predictor:
    return load_predictor(Path(folder), ModelFacts.model_validate_json(_facts))


def _load(folder: str, facts: ModelFacts) -> Predictor:
    # One model stays loaded in each worker: the folder's name is the digest of its content.
    return _cached(folder, facts.model_dump_json())


def _predict(predictor: Predictor, contract: Contract, facts: ModelFacts, features: pa.Table, pad: bool) -> Answer:
    n_rows = features.num_rows
    fill = -n_rows % PAD_ROWS if pad and facts.flavor == "sklearn" else 0
    if fill:
        features = pa.concat_tables([features, *([features.slice(n_rows - 1)] * fill)])
    kinds = {column.kind for column in contract.predictions}
    answer = {kind: values[:n_rows] for kind, values in predictor.predict(features, kinds).items()}
    for kind, values in answer.items():
        wanted = [column.index for column in contract.predictions if column.kind == kind]
        if len(values) != n_rows or (wanted and values.shape[1] <= max(wanted)):
            raise ModelLoadError(
                "The model's answer has another shape than its description.",
                expected=f"{n_rows} rows, {max(wanted) + 1} columns of {kind}",
                found=f"{values.shape[0]} rows, {values.shape[1]} columns",
                next_step="log the model with a signature that states its outputs",
            )
    return answer


def _changed(batch: Batch) -> dict[int, Cause]:
    found: dict[int, Cause] = {}
    for column, bad in batch.changed.items():
        for row in np.flatnonzero(bad).tolist():
            found.setdefault(row, ("cast", column, "the value would change in the type that is wanted"))
    return found


def _output(
    task: ShardTask, batch: Batch, kept: npt.NDArray[np.bool_], answer: Answer | None, schema: pa.Schema
) -> pa.Table:
    n_rows = int(kept.sum())
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    if task.contract.has_position:
        columns["source_file"], columns["source_row"] = _position(batch, kept)
    carried = batch.kept if kept.all() else batch.kept.filter(pa.array(kept))
    for column in task.contract.kept:
        columns[column.name] = carried.column(column.name)
    for output in task.contract.predictions:
        columns[output.name] = _prediction(output, answer)
    for name, value in (("model_version", task.model_version), ("run_id", task.run_id)):
        codes = pa.array(np.zeros(n_rows, np.int32))
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array([value]))
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _prediction(output: OutputColumn, answer: Answer | None) -> pa.Array:
    if answer is None:
        return pa.array([], output.type)
    values = answer[output.kind][:, output.index]
    if pa.types.is_string(output.type):
        return pa.array([str(value) for value in values.tolist()], pa.string())
    found = pa.array(values)
    if found.type != output.type and pa.types.is_floating(found.type) and pa.types.is_integer(output.type):
        raise ModelLoadError(
            "The model predicts another type than it was described with.",
            expected=f"{output.name}: {output.type}",
            found=str(found.type),
            next_step="log the model with a signature that states its outputs",
        )
    return found.cast(output.type)


def _position(batch: Batch, kept: npt.NDArray[np.bool_]) -> tuple[pa.Array, pa.Array]:
    paths = list(dict.fromkeys(segment.path for segment in batch.segments))
    codes = np.concatenate([np.full(s.n_rows, paths.index(s.path), np.int32) for s in batch.segments])
    rows = np.concatenate([np.arange(s.first_row, s.first_row + s.n_rows) for s in batch.segments])
    names = pa.DictionaryArray.from_arrays(pa.array(codes[kept]), pa.array(paths, pa.string()))
    return names.cast(MODEL_VERSION), pa.array(rows[kept])


def _place(batch: Batch, causes: dict[int, Cause], rejected: dict[str, dict[int, Cause]]) -> None:
    """From rows of a batch to rows of files."""
    starts = np.cumsum([0, *(segment.n_rows for segment in batch.segments)])
    for row, cause in sorted(causes.items()):
        segment = batch.segments[int(np.searchsorted(starts, row, side="right")) - 1]
        first = int(starts[int(np.searchsorted(starts, row, side="right")) - 1])
        rejected.setdefault(segment.path, {})[segment.first_row + row - first] = cause


def _quarantine(task: ShardTask, store: Store, rejected: dict[str, dict[int, Cause]]) -> Iterator[FileRecord]:
    left = task.max_quarantined + QUARANTINE_SLACK_ROWS
    files = {piece.file.path: piece.file for piece in task.shard.pieces}
    for index, (path, causes) in enumerate(rejected.items()):
        rows = np.array(sorted(causes)[: max(left, 0)], np.int64)
        left -= len(rows)
        written = write_quarantine(
            state_store(task.job),
            quarantine_path(task.folder, task.run_id, task.shard.index, task.attempt, index),
            read_rows(store, files[path], rows, min(task.batch_rows, 8_192)),
            [causes[row] for row in rows.tolist()],
            path,
            task.model_version,
            task.run_id,
        )
        if written:
            yield written


def _count(rejected: dict[str, dict[int, Cause]], *, by_column: bool) -> dict[str, int]:
    found: dict[str, int] = {}
    for causes in rejected.values():
        for reason, column, _ in causes.values():
            name = f"{column}: {reason}" if by_column else reason
            if column is not None or not by_column:
                found[name] = found.get(name, 0) + 1
    return found


def _examples(rejected: dict[str, dict[int, Cause]]) -> Iterator[QuarantineExample]:
    places = [(path, row, cause) for path, causes in rejected.items() for row, cause in causes.items()]
    for path, row, (reason, column, message) in places[:MAX_EXAMPLES]:
        yield QuarantineExample(source_file=path, source_row=row, reason=reason, column=column, message=message)


class _Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def next(self, stage: str, items: Iterator[Batch]) -> Batch | None:
        """The next item, timed; None at the end."""
        with self(stage):
            return next(items, None)


def start_worker(parent: int) -> None:
    """Set up a worker process: it leaves Ctrl-C to the driver, and ends when that is gone.

    Polling, since the kernel's parent-death signal is bound to the thread that started the worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
