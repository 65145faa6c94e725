"""One attempt at a partition: what a run and a replay have in common."""

import contextlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from nightscore.arrow.parsing import client
from nightscore.drift.assess import Drift, assess, drift_gate, keep
from nightscore.drift.profiling import watch, with_types
from nightscore.drift.references import References
from nightscore.engine.checkpoints import forget
from nightscore.engine.events import (
    Listener,
    RunEnded,
    RunPlanned,
    ShardLost,
    ShardScored,
    log_event,
    logger,
)
from nightscore.engine.policy import FIELDS, forbidden
from nightscore.engine.pool import Pool
from nightscore.engine.predictor_records import merge_predictors, predictor_warnings
from nightscore.engine.retry import MAX_ATTEMPTS
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker.bin_sampling import sample_bins
from nightscore.engine.worker.rejected_rows import MAX_EXAMPLES
from nightscore.engine.worker.worker_model import make_machine_code
from nightscore.errors import (
    ConflictError,
    ContractError,
    GateError,
    InputError,
    InterruptedRunError,
    QuarantineLimitError,
    ReconciliationError,
    ScoringError,
)
from nightscore.ledger.formats import format_of
from nightscore.ledger.layout import (
    part_path,
    parts_folder,
    sealed_history_path,
    staging_folder,
)
from nightscore.ledger.lease import LONG_WAIT_S, Lease
from nightscore.ledger.live import Live
from nightscore.ledger.record import RunRecord
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel, model_seconds
from nightscore.native.machine_code import has_machine_code
from nightscore.outputs.duplicates import Duplicates, find_duplicates
from nightscore.outputs.guarantees import missing_guarantees
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publication, Publisher
from nightscore.outputs.writer import PartWriter, WrittenPart
from nightscore.process import available_bytes
from nightscore.profiles.column_records import merge_records
from nightscore.profiles.profile_spec import NO_PROFILE
from nightscore.runs.gates import check_gates
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import Limits, ScoringJob
from nightscore.schemas.manifest import (
    ColumnRecord,
    Counts,
    GateRecord,
    InputRecord,
    InputsRecord,
    Manifest,
    QuarantineRecord,
)
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import MemoryPlan, Partition, Plan, show_value

ENGINE = importlib.metadata.version("nightscore")


RESERVED_BYTES = 512 << 20
"""Address space for libraries that are loaded and arenas that are reserved while a shard is scored."""


