"""Makes the files of a run visible in one step, or leaves them for a review."""

from collections.abc import Sequence
from typing import Any

from nightscore.errors import InputError
from nightscore.ledger.layout import part_path, parts_folder
from nightscore.ledger.lease import LONG_WAIT_S
from nightscore.ledger.output_formats import format_of
from nightscore.outputs.publisher import Publication
from nightscore.outputs.writer import PartWriter, WrittenPart
from nightscore.runs.execution import Execution
from nightscore.runs.run_plan import RunPlan
from nightscore.runs.turn import Turn
from nightscore.schemas.manifest import Manifest


def finish_parts(execution: Execution, plan: RunPlan) -> tuple[WrittenPart, ...]:
    """The files that readers will see. None if the whole input has no file to take columns from.

    Raises:
        InputError: The partition has no files, and readers see predictions of it. A writer may have
            deleted the input to write it again.
    """
    contract, live = plan.contract, plan.live
    if live is not None and not plan.shards.partition.files:
        raise InputError(
            "The partition has no files, and readers see predictions of it; nothing was published.",
            execution.folder,
            expected="a file with the columns, which may have no rows",
            found=f"no files, while readers see the predictions of run {live.run_id}",
            next_step="wait until the input is written again; "
            "or write a file without rows, if the partition is meant to be empty",
        )

    parts = [result.part for result in execution.results.in_order()]
    if not contract.passthrough and not contract.features and not parts:
        return ()

    if not parts:
        parts = [_empty_part(execution, plan)]

    if format_of(execution.job).seal is not None:
        parts = [_seal(execution, plan, parts)]

    record_files(execution, parts)
    return tuple(parts)


def hold(execution: Execution, plan: RunPlan) -> Manifest:
    """Leave the partition complete and unpublished until a person reviews it."""
    plan.drift_check.store()
    manifest = execution.record.end("held", execution.worker_cpu_s)
    execution.forget_checkpoints()
    return manifest


def publish(
    execution: Execution, plan: RunPlan, parts: tuple[WrittenPart, ...], turn: Turn | None = None
) -> None:
    """Make the files visible in one step.

    Args:
        execution: The run.
        plan: Its plan.
        parts: The files.
        turn: The run's place among others that are under way. None: there are none.

    Raises:
        ConflictError: Another run has published the partition since it was planned, or is about to.
    """
    turn = turn or Turn()
    publication = Publication(
        run_id=execution.run_id,
        fingerprint=plan.fingerprint,
        key=execution.job.input.partition_key,
        value=execution.value,
        folder=execution.folder,
        parts=parts,
        schema=plan.contract.output_schema(),
        check=execution.lease.check,
        note_order=turn.pass_on,
        is_followed=turn.is_followed,
    )
    plan.drift_check.store()

    execution.lease.acquire(LONG_WAIT_S)
    execution.record.save("prepared")
    execution.committing = plan.publisher
    placed, table_version = plan.publisher.publish(publication, plan.live)
    record_files(execution, placed, table_version=table_version)


def record_files(execution: Execution, parts: Sequence[WrittenPart], **fields: Any) -> None:
    """Put the files of the output into the record."""
    output = execution.record.manifest.output
    files = tuple(part.file for part in parts)
    execution.record.update(output=output.model_copy(update={"files": files, **fields}))


def _seal(execution: Execution, plan: RunPlan, parts: list[WrittenPart]) -> WrittenPart:
    """Make the one object that readers will see of the staged parts."""
    seal = format_of(execution.job).seal
    assert seal is not None  # noqa: S101
    execution.record.check_owner()
    schema = plan.contract.output_schema()
    sealed: WrittenPart = execution.pool.call(
        seal, execution.job, execution.folder, execution.run_id, parts, schema
    )
    return sealed


def _empty_part(execution: Execution, plan: RunPlan) -> WrittenPart:
    """A partition without rows is published as such: readers must not see its old rows."""
    job = execution.job
    folder = parts_folder(job, execution.folder, execution.run_id)
    path = part_path(folder, execution.run_id, 0, 0)
    schema, keep_types = plan.contract.output_schema(), format_of(job).stores_arrow_schema
    with PartWriter(execution.workspace.parts, path, schema, keep_types=keep_types) as writer:
        return writer.close()
