"""Scores one shard. Runs in a worker process; only small records come back."""

import base64
import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy, from_texts, repeated
from nightscore.engine.checkpoints import write_checkpoint
from nightscore.engine.isolate import Cause, Isolator
from nightscore.engine.policy import find_rejected, nulled
from nightscore.engine.predictions import prediction_array
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.errors import ModelAnswerError, ScoringError, ShardError
from nightscore.inputs.reader import Batch, read_batches, read_rows
from nightscore.ledger.formats import format_of
from nightscore.ledger.layout import part_path, parts_folder, parts_store, state_store
from nightscore.models.compiled.checked import CheckedPredictor
from nightscore.models.features import mark_nullable
from nightscore.models.flavors import flavor_of
from nightscore.models.loading import LoadedModel, inspect_model, unlisted_types
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.protocol import Answer, Predictor
from nightscore.outputs.quarantine import quarantine_path, read_origin_here, write_quarantine
from nightscore.outputs.writer import PartWriter
from nightscore.process import available_bytes, limited_address_space, peak_resident_bytes
from nightscore.profiles.column_records import feature_records, merge_records, prediction_records
from nightscore.profiles.profile_spec import ProfiledColumn, SegmentColumn, cut_column, cut_segments
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import Role, to_bytes
from nightscore.schemas.contract import REPEATED_TEXT, Contract
from nightscore.schemas.manifest import ColumnRecord, FileRecord, QuarantineExample
from nightscore.schemas.model import ModelFacts
from nightscore.storage.store import Store

MIN_MODEL_BYTES = 4 << 30
"""Libraries reserve more address space than they use."""
PAD_ROWS = 64
"""Vector kernels treat the last few rows of a matrix apart from the rest, and BLAS sums them in another order. A
batch is filled up to a multiple of this by repeating its last row, so that a row's prediction does not depend on how
the partition is cut; the partition's last batch to the rest that the whole partition leaves, so that it equals the
model's own on the whole partition."""
LEAST_BATCH_ROWS = 1_024
"""Below this a batch that does not fit is not halved any more."""
MAX_EXAMPLES = 5
QUARANTINE_SLACK_ROWS = 10_000
"""Rows kept beyond what the job allows, to be looked at: a run that fails need not copy its whole input."""
QUARANTINE_FLUSH_ROWS = 100_000
"""Places and causes held at once: about 20 MB."""


def inspect(model_folder: Path, is_vouched: bool) -> ModelFacts:
    """Load a model once and say what it is. The driver never unpickles anything itself."""
    if is_vouched or flavor_of(read_mlmodel(model_folder)).runs_own_code:
        return inspect_model(
            model_folder, is_vouched=is_vouched
        )  # its code may reserve what it likes
    with limited_address_space(_model_bytes()):
        return inspect_model(model_folder)


def list_types(model_folder: Path) -> list[str]:
    """See `unlisted_types`; its memory is limited."""
    with limited_address_space(_model_bytes()):
        return unlisted_types(model_folder)


def _model_bytes() -> int:
    """Of address space for a model and its libraries: a file's few bytes can decode to very many."""
    return max(available_bytes(), MIN_MODEL_BYTES)


def make_machine_code(task: ShardTask) -> None:
    """Compile once a host: else each worker would, at the same time and beside what it is meant to take of memory."""
    _predictor(task)


