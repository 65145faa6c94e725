"""Adds up what the workers did, and checks that no row is missing."""

from collections import Counter
from collections.abc import Iterable, Sequence

from nightscore.engine.predictor_records import merge_predictors, predictor_warnings
from nightscore.engine.shard import ShardResult
from nightscore.engine.value_policy import FIELDS, forbidden
from nightscore.engine.worker.rejected_rows import MAX_EXAMPLES
from nightscore.errors import QuarantineLimitError, ReconciliationError
from nightscore.profiles.column_records import merge_records
from nightscore.runs.execution import Execution
from nightscore.runs.run_plan import RunPlan
from nightscore.schemas.job import Limits
from nightscore.schemas.manifest import (
    ColumnRecord,
    Counts,
    FileRecord,
    Manifest,
    QuarantineExample,
    QuarantineRecord,
    SampleRecord,
)
from nightscore.schemas.partition import show_value


def allowed_rows(limits: Limits, n_rows: int) -> int:
    """How many of `n_rows` may be quarantined. If both limits are set, the stricter one counts."""
    by_share = int(limits.max_quarantined_share * n_rows)
    if limits.max_quarantined_rows and limits.max_quarantined_share:
        return min(limits.max_quarantined_rows, by_share)
    return limits.max_quarantined_rows or by_share


def summarize(execution: Execution, plan: RunPlan) -> None:
    """Add up counts, columns, quarantine and measures of all shards in the record."""
    results = execution.results.in_order()
    record = execution.record
    columns = _merge_columns(results)
    predictor = merge_predictors(result.predictor for result in results)

    record.warn(*_cast_warnings(columns), *predictor_warnings(predictor))
    record.update(
        counts=_count_rows(results),
        columns=columns,
        predictor=predictor,
        quarantine=_quarantine_record(results),
        sample=_sample_record(execution.job.estimate.sample_rows, results),
    )
    _measure(execution, plan, results)


def reconcile(execution: Execution, plan: RunPlan) -> None:
    """Check that every row is scored or quarantined, and that the job allows so many in quarantine.

    Raises:
        ReconciliationError: The rows do not add up.
        QuarantineLimitError: More rows are in quarantine than the job allows.
    """
    manifest = execution.record.manifest
    counts = manifest.counts
    allowed = allowed_rows(execution.job.limits, plan.source.n_rows)

    for result in execution.results.scored:
        if result.give_up_reason:
            raise _too_many(manifest, allowed, give_up_reason=result.give_up_reason)

    n_accounted_for = counts.rows_scored + counts.rows_quarantined
    if not plan.shards.n_rows == counts.rows_in == n_accounted_for:
        raise ReconciliationError(
            "The rows do not add up; nothing was published.",
            execution.folder,
            expected=f"{plan.shards.n_rows:,} rows by the footers = read = scored + quarantined",
            found=f"{counts.rows_in:,} read, {counts.rows_scored:,} scored, "
            f"{counts.rows_quarantined:,} quarantined",
            next_step="report this as a defect of nightscore, with the manifest",
        )

    refused = forbidden(execution.job.policy, manifest.quarantine.by_reason)
    if refused:
        raise _refused_by_policy(manifest, refused)
    if counts.rows_quarantined > allowed:
        raise _too_many(manifest, allowed)


def _merge_columns(results: Sequence[ShardResult]) -> tuple[ColumnRecord, ...]:
    """One record a column, over the rows of all shards."""
    columns: list[ColumnRecord] = []
    for result in results:
        columns += result.columns
    return merge_records(columns)


def _count_rows(results: Sequence[ShardResult]) -> Counts:
    n_read = n_scored = n_quarantined = 0

    for result in results:
        n_read += result.rows_in
        n_scored += result.part.file.rows
        n_quarantined += result.rows_quarantined

    return Counts(rows_in=n_read, rows_scored=n_scored, rows_quarantined=n_quarantined)


def _quarantine_record(results: Sequence[ShardResult]) -> QuarantineRecord:
    """Rows in quarantine, by reason and by column; examples of the first shards that have any."""
    by_reason: Counter[str] = Counter()
    by_column: Counter[str] = Counter()
    examples: list[QuarantineExample] = []
    files: list[FileRecord] = []

    for result in results:
        by_reason.update(result.by_reason)
        by_column.update(result.by_column)
        examples += result.examples
        files += result.quarantine_files

    return QuarantineRecord(
        by_reason=dict(by_reason),
        by_column=dict(by_column),
        examples=tuple(examples[:MAX_EXAMPLES]),
        files=tuple(files),
    )


