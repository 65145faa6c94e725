"""One run: a job on one partition, from the model's version to the manifest."""

import contextlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from datetime import datetime

from schemas.columns import Contract
from schemas.job import Limits, ScoringJob
from schemas.manifest import ColumnRecord, Counts, InputRecord, InputsRecord, Manifest, QuarantineRecord
from schemas.partition import Partition, Plan, encode_folder, show_value
from scoring.engine.checkpoints import forget, take_over
from scoring.engine.columns import merge_records
from scoring.engine.events import Listener, RunEnded, RunPlanned, ShardLost, ShardScored, log_event
from scoring.engine.policy import FIELDS, forbidden
from scoring.engine.pool import MAX_ATTEMPTS, WorkerPool
from scoring.engine.prepare import (
    PinnedModel,
    learn_facts,
    library_versions,
    plan_partition,
    version_warnings,
)
from scoring.engine.shard import ShardResult, ShardTask
from scoring.engine.worker import MAX_EXAMPLES
from scoring.errors import (
    ConflictError,
    ContractError,
    GateError,
    InputError,
    InterruptedRunError,
    QuarantineLimitError,
    ReconciliationError,
    ScoringError,
)
from scoring.gates import check_gates
from scoring.inputs.partitions import check_unchanged, find_partition
from scoring.models.cache import ModelCache
from scoring.outputs.duplicates import Duplicates, find_duplicates
from scoring.outputs.layout import (
    part_path,
    predictions_store,
    sealed_history_path,
    staging_folder,
    state_store,
)
from scoring.outputs.manifests import standing_manifest, undecided, write_manifest
from scoring.outputs.publish import Live, Publication, Publisher, open_publisher
from scoring.outputs.record import RunRecord
from scoring.outputs.sealed import seal
from scoring.outputs.writer import PartWriter, WrittenPart

ENGINE = importlib.metadata.version("nightscore")


