"""Scores a sample of a published partition again, and compares it bit for bit."""

import math
import random
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.assignment import Assignment
from nightscore.arrow.parsing.files import read_tables
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.pool import Pool
from nightscore.engine.scratch import ScratchRun, scratch_job
from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.padding import PAD_ROWS
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.inputs.footers import Footer, read_footers
from nightscore.ledger.manifest_files import find_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel, model_seconds
from nightscore.outputs.quarantine import read_origin
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob, Workers
from nightscore.schemas.manifest import FileRecord, Manifest
from nightscore.schemas.partition import Partition, Piece, Shard
from nightscore.storage.store import Store

Kind = Literal[
    "output damaged",
    "input changed",
    "model changed",
    "library changed",
    "predictions differ",
    "no record",
]
Places = npt.NDArray[np.int64]
"""Rows of the partition, counted from its first one."""

READ_ROWS = 65_536
VERIFY_RUN = "verify"
ARM_RUN = "verify-arm"
RUN_ID = "run_id"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the record says."""

    kind: Kind
    where: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What to score again."""

    model: PinnedModel
    partition: Partition
    manifest: Manifest
    """The record of the published run."""
    n_rows: int
    """Least number of rows."""
    seed: int
    """Decides where the sample begins."""
    challenger: PinnedModel | None = None
    """Of a canary: it scores its arm again. None: there was no canary."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What came of it."""

    n_rows: int
    """Rows that were compared."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Rescored:
    """The rows of the sample as they are scored now."""

    shard: Shard
    first_row: int
    """Where the sample begins in the partition."""
    contract: Contract
    predictions: pa.Table
    quarantined: Places
    first_rows: Mapping[str, int]
    """First row of each input file in the partition."""
    failures: Sequence[str] = ()
    """Why a canary's challenger could not score its arm again; none: it has."""

    @property
    def where(self) -> str:
        """The sample, as findings name it."""
        return f"{self.shard.n_rows:,} rows from row {self.first_row:,} of the partition"


def score_sample(
    workspace: Workspace, request: SampleRequest, pool: Pool, cache: ModelCache
) -> Sample:
    """Score neighbouring rows again, and compare them with what readers see.

    Args:
        workspace: Of the job.
        request: What to score again.
        pool: Workers.
        cache: Models of this host.
    """
    rescored = _score_again(workspace, request, pool, cache)
    if rescored is None:
        return Sample(0, ())

    if rescored.failures:
        return _differs(rescored, "the challenger scores its arm", rescored.failures[0])

    manifest, shard, first_row = request.manifest, rescored.shard, rescored.first_row
    quarantined = _quarantined_rows(workspace.state, manifest.quarantine.files, rescored.first_rows)
    is_inside = (quarantined >= first_row) & (quarantined < first_row + shard.n_rows)
    inside = quarantined[is_inside]

    # Rows of a replay may have been quarantined under several policies or models.
    is_mixed = bool(manifest.replays) and not manifest.fingerprint
    if not is_mixed and not np.array_equal(inside, rescored.quarantined):
        return _differs(
            rescored,
            f"{len(inside):,} rows quarantined",
            f"{len(rescored.quarantined):,} rows are refused now",
        )

    n_before = int((quarantined < first_row).sum())
    n_published = shard.n_rows - len(inside)
    published = _published_rows(
        workspace, manifest, rescored.contract, first_row - n_before, n_published
    )
    if published.num_rows != n_published:
        return _differs(
            rescored, f"{n_published:,} rows", f"{published.num_rows:,} rows are published"
        )

    return _compare_rows(workspace, manifest, rescored, published, inside)


