"""The commands, by name. What is not here is no command.

This is read before anything else is imported: it says which processes to start early, and which
module to import.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """Where a command is, and what it is going to do."""

    target: str
    """Its module in `cli/commands/`, and the function there, or the `typer.Typer` of a group."""
    reads_footers: bool = False
    """It reads footers of Parquet files first of all. The process for that is started early."""
    scores: bool = False
    """It scores. The first worker is started early."""
    changes_data: bool = False
    """Its exit code says what it has done, whether or not that could be printed."""


COMMANDS = {
    "plan": Command("plan:plan", reads_footers=True),
    "run": Command("run:run_command", reads_footers=True, scores=True, changes_data=True),
    "backfill": Command("backfill:backfill", reads_footers=True, scores=True, changes_data=True),
    "partitions": Command("partitions:partitions"),
    "explain": Command("partitions:explain"),
    "runs": Command("history:runs"),
    "history": Command("history:history"),
    "rollback": Command("rollback:rollback", changes_data=True),
    "replay": Command("replay:replay_command", reads_footers=True, scores=True, changes_data=True),
    "approve": Command("approve:approve", changes_data=True),
    "reject": Command("reject:reject", changes_data=True),
    "verify": Command("verify:verify_command"),
    "report": Command("report:report"),
    "pages": Command("pages:pages"),
    "baseline": Command("baseline:baseline", changes_data=True),
    "drift": Command("drift:drift"),
    "clean": Command("clean:clean_command", changes_data=True),
    "pin": Command("model:pin", changes_data=True),
    "model": Command("model:model"),
}
"""In the order of the help, which shows groups last."""
NO_COMMAND = Command("")
