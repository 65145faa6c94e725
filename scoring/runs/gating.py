"""The step of a run that checks its gates: it passes, waits for a review, or fails."""

from collections.abc import Sequence

from nightscore.errors import GateError
from nightscore.outputs.duplicates import Duplicates, find_duplicates
from nightscore.outputs.writer import WrittenPart
from nightscore.runs.execution import Execution
from nightscore.runs.gate_declaration import NO_DUPLICATES, FinishedRun
from nightscore.runs.gates import check_gates
from nightscore.runs.run_plan import RunPlan


def pass_gates(execution: Execution, plan: RunPlan, parts: Sequence[WrittenPart]) -> bool:
    """Check the gates of the job. False: a gate holds the run for a review.

    Raises:
        GateError: A gate says `fail`; nothing was published.
    """
    run = FinishedRun(
        execution.workspace,
        execution.record.manifest,
        duplicates=_find_duplicates(execution, parts),
        comparison_failure=plan.drift_check.failure,
    )
    gates = check_gates(run)

    closed = [gate for gate in gates if not gate.passed]
    notes = [f"{gate.gate}: expected {gate.expected}, found {gate.found}" for gate in closed]
    execution.record.update(gates=tuple(gates))
    execution.record.warn(*notes)

    if any(gate.action == "fail" for gate in closed):
        raise GateError(
            "The run does not pass its gates; nothing was published.",
            execution.folder,
            problems=notes,
            next_step="look at the input and the model; "
            "change `gates` in the job file only if this is right",
        )

    return not any(gate.action == "hold" for gate in closed)


def _find_duplicates(execution: Execution, parts: Sequence[WrittenPart]) -> Duplicates:
    """Rows whose keys another row has too, if the job wants keys to be unique."""
    job = execution.job
    if not job.keys.unique or not parts:
        return NO_DUPLICATES

    keys = [name for name in job.keys.columns if name != job.input.partition_key]
    paths = [part.file.path for part in parts]
    return execution.pool.call(find_duplicates, execution.workspace.parts, paths, keys)
