"""Whether a run that a gate has held is still held by the gates that the job has today."""

from nightscore.ledger.workspace import Workspace
from nightscore.runs import gates
from nightscore.runs.gate_declaration import FinishedRun, Gate
from nightscore.schemas.manifest import GateRecord, Manifest


def is_blocking(workspace: Workspace, undecided: Manifest) -> bool:
    """Whether a run that was held or rejected keeps the same work from being scored again.

    A rejection holds whatever becomes of the gates. A held run blocks only while a gate of the job
    still holds it.
    """
    return undecided.status != "held" or bool(still_holding(workspace, undecided))


def still_holding(workspace: Workspace, held: Manifest) -> list[GateRecord]:
    """The gates of the job as it is today that hold a run, judged by its own record.

    A gate that has left the job file, or only warns by now, no longer holds. A gate with the same
    bounds as before holds as it did, whatever the partitions before have become. With other bounds
    it looks at the record again.
    """
    run = FinishedRun(workspace, held)
    judged = [record for gate in gates.GATES for record in _judge_again(gate, run)]
    return [record for record in judged if record.action == "hold" and not record.passed]


def _judge_again(gate: Gate, run: FinishedRun) -> list[GateRecord]:
    """What a gate says today, or said then if it cannot know better.

    A gate that looks beyond the run's record cannot: what it saw then may have changed, or be gone.
    What it said stands, with today's action, unless it expects something else by now.
    """
    action = gate.action(run.job)
    current = {record.gate: record for record in gate.check(run)}
    if not gate.looks_beyond_record or action == "off":
        return [*current.values()]

    for record in filter(gate.wrote, run.manifest.gates):
        is_same_question = (
            record.gate not in current or current[record.gate].expected == record.expected
        )
        if is_same_question:
            current[record.gate] = record.model_copy(update={"action": action})

    return [*current.values()]