def _score_again(
    workspace: Workspace, request: SampleRequest, pool: Pool, cache: ModelCache
) -> _Rescored | None:
    """The sample, scored on this machine. None: the partition has no rows."""
    job, model, partition = workspace.job, request.model, request.partition
    facts = learn_facts(model, cache, pool)
    local_job = job.model_copy(update={"workers": Workers()})
    workers = PlannedWorkers(pool.capacity, pool)
    plan, contract = plan_partition(local_job, model, facts, partition, workers)
    if not plan.n_rows:
        return None

    footers = read_footers(workspace.inputs, partition.files)
    ends = accumulate((footer.n_rows for footer in footers), initial=0)
    paths = (footer.file.path for footer in footers)
    first_rows = dict(zip(paths, ends, strict=False))
    shard, first_row = _draw_sample(footers, plan.n_rows, request)

    with tempfile.TemporaryDirectory(prefix="nightscore-verify-") as folder:
        # The last bits of a dense linear model depend on what computed them.
        predictor = request.manifest.predictor
        is_compiled = predictor is not None and predictor.engine == "compiled"
        engine = "auto" if is_compiled else "library"
        changes = {"engine": engine, "repeated_rows": "each"}
        scratch = Workspace(scratch_job(job, folder).model_copy(update=changes))

        # The cached form of the model would agree with itself, whoever has written it.
        scratch_run = ScratchRun(scratch.job, VERIFY_RUN, model, facts)
        (task,) = scratch_run.tasks(plan, contract, [shard], is_fresh=True)
        timeout_s = model_seconds(job) + job.limits.shard_s
        if request.challenger is not None:
            arm_task = _arm_task(scratch.job, request, task, pool, cache)
            task = replace(task, challengers=(arm_task,), max_overhead=math.inf)

        result = pool.call(score_shard, task, timeout_s=timeout_s)
        failures = [one.failure for one in result.challengers if one.failure]

        names = _compared_names(contract)
        batches = read_tables(scratch.state, result.part.file.path, names, READ_ROWS)

        return _Rescored(
            shard,
            first_row,
            contract,
            _concat(batches, contract, names),
            _quarantined_rows(scratch.state, result.quarantine_files, first_rows),
            first_rows,
            failures,
        )


def _compared_names(contract: Contract) -> list[str]:
    """Columns that are compared, and the run that decides which rows are."""
    return [*(column.name for column in contract.predictions), "model_version", RUN_ID]


def _arm_task(
    job: ScoringJob, request: SampleRequest, champion: ShardTask, pool: Pool, cache: ModelCache
) -> ShardTask:
    """The task of a canary's challenger for the shard of the champion's task."""
    canary, model = request.manifest.canary, request.challenger
    assert canary is not None and model is not None  # noqa: S101

    engine = "library" if canary.engine == "library" else "auto"
    job = job.model_copy(update={"model": model.version.uri, "engine": engine})

    facts = learn_facts(model, cache, pool)
    workers = PlannedWorkers(pool.capacity, pool)
    plan, contract = plan_partition(job, model, facts, request.partition, workers)

    scratch_run = ScratchRun(job, ARM_RUN, model, facts)
    (task,) = scratch_run.tasks(plan, contract, [champion.shard], is_fresh=True)

    return replace(
        task,
        batch_rows=champion.batch_rows,
        prefetch_bytes=champion.prefetch_bytes,
        in_threads=champion.in_threads,
        assignment=Assignment.of(canary),
    )


def _differs(rescored: _Rescored, expected: str, found: str) -> Sample:
    finding = Finding("predictions differ", rescored.where, expected, found)
    return Sample(rescored.shard.n_rows, (finding,))


def _compare_rows(
    workspace: Workspace,
    manifest: Manifest,
    rescored: _Rescored,
    published: pa.Table,
    quarantined: Places,
) -> Sample:
    """Compare the rows that are published and were scored again, by the same model."""
    rows = np.arange(rescored.first_row, rescored.first_row + rescored.shard.n_rows)
    published_rows = rows[~np.isin(rows, quarantined)]
    rescored_rows = rows[~np.isin(rows, rescored.quarantined)]

    run_ids = published.column(RUN_ID).cast(pa.string())
    comparable_runs = _runs_with_the_model(workspace, manifest, published)
    is_comparable = pc.is_in(run_ids, comparable_runs).to_numpy()
    both = published_rows[np.isin(published_rows, rescored_rows) & is_comparable]

    before = published.filter(pa.array(np.isin(published_rows, both)))
    again = rescored.predictions.filter(pa.array(np.isin(rescored_rows, both)))
    findings = _compare(before.drop([RUN_ID]), again.drop([RUN_ID]), rescored.where)

    return Sample(len(both), tuple(findings))


