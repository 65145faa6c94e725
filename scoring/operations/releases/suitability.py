"""Whether a version may go live: what keeps it from that, each with what to do about it."""

from collections.abc import Iterator, Sequence

from nightscore.errors import ReleaseError
from nightscore.models.registries.protocol import ModelVersion
from nightscore.operations.checklist import Check
from nightscore.operations.missing_parts import baseline_command, pin_command
from nightscore.runs.gates import bound_of_estimate
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.release_entry import BaselineEvidence, EvidenceRecord


def find_problems(
    job: ScoringJob,
    live: ModelVersion | None,
    candidate: ModelVersion,
    checks: Sequence[Check],
    evidence: EvidenceRecord,
) -> list[str]:
    """What keeps a version from going live: no run could publish with it, or too little is known.

    Args:
        job: That scores with the alias.
        live: The version that the alias means now. None: there is none yet.
        candidate: The version that shall be live.
        checks: What was looked at on the newest partition.
        evidence: What is known of both.

    Returns:
        A sentence for each problem, with what to do about it. Empty: it may go live.
    """
    return [
        *_pin_problems(job, candidate),
        *check_problems(checks),
        *_baseline_problems(job, live, candidate),
        *_gate_problems(job, evidence.baselines),
        *_comparison_problems(evidence),
    ]


def refusal(job: ScoringJob, candidate: ModelVersion, problems: Sequence[str]) -> ReleaseError:
    """The error for a version that must not go live."""
    return ReleaseError(
        f"{candidate} must not go live yet: {len(problems)} "
        f"{'reason' if len(problems) == 1 else 'reasons'}. The alias was not moved.",
        job.name,
        problems=problems,
        next_step="do what each of them says, then give the same command again",
    )


def _pin_problems(job: ScoringJob, candidate: ModelVersion) -> Iterator[str]:
    if candidate.digest_tag is None:
        yield (
            f"pin: nobody has vouched for the bytes of {candidate}; if they are what was trained, "
            f"`{pin_command(job, candidate)}`"
        )


def check_problems(checks: Sequence[Check]) -> Iterator[str]:
    """What `nightscore check` would find, each with what to do about it."""
    for check in checks:
        if check.error is None or check.same_as:
            continue

        error = check.error
        details = [error.what, *error.problems]
        if error.next_step:
            details.append(f"next: {error.next_step}")
        yield f"{check.name}: {'; '.join(details)}"


def _baseline_problems(
    job: ScoringJob, live: ModelVersion | None, candidate: ModelVersion
) -> Iterator[str]:
    """Nobody goes without the monitoring that there is for the version in use."""
    has_had_one = live is not None and live.baseline_tag is not None
    is_needed = has_had_one or job.gates.estimated is not None

    if candidate.baseline_tag is not None or not is_needed:
        return

    yield (
        f"baseline: {candidate} has none, so drift and performance could not be watched any more; "
        f"`{baseline_command(job, candidate)}` logs one"
    )


def _gate_problems(job: ScoringJob, baselines: Sequence[BaselineEvidence]) -> Iterator[str]:
    """A version whose own hold-out data break the gate would be held every night."""
    gate = job.gates.estimated
    if gate is None:
        return

    metrics = [{metric.name: metric.value for metric in one.metrics} for one in baselines]
    value = metrics[-1].get(gate.metric)

    if value is None:
        if baselines[-1].baseline:
            yield (
                f"gates.estimated: {gate.metric} is not known of the new version's baseline: "
                f"{baselines[-1].note or 'it has none'}"
            )
        return

    bound, words = bound_of_estimate(gate, metrics[0].get(gate.metric))
    if bound is None:
        return

    is_worse = value > bound if gate.less_is_better else value < bound
    if is_worse:
        yield (
            f"gates.estimated: expected {gate.metric} of {words}, by the baseline of the version "
            f"in use; found {value:.4g} in the new version's baseline"
        )


def _comparison_problems(evidence: EvidenceRecord) -> Iterator[str]:
    if evidence.no_comparison and not evidence.without_labels:
        reasons = "; ".join(evidence.no_comparison)
        yield (
            f"evidence: nothing shows that it is better with labels: {reasons}; "
            "if you accept that, add --without-labels"
        )
