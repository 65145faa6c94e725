"""Checks a published partition against its record: its files, its inputs and model, and a sample scored again."""

import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.parsing.files import read_tables
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.pool import Pool
from nightscore.engine.scratch import ScratchRun, scratch_job
from nightscore.engine.worker.padding import PAD_ROWS
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.errors import (
    InputError,
    LocationNotFoundError,
    PartitionNotFoundError,
    ScoringError,
)
from nightscore.inputs.footers import Footer, read_footers
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.ledger.live import Live
from nightscore.ledger.liveness import mark_dead_runs, reconcile_with_live
from nightscore.ledger.manifests import find_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel, model_seconds
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.quarantine import read_origin
from nightscore.planning.environment import library_versions
from nightscore.planning.plan import PlannedWorkers, plan_partition
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob, Workers
from nightscore.schemas.manifest import FileRecord, Manifest
from nightscore.schemas.partition import Partition, Piece, Shard, encode_folder, show_value
from nightscore.storage.store import Store

Kind = Literal[
    "output damaged",
    "input changed",
    "model changed",
    "library changed",
    "predictions differ",
    "no record",
]

READ_ROWS = 65_536
VERIFY_RUN = "verify"
RUN_ID = "run_id"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the record says."""

    kind: Kind
    where: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what was found."""

    partition: str
    run_id: str
    n_files: int
    """Whose checksums were compared."""
    n_rows: int
    """Scored again and compared bit for bit; 0 where the inputs or the model are not the same any more, or where a
    replay without the input has put its rows at the end."""
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Nothing was found; another library version alone is a note, as long as the predictions are the same."""
        return all(finding.kind == "library changed" for finding in self.findings)


def verify(
    job: ScoringJob, value: str | None, pool: Pool, cache: ModelCache, sample_rows: int, seed: int
) -> Verification:
    """Compare a partition that readers see with its record.

    Args:
        job: The job.
        value: Partition value.
        pool: Workers.
        cache: Models of this host.
        sample_rows: Rows to score again, at least; they are neighbours, from a place drawn by the seed.
        seed: Of the draw.

    Raises:
        PartitionNotFoundError: Nothing is published.
    """
    folder = encode_folder(job.input.partition_key, value)
    live = open_publisher(Workspace(job)).live(value)
    if live is None:
        raise PartitionNotFoundError(
            "Nothing is published for this partition.",
            f"{job.output.uri}/{folder}",
            next_step="run it first",
        )
    state = state_store(job)
    manifest = find_manifest(state, folder, live.run_id) if live.run_id else None
    if manifest is None:
        found = (
            f"none of run {live.run_id}"
            if live.run_id
            else f"files of no one run: {', '.join(live.paths[:6])}"
        )
        missing = Finding("no record", f"{job.output.uri}/{folder}", "a manifest", found)
        return Verification(show_value(value), live.run_id or "", 0, 0, (missing,))
    (manifest,) = mark_dead_runs(state, [manifest])
    manifest = reconcile_with_live(state, manifest, live)
    files = manifest.output.files
    damaged = [*_check_paths(live, files), *_check_files(predictions_store(job), files)]
    damaged += _check_files(state, manifest.quarantine.files)
    partition, changed = _check_inputs(job, value, manifest)
    model, other_model = _check_model(job, manifest, cache)
    findings = [*damaged, *changed, *other_model, *_check_libraries(manifest)]
    n_rows = 0
    if partition is not None and model is not None and not damaged and manifest.in_order:
        n_rows, differing = _score_again(
            job, model, partition, manifest, pool, cache, sample_rows, seed
        )
        findings += differing
    n_files = len(manifest.output.files) + len(manifest.quarantine.files)
    return Verification(show_value(value), manifest.run_id, n_files, n_rows, tuple(findings))


def _check_paths(live: Live, files: Sequence[FileRecord]) -> Iterator[Finding]:
    """Rows that another writer added to the partition are read with it."""
    recorded = {file.path for file in files}
    for path in sorted(set(live.paths) - recorded):
        yield Finding("output damaged", path, "no such file in the partition", "readers see it")
    for path in sorted(recorded - set(live.paths)):
        yield Finding(
            "output damaged", path, "a file that readers see", "it is not in the partition any more"
        )


def _check_files(store: Store, files: Sequence[FileRecord]) -> Iterator[Finding]:
    for file in files:
        try:
            found = store.sha256(file.path)
        except LocationNotFoundError:
            found = "the file is gone"
        if found != file.sha256:
            yield Finding("output damaged", file.path, f"sha256 {file.sha256}", found)


def _check_inputs(
    job: ScoringJob, value: str | None, manifest: Manifest
) -> tuple[Partition | None, list[Finding]]:
    try:
        partition, _ = find_partition(Workspace(job), value)
    except InputError as error:
        found = "; ".join((error.what, *error.problems))
        return None, [Finding("input changed", job.input.uri, "the partition", found)]
    then = {
        file.path: f"{file.size_bytes:,} bytes, {file.version}" for file in manifest.inputs.files
    }
    now = {file.path: f"{file.size_bytes:,} bytes, {file.version}" for file in partition.files}
    findings = [
        Finding(
            "input changed", path, then.get(path, "no such file"), now.get(path, "the file is gone")
        )
        for path in sorted(then.keys() | now.keys())
        if then.get(path) != now.get(path)
    ]
    return None if findings else partition, findings


def _check_model(
    job: ScoringJob, manifest: Manifest, cache: ModelCache
) -> tuple[PinnedModel | None, list[Finding]]:
    uri = f"models:/{manifest.model.name}/{manifest.model.version}"
    try:
        model = PinnedModel.resolve(job.model_copy(update={"model": uri}), cache)
    except ScoringError as error:
        return None, [
            Finding(
                "model changed", uri, manifest.model.digest, f"{error.what} {error.found}".strip()
            )
        ]
    if model.cached.digest != manifest.model.digest:
        return None, [Finding("model changed", uri, manifest.model.digest, model.cached.digest)]
    return model, []


def _check_libraries(manifest: Manifest) -> list[Finding]:
    now = library_versions()
    return [
        Finding("library changed", name, version, now.get(name, "not installed"))
        for name, version in sorted(manifest.libraries.items())
        if now.get(name) != version
    ]


def _score_again(
    job: ScoringJob,
    model: PinnedModel,
    partition: Partition,
    manifest: Manifest,
    pool: Pool,
    cache: ModelCache,
    sample_rows: int,
    seed: int,
) -> tuple[int, list[Finding]]:
    facts = learn_facts(model, cache, pool)
    here = job.model_copy(update={"workers": Workers()})
    plan, contract = plan_partition(
        here, model, facts, partition, PlannedWorkers(pool.capacity, pool)
    )
    if not plan.n_rows:
        return 0, []
    footers = read_footers(Store(job.input.uri, job.input.storage_options), partition.files)
    starts = dict(
        zip(
            (f.file.path for f in footers),
            accumulate((f.n_rows for f in footers), initial=0),
            strict=False,
        )
    )
    shard, first_row = _sample(footers, plan.n_rows, sample_rows, seed)
    with tempfile.TemporaryDirectory(prefix="nightscore-verify-") as scratch:
        # What computed the run computes it again: a dense linear model's last bits depend on it.
        is_compiled = manifest.predictor is not None and manifest.predictor.engine == "compiled"
        apart = scratch_job(job, scratch).model_copy(
            update={"engine": "auto" if is_compiled else "library"}
        )
        # Not by the cache's own compiled form: it would agree with itself, whoever has written it.
        scratch_run = ScratchRun(apart, VERIFY_RUN, model, facts)
        (task,) = scratch_run.tasks(plan, contract, [shard], is_fresh=True)
        result = pool.call(score_shard, task, timeout_s=model_seconds(job) + job.limits.shard_s)
        store = state_store(apart)
        names = [*(column.name for column in contract.predictions), RUN_ID]
        again = _in_one(
            read_tables(store, result.part.file.path, names, READ_ROWS), contract, names
        )
        refused_again = _refused(store, result.quarantine_files, starts)
    refused = _refused(state_store(job), manifest.quarantine.files, starts)
    inside = refused[(refused >= first_row) & (refused < first_row + shard.n_rows)]
    where = f"{shard.n_rows:,} rows from row {first_row:,} of the partition"
    is_mixed = (
        bool(manifest.replays) and not manifest.fingerprint
    )  # its rows fell under several policies or models
    if not is_mixed and not np.array_equal(inside, refused_again):
        found = f"{len(refused_again):,} rows are refused now"
        return shard.n_rows, [
            Finding("predictions differ", where, f"{len(inside):,} rows quarantined", found)
        ]
    start = first_row - int((refused < first_row).sum())
    published = _published_rows(job, manifest, contract, start, shard.n_rows - len(inside))
    if published.num_rows != shard.n_rows - len(inside):
        found = f"{published.num_rows:,} rows are published"
        return shard.n_rows, [
            Finding("predictions differ", where, f"{shard.n_rows - len(inside):,} rows", found)
        ]
    places = np.arange(first_row, first_row + shard.n_rows)
    then, now = places[~np.isin(places, inside)], places[~np.isin(places, refused_again)]
    is_own = pc.is_in(
        published.column(RUN_ID).cast(pa.string()), _same_model(job, manifest, published)
    ).to_numpy()
    both = then[np.isin(then, now) & is_own]
    published, again = (
        published.filter(pa.array(np.isin(then, both))),
        again.filter(pa.array(np.isin(now, both))),
    )
    return len(both), _compare(published.drop([RUN_ID]), again.drop([RUN_ID]), where)


def _sample(footers: Sequence[Footer], n_rows: int, wanted: int, seed: int) -> tuple[Shard, int]:
    """Neighbouring rows, cut where batches keep the shape that they had; and the place of the first one."""
    n_sample = min(n_rows, -(-wanted // PAD_ROWS) * PAD_ROWS)
    n_places = (n_rows - n_sample) // PAD_ROWS
    first = random.Random(seed).randint(0, n_places) * PAD_ROWS  # noqa: S311
    last = n_rows if first // PAD_ROWS == n_places else first + n_sample
    pieces, start = [], 0
    for footer in footers:
        row = 0
        for index, group in enumerate(footer.row_groups):
            low, high = max(first, start + row), min(last, start + row + group.n_rows)
            if low < high:
                pieces.append(
                    Piece(footer.file, (index,), low - start, high - low, low - start - row)
                )
            row += group.n_rows
        start += footer.n_rows
    return Shard(0, tuple(pieces), last - first, 0, is_last=last == n_rows), first


def _refused(
    store: Store, files: Sequence[FileRecord], starts: Mapping[str, int]
) -> npt.NDArray[np.int64]:
    """Places of quarantined rows in the partition, counted from its first row; in order.

    Args:
        store: The state folder.
        files: Quarantined rows.
        starts: Place of each input file's first row.
    """
    origins = [read_origin(store, file.path) for file in files]
    return np.sort(
        np.concatenate([np.empty(0, np.int64), *(starts[name] + rows for name, rows in origins)])
    )


def _same_model(job: ScoringJob, manifest: Manifest, published: pa.Table) -> pa.Array:
    """Of the runs that rows come from, those with the manifest's model: a replay may have used another."""
    state, folder = state_store(job), encode_folder(manifest.partition_key, manifest.partition)
    ids = [
        run_id
        for run_id in pc.unique(published.column(RUN_ID)).to_pylist()
        if run_id != manifest.run_id
    ]
    found = [manifest, *filter(None, (find_manifest(state, folder, run_id) for run_id in ids))]
    return pa.array(
        [m.run_id for m in found if m.model.digest == manifest.model.digest], pa.string()
    )


