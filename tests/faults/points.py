"""The moments before each change of a store: there a command can be killed, or another one come between.

A process that runs `run_and_be_killed_at` is killed (SIGKILL, by itself) at the n-th of them.
"""

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from nightscore.cli.app import run_command_line
from nightscore.outputs.delta_publisher import DeltaPublisher
from nightscore.storage.store import Store

CHANGES: tuple[tuple[Any, str], ...] = (
    *((Store, name) for name in ("write_bytes", "create", "replace", "delete", "delete_tree")),
    (DeltaPublisher, "_commit"),
)
FURTHER: tuple[tuple[Any, str], ...] = ((os, "replace"),)
"""A local file is whole, and not in its place; a lock may be held."""


def at_each_point(
    patch: pytest.MonkeyPatch,
    act: Callable[[int], None],
    changes: tuple[tuple[Any, str], ...] = (*CHANGES, *FURTHER),
) -> None:
    """Call `act` with 0, 1, 2... before each change that this process makes, its workers' apart."""
    n_seen = 0

    def around(change: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(change)
        def changing(*arguments: Any, **options: Any) -> Any:
            nonlocal n_seen
            n_seen += 1
            act(n_seen - 1)
            return change(*arguments, **options)

        return changing

    for owner, name in changes:
        patch.setattr(owner, name, around(getattr(owner, name)))


def run_and_be_killed_at(last: int) -> None:
    """Run the command that `sys.argv` has, and be killed at the moment of this number."""

    def die(n: int) -> None:
        if n == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patched:
        at_each_point(patched, die)
        run_command_line()