class RunInterrupted(KeyboardInterrupt):
    """A run was stopped from outside."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.manifest = manifest


def run(
    job: ScoringJob,
    value: str | None,
    *,
    pool: WorkerPool,
    cache: ModelCache,
    now: datetime,
    force: bool = False,
    model: PinnedModel | None = None,
    listeners: Sequence[Listener] = (),
) -> Manifest:
    """Score one partition and publish it, unless the same is published already.

    Args:
        job: What to score.
        value: Partition value; None for Hive's default partition.
        pool: Workers, warm or not.
        cache: Models of this host.
        now: The start, in UTC.
        force: Score again what is published already.
        model: Already resolved, for several partitions with one model; None: resolve the job's own.
        listeners: Told what happens, besides the log.

    Returns:
        The manifest: `published`, `unchanged` (that of the run that stands), or `failed` with the error.

    Raises:
        RunInterrupted: Ctrl-C or SIGTERM; recorded as failed, nothing was published.
    """
    folder = encode_folder(job.input.partition_key, value)
    record = RunRecord(job, value, folder, now, ENGINE)
    attempt = _Attempt(job, value, folder, record, pool, cache, [log_event, *listeners])
    try:
        manifest = attempt.score(force=force, model=model)
    except ScoringError as error:
        manifest = attempt.fail(error)
    except KeyboardInterrupt as error:
        pool.kill()
        interrupted = InterruptedRunError("The run was interrupted; nothing was published.", folder)
        raise RunInterrupted(attempt.fail(interrupted)) from error
    except BaseException as error:
        pool.kill()
        attempt.fail(error)
        raise
    attempt.tell_end(manifest)
    return manifest


def allowed_rows(limits: Limits, n_rows: int) -> int:
    """Rows that may be quarantined of `n_rows`: of two limits both must hold, one left at 0 is not in force."""
    by_share = int(limits.max_quarantined_share * n_rows)
    if limits.max_quarantined_rows and limits.max_quarantined_share:
        return min(limits.max_quarantined_rows, by_share)
    return limits.max_quarantined_rows or by_share


class _Attempt:
    """The state of one run on its way."""

    def __init__(
        self,
        job: ScoringJob,
        value: str | None,
        folder: str,
        record: RunRecord,
        pool: WorkerPool,
        cache: ModelCache,
        listeners: Sequence[Listener],
    ) -> None:
        self._job, self._value, self._folder = job, value, folder
        self._record, self._pool, self._cache, self._listeners = record, pool, cache, listeners
        self._shown = show_value(value)
        self._results: list[ShardResult] = []
        self._resumed: list[ShardResult] = []
        """What an earlier attempt had finished."""
        self._cpu_s_before = sum(pool.cpu_s_by_pid.values())
        self._committing: Publisher | None = None
        """Set while it is open whether readers see this run: its files must stay."""

    @property
    def worker_cpu_s(self) -> float:
        return sum(self._pool.cpu_s_by_pid.values()) - self._cpu_s_before

    def score(self, *, force: bool, model: PinnedModel | None) -> Manifest:
        """The sentence that the whole package is about."""
        record, job = self._record, self._job
        with record.stage("model"):
            model = model or PinnedModel.of(job, self._cache)
            record.update(model=model.record(job), forced=force)
        with record.stage("plan"):
            partition, ignored = find_partition(job, self._value)
            publisher = open_publisher(job)
            live = publisher.live(self._value)
            if not force and (standing := self._standing(model, partition, live)) is not None:
                return standing
            fingerprint = model.fingerprint(job, partition)
            if not force and (waiting := undecided(state_store(job), self._folder, fingerprint)) is not None:
                return waiting
            record.update(
                fingerprint=fingerprint,
                libraries=library_versions(),
                inputs=_inputs(job, partition),
                replaces=live.run_id if live else None,
            )
            if dead := take_over(job, self._folder, fingerprint):
                record.go_on(dead.manifest)
            record.save("running")
            publisher.check()
            facts = learn_facts(model, self._cache, self._pool)
            record.update(model=model.record(job, facts), warnings=(*_ignored(ignored), *version_warnings(facts)))
            plan, contract = plan_partition(job, model, facts, partition, dead.cut_for if dead else None)
            self._resumed = dead.fitting(plan.shards) if dead else []
            publisher.check_fits(contract.output_schema())
            record.update(inputs=_inputs(job, partition, plan.extra_columns))
        with record.stage("score"):
            tasks = self._tasks(plan, contract, model, facts)
            self._tell_plan(plan)
            for result in self._pool.score(tasks, plan.memory.n_workers, self._tell_lost):
                self._results.append(result)
                self._tell_scored(result)
        self._summarize(plan)
        self._reconcile(plan)
        with record.stage("publish"):
            check_unchanged(job, partition)
            parts = self._finish_parts(publisher, plan, contract, live)
            if self._check_gates(publisher, parts):
                return self._hold()
            if parts:
                self._publish(publisher, plan, contract, live, parts)
        with contextlib.suppress(ScoringError, OSError):
            forget(job, record.run_id)
        return record.end_published(self.worker_cpu_s)

    def fail(self, error: BaseException) -> Manifest:
        """Record the failure; a commit that succeeded although its caller heard otherwise is a publication."""
        if self._committing is not None:
            live = None
            with contextlib.suppress(ScoringError):
                live = self._committing.live(self._value)
            if live is not None and live.run_id == self._record.run_id:
                return self._record.end_published(self.worker_cpu_s)
        elif not getattr(error, "resumable", False):
            self._sweep()
        return self._record.fail(error, self.worker_cpu_s)

    def _sweep(self) -> None:
        """Remove what an unpublished run wrote; what cannot be removed now is left to `clean`."""
        job = self._job
        with contextlib.suppress(ScoringError, OSError):
            forget(job, self._record.run_id)
            if job.output.format == "delta":
                predictions_store(job).delete([result.part.file.path for result in self._results])
            else:
                state_store(job).delete_tree(staging_folder(self._record.run_id))
                state_store(job).delete([sealed_history_path(self._folder, self._record.run_id)])

    def tell_end(self, manifest: Manifest) -> None:
        counts = manifest.counts
        event = RunEnded(
            manifest.run_id,
            self._shown,
            manifest.status,
            counts.rows_in,
            counts.rows_quarantined,
            manifest.measures.total_s if manifest.status != "unchanged" else 0.0,
        )
        for listener in self._listeners:
            listener(event)

    def _standing(self, model: PinnedModel, partition: Partition, live: Live | None) -> Manifest | None:
        """The manifest of the published run, if scoring again would give the same."""
        if live is None or live.run_id is None:
            return None
        store = state_store(self._job)
        found = standing_manifest(store, self._folder, live.run_id)
        if found is None or found.fingerprint != model.fingerprint(self._job, partition):
            return None
        if found.status != "published":  # it died between its commit and its last word
            found = write_manifest(
                store, self._folder, found.model_copy(update={"status": "published", "error": None})
            )
        return found.model_copy(update={"status": "unchanged"})

    def _tasks(self, plan: Plan, contract: Contract, model: PinnedModel, facts: object) -> list[ShardTask]:
        done = {result.index for result in self._resumed}
        return [
            ShardTask(
                self._job,
                self._record.run_id,
                self._folder,
                model.cached.path,
                model.version.version,
                facts,  # type: ignore[arg-type]
                contract,
                shard,
                plan.memory.batch_rows,
                allowed_rows(self._job.limits, plan.n_rows),
                plan.n_rows,
                plan.cut_for,
                first_attempt=MAX_ATTEMPTS * (self._record.manifest.attempts - 1),
            )
            for shard in plan.shards
            if shard.index not in done
        ]

    def _summarize(self, plan: Plan) -> None:
        results = self._all_results()
        by_reason: dict[str, int] = {}
        by_column: dict[str, int] = {}
        for result in results:
            for total, part in ((by_reason, result.by_reason), (by_column, result.by_column)):
                for name, count in part.items():
                    total[name] = total.get(name, 0) + count
        peaks: dict[int, int] = {}
        for result in self._results:
            peaks[result.pid] = max(peaks.get(result.pid, 0), result.peak_bytes)
        stages = dict(self._record.manifest.measures.stages_s)
        for result in self._results:
            for name, seconds in result.stages_s.items():
                stages[f"workers_{name}"] = round(stages.get(f"workers_{name}", 0.0) + seconds, 4)
        rows_in = sum(result.rows_in for result in results)
        columns = merge_records(column for result in results for column in result.columns)
        self._record.update(
            counts=Counts(
                rows_in=rows_in,
                rows_scored=sum(result.part.file.rows for result in results),
                rows_quarantined=sum(result.rows_quarantined for result in results),
            ),
            columns=columns,
            warnings=(*self._record.manifest.warnings, *_nulled(columns)),
            quarantine=QuarantineRecord(
                by_reason=by_reason,
                by_column=by_column,
                examples=tuple(e for result in results for e in result.examples)[:MAX_EXAMPLES],
                files=tuple(file for result in results for file in result.quarantine_files),
            ),
        )
        self._record.measure(
            stages_s=stages,
            peak_worker_bytes=tuple(sorted(peaks.values(), reverse=True)),
            rows_per_s=round(sum(result.rows_in for result in self._results) / max(stages["score"], 1e-9), 1),
            bytes_in=plan.n_bytes,
            bytes_out=sum(result.part.file.size_bytes for result in results),
            n_shards=len(plan.shards),
            n_shards_resumed=len(self._resumed),
            n_workers=len(peaks),
            slowest_shard_s=round(max((result.wall_s for result in self._results), default=0.0), 4),
        )

    def _all_results(self) -> list[ShardResult]:
        return sorted([*self._resumed, *self._results], key=lambda result: result.index)

    def _reconcile(self, plan: Plan) -> None:
        counts = self._record.manifest.counts
        gave_up = next((result.gave_up for result in self._results if result.gave_up), "")
        if gave_up:
            raise _too_many(self._record.manifest, allowed_rows(self._job.limits, plan.n_rows), gave_up)
        if plan.n_rows != counts.rows_in or counts.rows_in != counts.rows_scored + counts.rows_quarantined:
            raise ReconciliationError(
                "The rows do not add up; nothing was published.",
                self._folder,
                expected=f"{plan.n_rows:,} rows by the footers = read = scored + quarantined",
                found=f"{counts.rows_in:,} read, {counts.rows_scored:,} scored, "
                f"{counts.rows_quarantined:,} quarantined",
                next_step="report this as a defect of nightscore, with the manifest",
            )
        if refused := forbidden(self._job.policy, self._record.manifest.quarantine.by_reason):
            raise _too_many(self._record.manifest, 0, refused=refused)
        allowed = allowed_rows(self._job.limits, plan.n_rows)
        if counts.rows_quarantined > allowed:
            raise _too_many(self._record.manifest, allowed)

    def _finish_parts(
        self, publisher: Publisher, plan: Plan, contract: Contract, live: Live | None
    ) -> tuple[WrittenPart, ...]:
        """The files that readers will see; none if the whole input has no file to take columns from."""
        parts = [result.part for result in self._all_results()]
        if not contract.kept and not contract.features and not parts:
            if live is None:
                return ()
            raise InputError(
                "The partition has no files, and no other has any to take the columns from; nothing was published.",
                self._folder,
                expected="a file with the columns, which may have no rows",
                found=f"no files, while readers see the predictions of run {live.run_id}",
                next_step="write a file without rows if the partition is meant to be empty",
            )
        if not parts:
            parts = [self._empty_part(publisher, contract)]
        if not publisher.writes_in_place:
            schema = contract.output_schema()
            parts = [self._pool.call(seal, self._job, self._folder, self._record.run_id, parts, schema)]
        output = self._record.manifest.output
        self._record.update(output=output.model_copy(update={"files": tuple(p.file for p in parts)}))
        return tuple(parts)

    def _check_gates(self, publisher: Publisher, parts: Sequence[WrittenPart]) -> bool:
        """Whether the run is to be held.

        Raises:
            GateError: A gate says `fail`; nothing was published.
        """
        twice = Duplicates(0, ())
        if self._job.keys.unique and parts:
            store = predictions_store(self._job) if publisher.writes_in_place else state_store(self._job)
            keys = [name for name in self._job.keys.columns if name != self._job.input.partition_key]
            twice = self._pool.call(find_duplicates, store, [part.file.path for part in parts], keys)
        gates = check_gates(self._job, self._record.manifest, twice.n_rows, twice.examples)
        closed = [gate for gate in gates if not gate.passed]
        notes = [f"{gate.gate}: expected {gate.expected}, found {gate.found}" for gate in closed]
        self._record.update(gates=tuple(gates), warnings=(*self._record.manifest.warnings, *notes))
        if any(gate.action == "fail" for gate in closed):
            raise GateError(
                "The run does not pass its gates; nothing was published.",
                self._folder,
                problems=notes,
                next_step="look at the input and the model; change `gates` in the job file only if this is right",
            )
        return any(gate.action == "hold" for gate in closed)

    def _hold(self) -> Manifest:
        """Leave the partition complete and unpublished until a person decides."""
        with contextlib.suppress(ScoringError, OSError):
            forget(self._job, self._record.run_id)
        return self._record.end("held", self.worker_cpu_s)

    def _publish(
        self,
        publisher: Publisher,
        plan: Plan,
        contract: Contract,
        live: Live | None,
        parts: tuple[WrittenPart, ...],
    ) -> None:
        record, job = self._record, self._job
        publication = Publication(
            record.run_id,
            plan.fingerprint,
            job.input.partition_key,
            self._value,
            self._folder,
            parts,
            contract.output_schema(),
        )
        record.save("prepared")
        self._committing = publisher
        try:
            placed, version = publisher.publish(publication, live)
        except (ConflictError, ContractError):
            self._committing = None
            raise
        files = tuple(part.file for part in placed)
        record.update(output=record.manifest.output.model_copy(update={"files": files, "table_version": version}))

    def _empty_part(self, publisher: Publisher, contract: Contract) -> WrittenPart:
        """A partition without rows is published as such: readers' old rows must go."""
        in_place = publisher.writes_in_place
        store = predictions_store(self._job) if in_place else state_store(self._job)
        folder = self._folder if in_place else staging_folder(self._record.run_id)
        path = part_path(folder, self._record.run_id, 0, 0)
        with PartWriter(store, path, contract.output_schema(), keep_types=not in_place) as writer:
            return writer.close()

    def _tell_plan(self, plan: Plan) -> None:
        event = RunPlanned(
            self._record.run_id,
            self._shown,
            plan.n_rows,
            plan.n_bytes,
            len(plan.shards),
            plan.memory.n_workers,
            sum(result.rows_in for result in self._resumed),
        )
        for listener in self._listeners:
            listener(event)

    def _tell_scored(self, result: ShardResult) -> None:
        event = ShardScored(
            self._record.run_id,
            self._shown,
            result.index,
            result.rows_in,
            result.rows_quarantined,
            result.wall_s,
        )
        for listener in self._listeners:
            listener(event)

    def _tell_lost(self, task: ShardTask) -> None:
        event = ShardLost(self._record.run_id, self._shown, task.shard.index, task.attempt)
        for listener in self._listeners:
            listener(event)


