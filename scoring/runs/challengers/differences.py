"""How a challenger differs from the champion: what workers count, and what becomes of it.

Whatever goes wrong here costs the difference, never the challenger.
"""

from collections.abc import Sequence
from dataclasses import replace

from nightscore.engine.events import logger
from nightscore.engine.shard import ShardTask
from nightscore.ledger.layout import difference_path, difference_table_path
from nightscore.monitoring.differences.difference_summary import summarise_difference
from nightscore.monitoring.differences.difference_table import difference_table
from nightscore.profiles.class_counter import ClassColumns
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.profiles.differences.difference_spec import (
    PROBABILITY,
    DifferenceSpec,
    grain_of,
    grid_of,
    group_columns,
    sample_bits,
    score_to_compare,
)
from nightscore.profiles.differences.stored_counts import from_text, to_file
from nightscore.profiles.profile import kind_of
from nightscore.profiles.profile_spec import score_column
from nightscore.runs.challengers.challenger import Challenger
from nightscore.runs.challengers.shards import change_tasks
from nightscore.runs.run_plan import RunPlan
from nightscore.schemas.contract import Contract
from nightscore.schemas.text import counted

POSITION = ("source_file", "source_row")
"""Tells rows apart where there are no keys."""


def with_difference(
    challenger: Challenger, plan: RunPlan, tasks: Sequence[ShardTask]
) -> list[ShardTask]:
    """The tasks, with what workers compare for one challenger.

    Args:
        challenger: That scores.
        plan: Of the champion.
        tasks: Of the champion, with what is profiled.
    """

    def compare(task: ShardTask, own: ShardTask) -> ShardTask:
        return replace(own, difference=difference_spec(challenger, plan, task))

    return change_tasks(challenger, tasks, compare)


def difference_spec(challenger: Challenger, plan: RunPlan, task: ShardTask) -> DifferenceSpec:
    """What workers compare: the score that both have, by the bins of both models' baselines.

    Args:
        challenger: That scores.
        plan: Of the champion.
        task: Of the champion, with what is profiled.
    """
    job, bins = plan.source.job, plan.drift_check.bins
    score = _score(plan.contract, challenger.contract)
    classes = _classes(plan.contract, challenger.contract)

    grids = (
        grid_of(score, bins) if score or classes else None,
        grid_of(score, challenger.drift_check.bins) if score or classes else None,
    )

    columns = group_columns(task.profile_spec, bins)
    has_position = plan.contract.has_position

    return DifferenceSpec(
        score=score,
        threshold=job.decision.threshold if score == PROBABILITY else None,
        classes=classes,
        champion_grid=grids[0],
        challenger_grid=grids[1],
        columns=columns,
        grain=grain_of(grids[0]),
        sample_bits=sample_bits(plan.shards.n_rows, len(columns)),
        keys=POSITION if has_position else tuple(job.keys.columns),
    )


def store_difference(challenger: Challenger) -> None:
    """Add up what the workers have counted, store it, and sum it up for the champion's manifest."""
    execution = challenger.execution
    try:
        texts = [one.difference for one in challenger.results]
        n_missing = texts.count("")
        if n_missing:
            raise ValueError(f"it was not counted in {counted(n_missing, 'shard')}")
        if not texts:
            return

        counts = _merge(texts)

        counts.champion_cpu_us = round(1e6 * challenger.champion_cpu_s)
        counts.challenger_cpu_us = round(1e6 * sum(one.cpu_s for one in challenger.results))

        found = summarise_difference(counts)
        manifest = execution.record.manifest
        table = difference_table(challenger.label, manifest, found, counts)

        state, place = execution.workspace.state, (execution.folder, execution.run_id)
        state.write_bytes(difference_table_path(*place), table)
        state.write_bytes(difference_path(*place), to_file(counts))
        challenger.difference = found
    except Exception as error:  # noqa: BLE001 (the predictions are right without it)
        note = f"the difference from the champion is not known: {type(error).__name__}: {error}"
        logger.warning("run_id=%s partition=%s %s", execution.run_id, execution.value, note)
        execution.record.warn(note)


def _merge(texts: Sequence[str]) -> DifferenceCounts:
    """The counts of all shards, of which there is at least one."""
    whole = from_text(texts[0])
    for text in texts[1:]:
        both = whole.plus(from_text(text))
        assert both is not None, "all shards compare the same"  # noqa: S101
        whole = both
    return whole


def _score(champion: Contract, challenger: Contract) -> str:
    kinds = {column.name: kind_of(column.type) for column in champion.predictions}
    names = [column.name for column in challenger.predictions]
    return score_to_compare(names, score_column(kinds))


def _classes(champion: Contract, challenger: Contract) -> ClassColumns | None:
    """The classes that both models have; None: one has none, or others."""
    own = ClassColumns.of([column.name for column in champion.predictions])
    other = ClassColumns.of([column.name for column in challenger.predictions])
    same = own is not None and other is not None and set(own.names) == set(other.names)
    return own if same else None
