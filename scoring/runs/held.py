"""Whether a run that a gate has held is still held by the gates that the job has today."""

from nightscore.drift.assess import drift_gate
from nightscore.ledger.workspace import Workspace
from nightscore.runs.gates import check_gates
from nightscore.schemas.job import ScoringJob
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
    job = workspace.job
    recorded = {gate.gate: gate for gate in held.gates}
    had_duplicates = "unique_keys" in recorded and not recorded["unique_keys"].passed
    current = check_gates(workspace, held, int(had_duplicates), ())

    if job.drift.gate == "hold" and "drift" in recorded:
        current.append(_current_drift_gate(job, held, recorded["drift"]))

    judged = [_as_recorded(gate, recorded.get(gate.gate)) for gate in current]
    return [gate for gate in judged if gate.action == "hold" and not gate.passed]


def _current_drift_gate(job: ScoringJob, held: Manifest, recorded: GateRecord) -> GateRecord:
    if held.drift is None:
        # Nobody could compare the columns. That holds as long as the gate does.
        return recorded.model_copy(update={"action": "hold"})
    return drift_gate(job, held.drift)


def _as_recorded(gate: GateRecord, recorded: GateRecord | None) -> GateRecord:
    """What the run's record says, with today's action, if the gate expects the same as it did."""
    if recorded is None or not _depends_on_others(gate.gate) or recorded.expected != gate.expected:
        return gate
    return recorded.model_copy(update={"action": gate.action})


def _depends_on_others(name: str) -> bool:
    """Whether a gate looks at more than the run's own record.

    A name may be followed by its column, as in `score_shift of prediction`.
    """
    kind, _, _ = name.partition(" of ")
    return kind in ("rows", "score_shift", "unique_keys")
