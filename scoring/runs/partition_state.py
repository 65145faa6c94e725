"""What there is of a partition when its run begins, and whether that is all that is asked for.

Nothing here plans or scores: a run of an unchanged partition imports no more than this.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from nightscore.engine.events import logger
from nightscore.inputs.partitions import find_partition
from nightscore.inputs.tables import check_root
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.live import Live
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.guarantees import missing_guarantees, unnoticed_changes
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publisher, show_gone
from nightscore.runs.alias_moves import note_alias_move
from nightscore.runs.execution import Execution
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """What there is of a partition when its run begins."""

    publisher: Publisher
    partition: Partition
    n_left_out: int
    """Files that `input.files` leaves out."""
    fingerprint: str
    """What decides the predictions, as one digest."""
    live: Live | None
    history: PartitionHistory
    standing: Manifest | None
    """The record behind what readers see."""
    notes: tuple[str, ...]
    """What the stores cannot guarantee."""

    @property
    def live_run_id(self) -> str | None:
        """The run whose files readers see."""
        return self.live.run_id if self.live else None


def resolve_model(execution: Execution, model: PinnedModel | None) -> PinnedModel:
    """The exact version of the job's model, on this host."""
    with execution.record.stage("model"):
        if model is None:
            model = PinnedModel.resolve(execution.job, execution.cache)
            execution.record.warn(*note_alias_move(execution.job, datetime.now(UTC), model.version))
        execution.record.update(model=model.record(execution.job), policy=execution.job.policy)
    return model


def look_up_partition(execution: Execution, model: PinnedModel) -> PartitionState:
    """List the input, what readers see, and the history of the partition."""
    workspace = execution.workspace

    with execution.record.stage("plan"):
        check_root(workspace)
        publisher = open_publisher(workspace)
        notes = log_missing_guarantees(execution)
        partition, left_out = find_partition(workspace, execution.value)
        notes += unnoticed_changes(execution.job, [file.version for file in partition.files])

        live = publisher.live(execution.value)
        history = PartitionHistory(workspace, execution.value)

        return PartitionState(
            publisher=publisher,
            partition=partition,
            n_left_out=len(left_out),
            fingerprint=model.fingerprint(execution.job, partition),
            live=live,
            history=history,
            standing=history.complete(live),
            notes=tuple(notes),
        )


def find_earlier_answer(execution: Execution, state: PartitionState) -> Manifest | None:
    """The run that makes this one unnecessary: it published the same, or it waits for a review."""
    standing = state.standing
    if standing is not None and standing.work == state.fingerprint:
        gone = state.publisher.gone([state.live] if state.live else [])
        if not gone:
            return standing.model_copy(update={"status": "unchanged"})

        _warn_of_gone(execution, standing, gone)

    undecided = state.history.undecided(state.fingerprint)
    if undecided is None:
        return None

    from nightscore.runs.held import is_blocking

    return undecided if is_blocking(execution.workspace, undecided) else None


def with_baseline_note(execution: Execution, model: PinnedModel, answer: Manifest) -> Manifest:
    """The earlier run, with a warning if its model has a baseline that it was not compared with."""
    drift = answer.drift
    if model.version.baseline_tag is None or drift is None or not execution.job.drift.profile:
        return answer

    from nightscore.models.baseline import baseline_digest

    digest = baseline_digest(model.version)
    if digest in ("", drift.references.get("baseline")):
        return answer

    command = execution.job.command("run", execution.shown_value, "--force")
    note = (
        "these results were not compared with the model's baseline, which may have been logged "
        f"later; `{command}` scores the partition again and compares it"
    )
    return answer.model_copy(update={"warnings": (*answer.warnings, note)})


def _warn_of_gone(execution: Execution, standing: Manifest, gone: Collection[str]) -> None:
    note = f"{show_gone(gone)} (run {standing.run_id}), so the partition is scored again"
    logger.warning("run_id=%s partition=%s %s", execution.run_id, execution.shown_value, note)
    execution.record.warn(note)


def log_missing_guarantees(execution: Execution) -> list[str]:
    """Log what the output's store cannot guarantee.

    Returned for the record, with the settings that have no effect.
    """
    missing = missing_guarantees(execution.job)
    for note in missing:
        logger.warning("run_id=%s partition=%s %s", execution.run_id, execution.shown_value, note)
    return [*missing, *execution.job.settings_without_effect()]