def _inputs(job: ScoringJob, partition: Partition, extra: tuple[str, ...] = ()) -> InputsRecord:
    files = tuple(InputRecord(path=f.path, size_bytes=f.size_bytes, version=f.version) for f in partition.files)
    return InputsRecord(uri=job.input.uri, files=files, extra_columns=extra)


def _ignored(paths: Sequence[str]) -> list[str]:
    if not paths:
        return []
    named = ", ".join(paths[:5])
    return [f"{len(paths)} files are not named as Parquet (.parquet, .parq, .pq) and were not read: {named}"]


def _nulled(columns: Sequence[ColumnRecord]) -> list[str]:
    """Said aloud, though the job allows it: the model saw something else than the file has."""
    return [
        f"policy.cast is pass: the model was given a missing value in place of {column.nulled:,} "
        f"value{'s'[: column.nulled != 1]} of {column.name}"
        for column in columns
        if column.nulled
    ]


def _too_many(
    manifest: Manifest, allowed: int, gave_up: str = "", refused: Mapping[str, int] | None = None
) -> QuarantineLimitError:
    counts, quarantine = manifest.counts, manifest.quarantine
    reasons = ", ".join(f"{name} {count:,}" for name, count in sorted(quarantine.by_reason.items()))
    columns = sorted(quarantine.by_column.items(), key=lambda item: -item[1])
    problems = [f"{name} in {count:,} rows" for name, count in columns[:20]]
    problems += [f"the count was given up: {gave_up}"] if gave_up else []
    problems += [
        f"{e.source_file} row {e.source_row}: {e.reason}{f' in {e.column}' if e.column else ''}: {e.message}"
        for e in quarantine.examples
    ]
    places = ", ".join(file.path for file in quarantine.files[:3])
    return QuarantineLimitError(
        f"{'At least ' if gave_up else ''}{counts.rows_quarantined:,} of {counts.rows_in:,} rows cannot be scored; "
        "nothing was published.",
        f"{manifest.partition_key}={show_value(manifest.partition)}",
        expected=f"at most {allowed:,} rows (limits.max_quarantined_rows, limits.max_quarantined_share)"
        if refused is None
        else f"no row: policy says error for {', '.join(sorted({FIELDS[reason] for reason in refused}))}",
        found=reasons,
        problems=problems,
        next_step=f"look at the quarantined rows ({places}); correct the input, or raise the limits in the job file",
    )
