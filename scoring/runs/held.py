"""Whether a run that a gate has held is still held by the gates that the job has today."""

from collections.abc import Sequence

from nightscore.drift.assess import drift_gate
from nightscore.ledger.manifests import undecided
from nightscore.runs.gates import check_gates
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import GateRecord, Manifest


def blocking_run(
    job: ScoringJob, manifests: Sequence[Manifest], fingerprint: str
) -> Manifest | None:
    """The run over the same work that waits for a decision under today's gates, or that a person has rejected.

    Args:
        job: The job as it is today.
        manifests: Of the partition, newest run first.
        fingerprint: Of the work.
    """
    waiting = undecided(manifests, fingerprint)
    if waiting is None or waiting.status != "held":
        return waiting  # a person's word holds whatever becomes of the gates
    return waiting if still_holding(job, waiting) else None


def still_holding(job: ScoringJob, held: Manifest) -> list[GateRecord]:
    """The gates of the job as it is today that hold a run, judged by its own record.

    A gate that has left the job file, or only warns by now, holds no more. One whose bounds are as they were holds as
    it did, whatever the partitions before have become; with other bounds it looks at the record again.
    """
    then = {gate.gate: gate for gate in held.gates}
    n_twice = int(any(name == "unique_keys" and not gate.passed for name, gate in then.items()))
    today = check_gates(job, held, n_twice, ())
    if job.drift.gate == "hold" and "drift" in then:
        today.append(_drift_today(job, held, then["drift"]))
    return [gate for gate in (_as_recorded(gate, then) for gate in today) if _holds(gate)]


def _drift_today(job: ScoringJob, held: Manifest, recorded: GateRecord) -> GateRecord:
    if held.drift is None:  # nobody could compare the columns: that holds as long as the gate does
        return recorded.model_copy(update={"action": "hold"})
    return drift_gate(job, held.drift)


def _as_recorded(gate: GateRecord, then: dict[str, GateRecord]) -> GateRecord:
    """What the run's record says, with today's action, if the gate expects the same as it did."""
    recorded = then.get(gate.gate)
    depends_on_others = gate.gate == "rows" or gate.gate.startswith(("score_shift", "unique_keys"))
    if recorded is None or not depends_on_others or recorded.expected != gate.expected:
        return gate
    return recorded.model_copy(update={"action": gate.action})


def _holds(gate: GateRecord) -> bool:
    return gate.action == "hold" and not gate.passed