def score_shard(task: ShardTask) -> ShardResult:
    """Score the rows of one shard and write their predictions.

    Raises:
        CorruptFileError, InputChangedError, ModelLoadError, ModelAnswerError, StorageError: See there; nothing was
            published.
        MemoryError: Even the smallest batch does not fit.
    """
    batch_rows = task.batch_rows
    try:
        while True:
            try:
                return _score_shard(replace(task, batch_rows=batch_rows))
            except MemoryError as error:
                if batch_rows <= LEAST_BATCH_ROWS:
                    raise MemoryError(
                        f"{error or 'no memory'}, with {batch_rows:,} rows at once"
                    ) from None
                batch_rows //= 2
    except (ScoringError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001
        # A model's or a library's own exception may not even pickle: only its words cross the process boundary.
        raise ShardError(
            "A shard could not be scored; nothing was published.",
            task.where,
            found=f"{type(error).__name__}: {str(error)[:500]}",
            next_step="run again with --verbose; if it stays, try the model on these rows by hand",
        ) from None


Bins = tuple[tuple[ProfiledColumn, ...], tuple[SegmentColumn, ...]]


def sample_bins(
    task: ShardTask, columns: Sequence[tuple[Role, str]], segments: Sequence[str]
) -> Bins:
    """Bins of columns of numbers, and segments of other columns, cut at a shard's first rows, within its memory."""
    predict = functools.partial(_predict, _predictor(task), task.contract, task.facts)
    with limited_address_space(task.memory_bytes):
        return _sample_bins(task, columns, segments, predict)


def _sample_bins(
    task: ShardTask,
    columns: Sequence[tuple[Role, str]],
    segments: Sequence[str],
    predict: Callable[[pa.Table, int], Answer],
) -> Bins:
    store = Store(task.job.input.uri, task.job.input.storage_options)
    batch = next(read_batches(store, task.shard, task.contract, task.batch_rows))
    rejected = find_rejected(
        batch.features, batch.changed, task.job.policy, task.contract, task.facts
    )
    isolator = Isolator(predict, task.max_quarantined, task.facts.categories)
    outcome = isolator.score(
        batch.features, rejected, rest=task.n_rows % PAD_ROWS if batch.is_last else 0
    )
    schema = task.contract.output_schema()
    output = _output(task, batch, outcome.kept, outcome.answer, schema, _Origins(task, store))
    tables = {"feature": batch.features, "prediction": output, "pass_through": batch.kept}
    cut = tuple(cut_column(role, name, [tables[role].column(name)]) for role, name in columns)
    sources = [
        batch.features if name in batch.features.column_names else batch.kept for name in segments
    ]
    return cut, tuple(
        cut_segments(n, [t.column(n)]) for n, t in zip(segments, sources, strict=True)
    )


def _score_shard(task: ShardTask) -> ShardResult:
    started, cpu_started = time.perf_counter(), time.thread_time()
    clock = _Clock()
    with clock("load"):
        predictor = _predictor(task)
    with limited_address_space(task.memory_bytes):
        result = _score_rows(task, predictor, clock)
    result = replace(
        result,
        wall_s=time.perf_counter() - started,
        cpu_s=time.thread_time() - cpu_started,
        process_cpu_s=time.process_time(),
        stages_s=clock.seconds,
        peak_bytes=peak_resident_bytes(),
    )
    write_checkpoint(task, result)
    return result


def _score_rows(task: ShardTask, predictor: CheckedPredictor, clock: "_Clock") -> ShardResult:
    predict = functools.partial(_predict, predictor, task.contract, task.facts)
    isolator = Isolator(predict, task.max_quarantined, task.facts.categories)
    store = Store(task.job.input.uri, task.job.input.storage_options)
    schema = task.contract.output_schema()
    folder = parts_folder(task.job, task.folder, task.run_id)
    path = part_path(folder, task.run_id, task.shard.index, task.part_attempt)
    origins = _Origins(task, store)
    rejects = _Rejects(task, store, origins)
    rows_in, gave_up = 0, ""
    columns: tuple[ColumnRecord, ...] = ()
    names = [column.name for column in task.contract.predictions]
    profiler = Profiler(task.profile_spec)
    keep_types = format_of(task.job).stores_arrow_schema
    with PartWriter(parts_store(task.job), path, schema, keep_types=keep_types) as writer:
        batches = read_batches(
            store, task.shard, task.contract, task.batch_rows, task.prefetch_bytes
        )
        while (batch := clock.next("read", batches)) is not None:
            passing = nulled(batch.changed, task.job.policy, task.contract)
            rejected = find_rejected(
                batch.features, batch.changed, task.job.policy, task.contract, task.facts
            )
            with clock("predict"):
                outcome = isolator.score(
                    batch.features, rejected, rest=task.n_rows % PAD_ROWS if batch.is_last else 0
                )
            rows_in += batch.n_rows
            rejects.add(batch, outcome.rejected)
            if outcome.gave_up:
                gave_up = outcome.gave_up
                break
            output = _output(task, batch, outcome.kept, outcome.answer, schema, origins)
            with clock("profile"):
                profiler.add(batch.features, batch.kept, outcome.kept, output)
                found = feature_records(batch.features, passing, profiler.missing)
                columns = merge_records(
                    [*columns, *found, *prediction_records(output.select(names))]
                )
            with clock("write"):
                writer.write(output)
            del batch, outcome, output  # not held while the next batch is decoded
        with clock("write"):
            part = writer.close()
    with clock("quarantine"):
        rejects.flush()
    return ShardResult(
        task.shard.index,
        part,
        rows_in,
        rejects.n_rows,
        rejects.by_reason,
        rejects.by_column,
        columns,
        tuple(rejects.examples),
        tuple(rejects.files),
        base64.b64encode(to_bytes(profiler.columns)).decode(),
        profiler.errors,
        profiler.cpu_s,
        profiler.n_skipped,
        gave_up,
        pid=os.getpid(),
        predictor=predictor.record,
    )


class _Origins:
    """Where rows stand in the input: where they are read, but for a replay, whose rows say so themselves."""

    def __init__(self, task: ShardTask, store: Store) -> None:
        paths = {piece.file.path for piece in task.shard.pieces} if task.is_replay else ()
        self._found = {path: read_origin_here(store, path) for path in paths}

    def of(self, path: str, rows: npt.NDArray[np.int64]) -> tuple[str, npt.NDArray[np.int64]]:
        """Input file and positions of rows of one file that is read."""
        if path not in self._found:
            return path, rows
        name, places = self._found[path]
        return name, places[rows]


class _Rejects:
    """Rows of a shard that cannot be scored: counted, and written away before they are many."""

    def __init__(self, task: ShardTask, store: Store, origins: _Origins) -> None:
        self._task, self._store, self._origins = task, store, origins
        self._left = task.max_quarantined + QUARANTINE_SLACK_ROWS
        self._waiting: dict[str, dict[int, Cause]] = {}
        self._n_waiting = 0
        self.n_rows = 0
        self.by_reason: dict[str, int] = {}
        self.by_column: dict[str, int] = {}
        self.examples: list[QuarantineExample] = []
        self.files: list[FileRecord] = []

    def add(self, batch: Batch, causes: dict[int, Cause]) -> None:
        """Count a batch's rejected rows, and keep them by their place in the files."""
        starts = np.cumsum([0, *(stretch.n_rows for stretch in batch.stretches)])
        for row, (reason, column, message) in sorted(causes.items()):
            index = int(np.searchsorted(starts, row, side="right")) - 1
            stretch = batch.stretches[index]
            source_row = stretch.first_row + row - int(starts[index])
            self.n_rows += 1
            self.by_reason[reason] = self.by_reason.get(reason, 0) + 1
            if column is not None:
                name = f"{column}: {reason}"
                self.by_column[name] = self.by_column.get(name, 0) + 1
            if len(self.examples) < MAX_EXAMPLES:
                name, place = self._origins.of(stretch.path, np.array([source_row]))
                self.examples.append(
                    QuarantineExample(
                        source_file=name,
                        source_row=int(place[0]),
                        reason=reason,
                        column=column,
                        message=message,
                    )
                )
            if self._left > 0:
                self._left -= 1
                self._waiting.setdefault(stretch.path, {})[source_row] = (reason, column, message)
                self._n_waiting += 1
        if self._n_waiting >= QUARANTINE_FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting: the rows are read again, whole."""
        task = self._task
        files = {piece.file.path: piece.file for piece in task.shard.pieces}
        for path, causes in self._waiting.items():
            rows = np.array(sorted(causes), np.int64)
            tables = read_rows(self._store, files[path], rows, min(task.batch_rows, 8_192))
            written = write_quarantine(
                state_store(task.job),
                quarantine_path(
                    task.folder, task.run_id, task.shard.index, task.part_attempt, len(self.files)
                ),
                ((table, self._origins.of(path, here)[1]) for table, here in tables),
                [causes[row] for row in rows.tolist()],
                self._origins.of(path, rows)[0],
                task.model_version,
                task.run_id,
                is_replay=task.is_replay,
            )
            self.files += written
        self._waiting, self._n_waiting = {}, 0


class _Loaded:
    """The one model that stays loaded in a process: the folder's name is the digest of its content."""

    lock = threading.Lock()
    key: tuple[Path, ModelFacts, str, bool] | None = None
    model: LoadedModel | None = None


def _predictor(task: ShardTask) -> CheckedPredictor:
    return CheckedPredictor(
        _load(task), task.contract.feature_types(), is_unchecked=task.is_unchecked
    )


def _load(task: ShardTask) -> LoadedModel:
    key = (task.model_folder, task.facts, task.library_because, task.is_fresh)
    with _Loaded.lock:
        if _Loaded.model is None or _Loaded.key != key:
            _Loaded.model = None
            _Loaded.model, _Loaded.key = LoadedModel(*key), key
        return _Loaded.model


def _predict(
    predictor: Predictor, contract: Contract, facts: ModelFacts, features: pa.Table, rest: int
) -> Answer:
    n_rows = features.num_rows
    fill = (rest - n_rows) % PAD_ROWS if facts.pads_batches else 0
    if fill:
        features = pa.concat_tables([features, *([features.slice(n_rows - 1)] * fill)])
    kinds = {column.kind for column in contract.predictions}
    answer = predictor.predict(mark_nullable(features, contract.nullable_flags), kinds)
    for kind in kinds:
        values = answer[kind]
        width = _width(kind, contract, facts)
        # Before the filling is cut off: a model that drops rows would shift all that come after.
        if len(values) != n_rows + fill or values.shape[1] != width:
            raise ModelAnswerError(
                "The model's answer has another shape than its description.",
                expected=f"{n_rows + fill} rows, {width} columns of {kind}",
                found=f"{values.shape[0]} rows, {values.shape[1]} columns",
                next_step="a model must give one prediction a row; log it with a signature that states its outputs",
            )
    return {kind: answer[kind][:n_rows] for kind in kinds}


def _width(kind: str, contract: Contract, facts: ModelFacts) -> int:
    if kind == "probability":
        return len(facts.classes or ())
    return sum(column.kind == kind for column in contract.predictions)


def _output(
    task: ShardTask,
    batch: Batch,
    kept: npt.NDArray[np.bool_],
    answer: Answer | None,
    schema: pa.Schema,
    origins: _Origins,
) -> pa.Table:
    n_rows = int(kept.sum())
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    if task.contract.has_position:
        columns["source_file"], columns["source_row"] = _position(batch, kept, origins)
    carried = batch.kept if kept.all() else batch.kept.filter(from_numpy(kept))
    for column in task.contract.kept:
        columns[column.name] = carried.column(column.name)
    for output in task.contract.predictions:
        columns[output.name] = prediction_array(output, answer)
    for name, value in (("model_version", task.model_version), ("run_id", task.run_id)):
        columns[name] = repeated(value, n_rows)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _position(
    batch: Batch, kept: npt.NDArray[np.bool_], origins: _Origins
) -> tuple[pa.Array, pa.Array]:
    read = [
        origins.of(s.path, np.arange(s.first_row, s.first_row + s.n_rows)) for s in batch.stretches
    ]
    paths = list(dict.fromkeys(path for path, _ in read))
    codes = np.concatenate(
        [np.full(len(places), paths.index(path), np.int32) for path, places in read]
    )
    rows = np.concatenate([places for _, places in read])
    names = pa.DictionaryArray.from_arrays(from_numpy(codes[kept]), from_texts(paths))
    return names.cast(REPEATED_TEXT), from_numpy(rows[kept])


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