class RunInterrupted(KeyboardInterrupt):
    """A run was stopped from outside."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.manifest = manifest


def allowed_rows(limits: Limits, n_rows: int) -> int:
    """Rows that may be quarantined of `n_rows`: of two limits both must hold, one left at 0 is not in force."""
    by_share = int(limits.max_quarantined_share * n_rows)
    if limits.max_quarantined_rows and limits.max_quarantined_share:
        return min(limits.max_quarantined_rows, by_share)
    return limits.max_quarantined_rows or by_share


class Attempt:
    """The state of one run on its way."""

    def __init__(
        self,
        workspace: Workspace,
        value: str | None,
        pool: Pool,
        cache: ModelCache,
        now: datetime,
        listeners: Sequence[Listener] = (),
        command: str = "run",
    ) -> None:
        """Nothing is done yet; see `run` for the arguments."""
        job = workspace.job
        self.workspace = workspace
        self.job, self.value, self.pool, self.cache = job, value, pool, cache
        self.folder = workspace.folder(value)
        self.source = job
        """Whose input is read."""
        self._is_replay = False
        self._n_rows: int | None = None
        """Of the partition, where the plan has some of its rows only."""
        self.record = RunRecord(workspace, value, now, ENGINE)
        self.lease = Lease(job, self.folder, command)
        """Held while a dead run is taken over, and while readers get new results; scoring changes nothing."""
        self.results: list[ShardResult] = []
        self.resumed: list[ShardResult] = []
        """What an earlier attempt had finished."""
        self.written: list[str] = []
        """Further files of this attempt, beside the workers' parts."""
        self.references: References | None = None
        """What the columns are compared with; None: they are not profiled."""
        self.drift: Drift | None = None
        self.drift_trouble = ""
        """Why the columns were not compared, though they were to be."""
        self._listeners = [log_event, *listeners]
        self._shown = show_value(value)
        self._cpu_s_before = sum(pool.cpu_s_by_pid.values())
        self._committing: Publisher | None = None
        """Set while it is open whether readers see this run: its files must stay."""

    def carry_out(self, score: Callable[[], Manifest]) -> Manifest:
        """Do the work, and leave a record however it ends.

        Raises:
            RunInterrupted: Ctrl-C or SIGTERM; recorded as failed, nothing was published.
        """
        try:
            with self.record.heartbeats():
                manifest = score()
        except ScoringError as error:
            manifest = self.fail(error)
        except KeyboardInterrupt as error:
            self.pool.kill()
            interrupted = InterruptedRunError(
                "The run was interrupted; nothing was published.",
                self.folder,
                next_step="run again: it goes on with the shards that are finished",
            )
            raise RunInterrupted(self.fail(interrupted)) from error
        except BaseException as error:
            self.pool.kill()
            self.fail(error)
            raise
        finally:
            self.lease.release()
        self._tell_end(manifest)
        return manifest

    @property
    def worker_cpu_s(self) -> float:
        return sum(self.pool.cpu_s_by_pid.values()) - self._cpu_s_before

    def tell_promises(self) -> list[str]:
        """Say, before anything is read, what the output's store cannot keep; returned for the record."""
        missing = missing_guarantees(self.job)
        for note in missing:
            logger.warning("run_id=%s partition=%s %s", self.record.run_id, self._shown, note)
        return missing

    def score_shards(
        self, plan: Plan, contract: Contract, model: PinnedModel, facts: ModelFacts
    ) -> None:
        """Have the workers score what is not done yet."""
        tasks = self._tasks(plan, contract, model, facts)
        self._tell_plan(plan)
        if self.job.limits.memory_bytes is not None:
            client.end_all()  # the plan leaves it no memory; who needs it later starts it again
        if tasks:
            self.pool.prepare(min(plan.memory.n_processes, len(tasks)))
        tasks = self._watch(tasks, contract)
        is_compiled = bool(tasks) and not plan.fallback_reason
        if is_compiled and self.pool.is_local and not has_machine_code(model.cached.path.parent):
            self.pool.call(make_machine_code, tasks[0], timeout_s=model_seconds(self.job))
        timeout_s = 60.0 * self.job.limits.shard_minutes
        for result in self.pool.score(tasks, plan.memory.n_workers, timeout_s, self._tell_lost):
            self.results.append(result)
            self._tell_scored(result)
        if any(result.predictor.has_differed for result in self._all_results()):
            self._score_by_library(tasks, plan, contract, model, facts)

    def _score_by_library(
        self,
        tasks: Sequence[ShardTask],
        plan: Plan,
        contract: Contract,
        model: PinnedModel,
        facts: ModelFacts,
    ) -> None:
        """Score again what a compiled predictor has scored: it gave something else than the library in one shard."""
        doubted = {
            result.index: result
            for result in self._all_results()
            if result.predictor.engine == "compiled"
        }
        with contextlib.suppress(ScoringError, OSError):  # else `clean` finds them
            self.workspace.parts.delete([result.part.file.path for result in doubted.values()])
        self.resumed = [result for result in self.resumed if result.index not in doubted]
        self.results = [result for result in self.results if result.index not in doubted]
        watch = tasks[0].profile_spec if tasks else NO_PROFILE
        again = [
            replace(
                task,
                profile_spec=watch,
                in_threads=False,
                fallback_reason="the compiled predictor differed in another shard",
            )
            for task in self._tasks(plan, contract, model, facts)
            if task.shard.index in doubted
        ]
        timeout_s = 60.0 * self.job.limits.shard_minutes
        self.results += self.pool.score(again, plan.memory.n_workers, timeout_s, self._tell_lost)

    def fail(self, error: BaseException) -> Manifest:
        """Record the failure; a commit that succeeded although its caller heard otherwise is a publication."""
        is_open = False
        is_commit = self._committing is not None
        if (
            is_commit or self.record.manifest.attempts > 1
        ):  # who died may have come to its commit unseen
            live = None
            try:
                live = (self._committing or open_publisher(self.workspace)).live(self.value)
            except ScoringError:
                is_open = True
            if live is not None and live.run_id == self.record.run_id:
                return self.record.end_published(self.worker_cpu_s)
            is_open = is_open or (
                is_commit and not isinstance(error, (ConflictError, ContractError))
            )
        if not is_open and not getattr(error, "resumable", False) and self.record.is_owner():
            self._sweep()
        return self.record.fail(error, self.worker_cpu_s)

    def _sweep(self) -> None:
        """Remove what an unpublished run wrote; what cannot be removed now is left to `clean`."""
        self.forget_parts()
        with contextlib.suppress(ScoringError, OSError):
            self.workspace.parts.delete(self.written)
            if not format_of(self.job).writes_in_place:
                self.workspace.state.delete_tree(staging_folder(self.record.run_id))
                self.workspace.state.delete([sealed_history_path(self.folder, self.record.run_id)])

    def _tell_end(self, manifest: Manifest) -> None:
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

    def replay_from(self, source: ScoringJob, n_rows: int) -> None:
        """Read the rows from a quarantine; its limits are those of the partition's `n_rows`."""
        self.source, self._is_replay, self._n_rows = source, True, n_rows

    def _allowed(self, plan: Plan) -> int:
        return allowed_rows(self.job.limits, plan.n_rows if self._n_rows is None else self._n_rows)

    def forget_parts(self) -> None:
        """Remove what the workers wrote, once its rows stand in another file, or never will."""
        self.forget_checkpoints()
        with contextlib.suppress(ScoringError, OSError):
            self.workspace.parts.delete([result.part.file.path for result in self.results])

    def forget_checkpoints(self) -> None:
        """Remove the notes for a next attempt: there will be none."""
        with contextlib.suppress(ScoringError, OSError):
            forget(self.job, self.record.run_id)

    def _watch(self, tasks: list[ShardTask], contract: Contract) -> list[ShardTask]:
        """The same tasks, with the columns to profile."""
        if self.references is None:
            return tasks
        self.references.features = frozenset(column.name for column in contract.features)
        try:
            known, unknown = watch(self.job, contract, self.references, self.resumed)
        except (
            ValueError
        ) as error:  # a shard of an earlier attempt has left a profile that cannot be read
            self.give_up_drift(error)
            return tasks
        if unknown.names and tasks:
            try:
                cut, segments = self.pool.call(
                    sample_bins,
                    tasks[0],
                    unknown.columns,
                    unknown.segments,
                    timeout_s=model_seconds(self.job) + 60.0 * self.job.limits.shard_minutes,
                )
                known = replace(
                    known, columns=known.columns + cut, segments=known.segments + segments
                )
            except Exception as error:  # noqa: BLE001 (the shards themselves have more attempts)
                self.record.warn(f"not profiled: {', '.join(unknown.names)}: {_in_short(error)}")
        known = replace(known, columns=with_types(known.columns, contract))
        return [replace(task, profile_spec=known) for task in tasks]

    def assess_drift(self) -> None:
        """Compare the columns with what they were before. What goes wrong costs the comparison, not the predictions:
        a job that holds on drift then waits for a person."""
        if self.references is None:
            return
        try:
            found = assess(self.job, self.record.manifest, self._all_results(), self.references)
        except Exception as error:  # noqa: BLE001 (whatever it is: the predictions are right without it)
            self.give_up_drift(error)
            return
        self.record.update(drift=found.record)
        self.record.warn(*found.warnings)
        self.drift = found

    def give_up_drift(self, error: Exception) -> None:
        """Go on without a comparison of the columns."""
        self.drift_trouble = (
            f"the columns could not be compared with what they were before: {_in_short(error)}"
        )
        self.record.warn(self.drift_trouble)
        self.references = None

    def keep_drift(self) -> None:
        """Write what the columns looked like, and how they differ; without it a run is still a run."""
        if self.drift is None:
            return
        try:
            self.record.update(drift=keep(self.job, self.folder, self.record.run_id, self.drift))
        except ScoringError as error:
            self.record.warn(f"the profile could not be written: {error.what}")

    def _tasks(
        self, plan: Plan, contract: Contract, model: PinnedModel, facts: ModelFacts
    ) -> list[ShardTask]:
        done = {result.index for result in self.resumed}
        return [
            ShardTask(
                self.source,
                self.record.run_id,
                self.folder,
                model.cached.path,
                model.version.version,
                facts,
                contract,
                shard,
                plan.memory.batch_rows,
                self._allowed(plan),
                plan.n_rows,
                _allowance(self.job, plan.memory),
                plan.cut_for,
                prefetch_bytes=plan.memory.prefetch_bytes,
                in_threads=plan.memory.in_threads,
                fallback_reason=plan.fallback_reason,
                is_unchecked=plan.is_unchecked,
                is_replay=self._is_replay,
                first_attempt=MAX_ATTEMPTS * (self.record.manifest.attempts - 1),
            )
            for shard in plan.shards
            if shard.index not in done
        ]

    def summarize(self, plan: Plan) -> None:
        """Sum up what the workers said."""
        results = self._all_results()
        by_reason: dict[str, int] = {}
        by_column: dict[str, int] = {}
        for result in results:
            for total, part in ((by_reason, result.by_reason), (by_column, result.by_column)):
                for name, count in part.items():
                    total[name] = total.get(name, 0) + count
        peaks: dict[int, int] = {}
        for result in self.results:
            peaks[result.pid] = max(peaks.get(result.pid, 0), result.peak_bytes)
        stages = dict(self.record.manifest.measures.stages_s)
        for result in self.results:
            for name, seconds in result.stages_s.items():
                stages[f"workers_{name}"] = round(stages.get(f"workers_{name}", 0.0) + seconds, 4)
        rows_in = sum(result.rows_in for result in results)
        columns = merge_records(column for result in results for column in result.columns)
        predictor = merge_predictors(result.predictor for result in results)
        self.record.update(
            counts=Counts(
                rows_in=rows_in,
                rows_scored=sum(result.part.file.rows for result in results),
                rows_quarantined=sum(result.rows_quarantined for result in results),
            ),
            columns=columns,
            predictor=predictor,
            warnings=(
                *self.record.manifest.warnings,
                *_nulled(columns),
                *predictor_warnings(predictor),
            ),
            quarantine=QuarantineRecord(
                by_reason=by_reason,
                by_column=by_column,
                examples=tuple(e for result in results for e in result.examples)[:MAX_EXAMPLES],
                files=tuple(file for result in results for file in result.quarantine_files),
            ),
        )
        self.record.measure(
            stages_s=stages,
            peak_worker_bytes=tuple(sorted(peaks.values(), reverse=True)),
            rows_per_s=round(
                sum(result.rows_in for result in self.results) / max(stages["score"], 1e-9), 1
            ),
            bytes_in=plan.n_bytes,
            bytes_out=sum(result.part.file.size_bytes for result in results),
            n_shards=len(plan.shards),
            n_shards_resumed=len(self.resumed),
            n_workers=min(plan.memory.n_workers, len(self.results)),
            slowest_shard_s=round(max((result.wall_s for result in self.results), default=0.0), 4),
        )

    def _all_results(self) -> list[ShardResult]:
        return sorted([*self.resumed, *self.results], key=lambda result: result.index)

    def reconcile(self, plan: Plan) -> None:
        """Every row of the plan is scored or quarantined, and no more quarantined than the job allows.

        Raises:
            ReconciliationError, QuarantineLimitError: See there; nothing was published.
        """
        allowed = self._allowed(plan)
        counts = self.record.manifest.counts
        gave_up = next((result.gave_up for result in self.results if result.gave_up), "")
        if gave_up:
            raise _too_many(self.record.manifest, allowed, gave_up)
        if (
            plan.n_rows != counts.rows_in
            or counts.rows_in != counts.rows_scored + counts.rows_quarantined
        ):
            raise ReconciliationError(
                "The rows do not add up; nothing was published.",
                self.folder,
                expected=f"{plan.n_rows:,} rows by the footers = read = scored + quarantined",
                found=f"{counts.rows_in:,} read, {counts.rows_scored:,} scored, "
                f"{counts.rows_quarantined:,} quarantined",
                next_step="report this as a defect of nightscore, with the manifest",
            )
        if refused := forbidden(self.job.policy, self.record.manifest.quarantine.by_reason):
            raise _too_many(self.record.manifest, 0, refused=refused)
        if counts.rows_quarantined > allowed:
            raise _too_many(self.record.manifest, allowed)

    def finish_parts(
        self, publisher: Publisher, plan: Plan, contract: Contract, live: Live | None
    ) -> tuple[WrittenPart, ...]:
        """The files that readers will see; none if the whole input has no file to take columns from.

        Raises:
            InputError: There are no files, and readers see predictions: a writer may have deleted the input, to write
                it again.
        """
        if live is not None and not plan.partition.files:
            raise InputError(
                "The partition has no files, and readers see predictions of it; nothing was published.",
                self.folder,
                expected="a file with the columns, which may have no rows",
                found=f"no files, while readers see the predictions of run {live.run_id}",
                next_step="wait until the input is written again; or write a file without rows, if the partition is "
                "meant to be empty",
            )

        parts = [result.part for result in self._all_results()]
        if not contract.kept and not contract.features and not parts:
            return ()
        if not parts:
            parts = [self._empty_part(contract)]
        if (seal := format_of(self.job).seal) is not None:
            schema = contract.output_schema()
            self.record.check_owner()
            parts = [self.pool.call(seal, self.job, self.folder, self.record.run_id, parts, schema)]
        output = self.record.manifest.output
        self.record.update(output=output.model_copy(update={"files": tuple(p.file for p in parts)}))
        return tuple(parts)

    def check_gates(self, parts: Sequence[WrittenPart]) -> bool:
        """Whether the run is to be held.

        Raises:
            GateError: A gate says `fail`; nothing was published.
        """
        twice = Duplicates(0, ())
        if self.job.keys.unique and parts:
            keys = [name for name in self.job.keys.columns if name != self.job.input.partition_key]
            twice = self.pool.call(
                find_duplicates, self.workspace.parts, [part.file.path for part in parts], keys
            )
        gates = check_gates(self.workspace, self.record.manifest, twice.n_rows, twice.examples)
        if self.drift is not None and self.job.drift.gate != "off":
            gates.append(drift_gate(self.job, self.drift.record))
        elif self.drift_trouble and self.job.drift.gate == "hold":
            expected = "columns that can be compared"
            gates.append(
                GateRecord(
                    gate="drift",
                    action="hold",
                    passed=False,
                    expected=expected,
                    found=self.drift_trouble,
                )
            )
        closed = [gate for gate in gates if not gate.passed]
        notes = [f"{gate.gate}: expected {gate.expected}, found {gate.found}" for gate in closed]
        self.record.update(gates=tuple(gates))
        self.record.warn(*notes)
        if any(gate.action == "fail" for gate in closed):
            raise GateError(
                "The run does not pass its gates; nothing was published.",
                self.folder,
                problems=notes,
                next_step="look at the input and the model; change `gates` in the job file only if this is right",
            )
        return any(gate.action == "hold" for gate in closed)

    def hold(self) -> Manifest:
        """Leave the partition complete and unpublished until a person decides."""
        self.keep_drift()
        manifest = self.record.end("held", self.worker_cpu_s)
        self.forget_checkpoints()
        return manifest

    def publish(
        self,
        publisher: Publisher,
        fingerprint: str,
        contract: Contract,
        live: Live | None,
        parts: tuple[WrittenPart, ...],
    ) -> None:
        """Make the files visible in one step.

        Raises:
            ConflictError: Another run published the partition since it was planned, or is about to.
        """
        record, job = self.record, self.job
        publication = Publication(
            run_id=record.run_id,
            fingerprint=fingerprint,
            key=job.input.partition_key,
            value=self.value,
            folder=self.folder,
            parts=parts,
            schema=contract.output_schema(),
            check=self.lease.check,
        )
        self.keep_drift()
        self.lease.acquire(LONG_WAIT_S)
        record.save("prepared")
        self._committing = publisher
        placed, version = publisher.publish(publication, live)
        files = tuple(part.file for part in placed)
        record.update(
            output=record.manifest.output.model_copy(
                update={"files": files, "table_version": version}
            )
        )

    def _empty_part(self, contract: Contract) -> WrittenPart:
        """A partition without rows is published as such: readers' old rows must go."""
        folder = parts_folder(self.job, self.folder, self.record.run_id)
        path = part_path(folder, self.record.run_id, 0, 0)
        schema, keep_types = contract.output_schema(), format_of(self.job).stores_arrow_schema
        with PartWriter(self.workspace.parts, path, schema, keep_types=keep_types) as writer:
            return writer.close()

    def _tell_plan(self, plan: Plan) -> None:
        event = RunPlanned(
            self.record.run_id,
            self._shown,
            plan.n_rows,
            plan.n_bytes,
            len(plan.shards),
            plan.memory.n_workers,
            sum(result.rows_in for result in self.resumed),
        )
        for listener in self._listeners:
            listener(event)

    def _tell_scored(self, result: ShardResult) -> None:
        event = ShardScored(
            self.record.run_id,
            self._shown,
            result.index,
            result.rows_in,
            result.rows_quarantined,
            result.wall_s,
        )
        for listener in self._listeners:
            listener(event)

    def _tell_lost(self, task: ShardTask) -> None:
        event = ShardLost(self.record.run_id, self._shown, task.shard.index, task.attempt)
        for listener in self._listeners:
            listener(event)