def _draw_sample(
    footers: Sequence[Footer], n_rows: int, request: SampleRequest
) -> tuple[Shard, int]:
    """Neighbouring rows as a shard, and the place of the first one.

    It is cut where batches keep the shape that they had.
    """
    n_sample = min(n_rows, -(-request.n_rows // PAD_ROWS) * PAD_ROWS)
    n_places = (n_rows - n_sample) // PAD_ROWS
    place = random.Random(request.seed).randint(0, n_places)  # noqa: S311
    first = place * PAD_ROWS
    last = n_rows if place == n_places else first + n_sample

    pieces = []
    file_start = 0
    for footer in footers:
        row = 0
        for index, group in enumerate(footer.row_groups):
            group_start = file_start + row
            low, high = max(first, group_start), min(last, group_start + group.n_rows)
            if low < high:
                piece = Piece(
                    footer.file, (index,), low - file_start, high - low, low - group_start
                )
                pieces.append(piece)

            row += group.n_rows

        file_start += footer.n_rows

    shard = Shard(0, tuple(pieces), last - first, 0, is_last=last == n_rows)
    return shard, first


def _quarantined_rows(
    store: Store, files: Sequence[FileRecord], first_rows: Mapping[str, int]
) -> Places:
    """The quarantined rows of the partition, in order.

    Args:
        store: The state folder.
        files: Of the quarantine.
        first_rows: First row of each input file in the partition.
    """
    origins = [read_origin(store, file.path) for file in files]
    places = [first_rows[name] + rows for name, rows in origins]

    return np.sort(np.concatenate([np.empty(0, np.int64), *places]))


def _runs_with_the_model(workspace: Workspace, manifest: Manifest, published: pa.Table) -> pa.Array:
    """The runs that rows come from, with the manifest's model. A replay may have another.

    A replay without a fingerprint may have scored all its rows by the job's own model, whichever
    arm of a canary they are of.
    """
    folder = workspace.folder(manifest.partition)
    records: list[Manifest | None] = [manifest]
    for run_id in pc.unique(published.column(RUN_ID)).to_pylist():
        if run_id != manifest.run_id:
            records.append(find_manifest(workspace.state, folder, run_id))

    digest = manifest.model.digest
    alike = [record for record in records if record and record.model.digest == digest]
    if manifest.canary is not None:
        alike = [record for record in alike if record.fingerprint or not record.replays]

    return pa.array([record.run_id for record in alike], pa.string())


def _published_rows(
    workspace: Workspace, manifest: Manifest, contract: Contract, start: int, n_rows: int
) -> pa.Table:
    """Predictions and run id of neighbouring published rows, by their place in the output."""
    names = _compared_names(contract)
    end = start + n_rows
    parts: list[pa.Table] = []
    file_start = 0
    for file in manifest.output.files:
        file_end = file_start + file.rows
        if max(start, file_start) < min(end, file_end):
            row = file_start
            for table in read_tables(workspace.predictions, file.path, names, READ_ROWS):
                low, high = max(start, row), min(end, row + table.num_rows)
                if low < high:
                    parts.append(table.slice(low - row, high - low))
                row += table.num_rows

        file_start = file_end

    return _concat(parts, contract, names)


def _concat(tables: Iterable[pa.Table], contract: Contract, names: Sequence[str]) -> pa.Table:
    parts = list(tables) or [contract.output_schema().empty_table().select(names)]
    return pa.concat_tables(parts).select(names)


def _compare(published: pa.Table, again: pa.Table, where: str) -> list[Finding]:
    findings = []
    for name in again.column_names:
        before = published.column(name)
        now = again.column(name)
        stored_type = published.schema.field(name).type
        differing = np.flatnonzero(_bits(before) != _bits(now.cast(stored_type)))
        if len(differing):
            row = int(differing[0])
            finding = Finding(
                "predictions differ",
                f"{name}, {where}",
                f"{before[row].as_py()!r} as published, first in row {row:,} of them",
                f"{now[row].as_py()!r}; {len(differing):,} rows differ",
            )
            findings.append(finding)

    return findings


def _bits(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Values that are equal where the column's are equal to the bit. NaN equals itself."""
    if pa.types.is_floating(column.type) and not column.null_count:
        values: npt.NDArray[Any] = column.to_numpy()
        return values.view(f"i{values.dtype.itemsize}")
    return np.array([repr(value) for value in column.to_pylist()], dtype=object)