def _published_rows(
    job: ScoringJob, manifest: Manifest, contract: Contract, start: int, n_rows: int
) -> pa.Table:
    """Predictions and run id of neighbouring published rows, by their place in the partition's output."""
    store, names = (
        predictions_store(job),
        [*(column.name for column in contract.predictions), RUN_ID],
    )
    parts: list[pa.Table] = []
    before = 0
    for file in manifest.output.files:
        low, high = max(start, before), min(start + n_rows, before + file.rows)
        if low < high:
            row = before
            for table in read_tables(store, file.path, names, READ_ROWS):
                a, b = max(low, row), min(high, row + table.num_rows)
                if a < b:
                    parts.append(table.slice(a - row, b - a))
                row += table.num_rows
        before += file.rows
    return _in_one(parts, contract, names)


def _in_one(tables: Iterable[pa.Table], contract: Contract, names: Sequence[str]) -> pa.Table:
    parts = list(tables)
    return (pa.concat_tables(parts) if parts else contract.output_schema().empty_table()).select(
        names
    )


def _compare(published: pa.Table, again: pa.Table, where: str) -> list[Finding]:
    findings = []
    for name in again.column_names:
        then, now = (
            _bits(published.column(name)),
            _bits(again.column(name).cast(published.schema.field(name).type)),
        )
        differing = np.flatnonzero(then != now)
        if len(differing):
            row = int(differing[0])
            findings.append(
                Finding(
                    "predictions differ",
                    f"{name}, {where}",
                    f"{published.column(name)[row].as_py()!r} as published, first in row {row:,} of them",
                    f"{again.column(name)[row].as_py()!r}; {len(differing):,} rows differ",
                )
            )
    return findings


def _bits(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Values that are equal where the column's are equal to the bit; NaN equals itself."""
    if pa.types.is_floating(column.type) and not column.null_count:
        values: npt.NDArray[Any] = column.to_numpy()
        return values.view(f"i{values.dtype.itemsize}")
    return np.array([repr(value) for value in column.to_pylist()], dtype=object)