def _sample_record(n_rows: int, results: Sequence[ShardResult]) -> SampleRecord | None:
    """The shards' samples; None: there are none, or an earlier attempt took none of some shard."""
    files: list[FileRecord] = []
    for result in results:
        if result.part.file.rows and not result.sample_files:
            return None
        files += result.sample_files

    return SampleRecord(rows=n_rows, files=tuple(files)) if n_rows else None


def _measure(execution: Execution, plan: RunPlan, results: Sequence[ShardResult]) -> None:
    """Record what the run took.

    Shards of an earlier attempt count for rows, but not for time and memory.
    """
    record, scored = execution.record, execution.results.scored
    stages = dict(record.manifest.measures.stages_s)

    peak_bytes_by_pid: dict[int, int] = {}
    n_rows_scored = 0
    slowest_shard_s = 0.0

    for result in scored:
        for name, seconds in result.stages_s.items():
            key = f"workers_{name}"
            stages[key] = round(stages.get(key, 0.0) + seconds, 4)

        peak = max(peak_bytes_by_pid.get(result.pid, 0), result.peak_bytes)
        peak_bytes_by_pid[result.pid] = peak
        n_rows_scored += result.rows_in
        slowest_shard_s = max(slowest_shard_s, result.wall_s)

    record.measure(
        stages_s=stages,
        peak_worker_bytes=tuple(sorted(peak_bytes_by_pid.values(), reverse=True)),
        rows_per_s=round(n_rows_scored / max(stages["score"], 1e-9), 1),
        bytes_in=plan.shards.n_bytes,
        bytes_out=sum(result.part.file.size_bytes for result in results),
        n_shards=len(plan.shards.shards),
        n_shards_resumed=len(execution.results.resumed),
        n_workers=min(plan.shards.memory.n_workers, len(scored)),
        slowest_shard_s=round(slowest_shard_s, 4),
    )


def _cast_warnings(columns: Sequence[ColumnRecord]) -> list[str]:
    """The job allows these casts, but the model saw something else than the file has."""
    warnings = []

    for column in columns:
        if column.nulled:
            values = "1 value" if column.nulled == 1 else f"{column.nulled:,} values"
            warnings.append(
                "policy.cast is pass: the model was given a missing value "
                f"in place of {values} of {column.name}"
            )

    return warnings


def _too_many(manifest: Manifest, allowed: int, give_up_reason: str = "") -> QuarantineLimitError:
    return _limit_error(
        manifest,
        expected=f"at most {allowed:,} rows "
        "(limits.max_quarantined_rows, limits.max_quarantined_share)",
        remedy="raise the limits",
        give_up_reason=give_up_reason,
    )


def _refused_by_policy(manifest: Manifest, refused: Iterable[str]) -> QuarantineLimitError:
    fields = ", ".join(sorted({FIELDS[reason] for reason in refused}))
    return _limit_error(
        manifest, expected=f"no row: policy says error for {fields}", remedy="change the policy"
    )


def _limit_error(
    manifest: Manifest, *, expected: str, remedy: str, give_up_reason: str = ""
) -> QuarantineLimitError:
    """The error about rows in quarantine, with the columns and some of the rows.

    Args:
        manifest: With the counts.
        expected: How many rows are allowed.
        remedy: What to change in the job file.
        give_up_reason: Why counting stopped early; empty: it did not.
    """
    counts, quarantine = manifest.counts, manifest.quarantine
    reasons = [f"{name} {count:,}" for name, count in sorted(quarantine.by_reason.items())]
    columns = sorted(quarantine.by_column.items(), key=lambda item: -item[1])

    problems = [f"{name} in {count:,} rows" for name, count in columns[:20]]

    if give_up_reason:
        problems.append(f"counting stopped early: {give_up_reason}")

    for example in quarantine.examples:
        column = f" in {example.column}" if example.column else ""
        place = f"{example.source_file} row {example.source_row}"
        problems.append(f"{place}: {example.reason}{column}: {example.message}")

    state_url = f"{manifest.output.uri}.nightscore"
    places = ", ".join(f"{state_url}/{file.path}" for file in quarantine.files[:3])
    at_least = "At least " if give_up_reason else ""

    return QuarantineLimitError(
        f"{at_least}{counts.rows_quarantined:,} of {counts.rows_in:,} rows cannot be scored; "
        "nothing was published.",
        f"{manifest.partition_key}={show_value(manifest.partition)}",
        expected=expected,
        found=", ".join(reasons),
        problems=problems,
        next_step=f"look at the quarantined rows ({places}); "
        f"correct the input, or {remedy} in the job file",
    )
