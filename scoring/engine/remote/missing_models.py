"""Models that a node cannot get: without those of challengers, a shard is scored all the same."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.challenger_failures import describe
from nightscore.errors import ScoringError


def without_missing(arguments: Sequence[Any], missing: Mapping[Path, ScoringError]) -> list[Any]:
    """The arguments of a call; challengers without a model have ended.

    Args:
        arguments: Shards' tasks among them, or lists of these.
        missing: Why models cannot be had, by the paths that stand for them.

    Raises:
        ScoringError: A model that is not only a challenger's cannot be had.
    """
    tasks = [one for argument in arguments for one in _listed(argument)]
    tasks = [one for one in tasks if isinstance(one, ShardTask)]

    folders = {challenger.model_folder for task in tasks for challenger in task.challengers}
    folders -= {task.model_folder for task in tasks}

    for folder, error in missing.items():
        if folder not in folders:
            raise error

    return [_ended(argument, missing) for argument in arguments]


def _listed(argument: Any) -> Sequence[Any]:
    return argument if isinstance(argument, (list, tuple)) else [argument]


def _ended(argument: Any, missing: Mapping[Path, ScoringError]) -> Any:
    """The argument with the challengers ended that have no model."""
    if isinstance(argument, (list, tuple)):
        return [_ended(one, missing) for one in argument]
    if not isinstance(argument, ShardTask):
        return argument

    challengers = []
    for task in argument.challengers:
        error = missing.get(task.model_folder)
        challengers.append(replace(task, end_reason=describe(error)) if error else task)
    return replace(argument, challengers=tuple(challengers))