def inputs_record(
    job: ScoringJob, partition: Partition, n_left_out: int, extra: tuple[str, ...] = ()
) -> InputsRecord:
    files = tuple(
        InputRecord(path=f.path, size_bytes=f.size_bytes, version=f.version)
        for f in partition.files
    )
    return InputsRecord(
        uri=job.input.uri, files=files, extra_columns=extra, files_left_out=n_left_out
    )


def _allowance(job: ScoringJob, memory: MemoryPlan) -> int:
    """Address space that one shard may take, beyond which a file that decodes to far more than it says is stopped.

    More than the plan's memory: libraries reserve addresses that they never use. A cluster's node without a limit
    takes a share of its own memory instead, which nobody knows here.
    """
    limit = job.limits.memory_bytes
    share = (
        (limit or 0) if job.workers.is_cluster else (limit or available_bytes()) // memory.n_workers
    )
    return max(share, 2 * memory.stream_bytes) + RESERVED_BYTES


def _in_short(error: Exception) -> str:
    return (
        error.what
        if isinstance(error, ScoringError)
        else f"{type(error).__name__}: {str(error)[:200]}"
    )


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
    root = f"{manifest.output.uri}.nightscore"
    places = ", ".join(f"{root}/{file.path}" for file in quarantine.files[:3])
    remedy = "raise the limits" if refused is None else "change the policy"
    return QuarantineLimitError(
        f"{'At least ' if gave_up else ''}{counts.rows_quarantined:,} of {counts.rows_in:,} rows cannot be scored; "
        "nothing was published.",
        f"{manifest.partition_key}={show_value(manifest.partition)}",
        expected=f"at most {allowed:,} rows (limits.max_quarantined_rows, limits.max_quarantined_share)"
        if refused is None
        else f"no row: policy says error for {', '.join(sorted({FIELDS[reason] for reason in refused}))}",
        found=reasons,
        problems=problems,
        next_step=f"look at the quarantined rows ({places}); correct the input, or {remedy} in the job file",
    )
