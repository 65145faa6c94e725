"""The database of Prefect's server in a stack: which one, if nobody has said it."""

from pathlib import Path

from nightscore.flows.stack.postgres import can_keep_data
from nightscore.flows.stack.state import State


def default_database(folder: Path) -> str:
    """`postgres` or `sqlite`: what a stack uses or has used last, else Postgres where it can run.

    Args:
        folder: Folder of the stack's databases, state and logs.
    """
    state = State.read(folder)
    if state is not None and state.is_alive:
        return state.settings.db

    last_used = {
        "sqlite": _newest(folder / "prefect" / "prefect.db", folder / "prefect" / "prefect.db-wal"),
        "postgres": _newest(folder / "postgres" / "global" / "pg_control"),
    }

    if any(last_used.values()):
        return max(last_used, key=lambda name: last_used[name])

    return "postgres" if can_keep_data(folder) else "sqlite"


def _newest(*files: Path) -> float:
    """When one of the files was last written; 0 if there is none."""
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
