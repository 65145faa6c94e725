"""The commands, by name. What is not here is no command.

This is read before anything else is imported: it says which processes to start early, and which
module to import.
"""

from typing import NamedTuple

BEGIN = "Begin"
SCORE = "Score"
LOOK = "See what was done"
CHANGE = "Change what readers see"
WATCH = "Watch the data"
NIGHTLY = "Every night, with Prefect"
RELEASE = "Release a model version"
MODELS = "Models"


class Command(NamedTuple):
    """Where a command is, and what it is going to do."""

    target: str
    """Its module in `cli/arguments/`, and the function there, or the `typer.Typer` of a group."""
    group: str
    """The heading above it in the help."""
    example: str
    """A call, without `nightscore`. The help shows it."""
    reads_footers: bool = False
    """It reads footers of Parquet files first of all. The process for that is started early."""
    scores: bool = False
    """It scores. The first worker is started early."""
    changes_data: bool = False
    """Its exit code says what it has done, whether or not that could be printed. A call that is not
    quite right is not corrected but refused, with the corrected call."""


COMMANDS = {
    "init": Command(
        "projects:init",
        BEGIN,
        "init churn --model models:/churn/1 --data customers.parquet",
        changes_data=True,
    ),
    "check": Command("projects:check", BEGIN, "check flight_delay", reads_footers=True),
    "plan": Command("scoring:plan", SCORE, "plan flight_delay 2026-11-24", reads_footers=True),
    "run": Command(
        "scoring:run",
        SCORE,
        "run flight_delay 2026-11-24",
        reads_footers=True,
        scores=True,
        changes_data=True,
    ),
    "backfill": Command(
        "scoring:backfill",
        SCORE,
        "backfill flight_delay --from 2026-11-01 --to 2026-11-24",
        reads_footers=True,
        scores=True,
        changes_data=True,
    ),
    "replay": Command(
        "scoring:replay",
        SCORE,
        "replay flight_delay 2026-11-24",
        reads_footers=True,
        scores=True,
        changes_data=True,
    ),
    "partitions": Command("results:partitions", LOOK, "partitions flight_delay --from 2026-11-01"),
    "explain": Command("results:explain", LOOK, "explain flight_delay 2026-11-24"),
    "runs": Command("results:runs", LOOK, "runs flight_delay --limit 10"),
    "history": Command("results:history", LOOK, "history flight_delay dep_delay"),
    "verify": Command("results:verify", LOOK, "verify flight_delay 2026-11-24"),
    "approve": Command(
        "changes:approve",
        CHANGE,
        'approve flight_delay 2026-11-24 --note "holiday"',
        changes_data=True,
    ),
    "reject": Command(
        "changes:reject",
        CHANGE,
        'reject flight_delay 2026-11-24 --note "half a day"',
        changes_data=True,
    ),
    "rollback": Command(
        "changes:rollback",
        CHANGE,
        "rollback flight_delay --from 2026-11-24 --to 2026-11-25 --dry-run",
        changes_data=True,
    ),
    "clean": Command("changes:clean", CHANGE, "clean flight_delay --dry-run", changes_data=True),
    "report": Command("monitoring:report", WATCH, "report flight_delay 2026-11-24 --open"),
    "pages": Command("monitoring:pages", WATCH, "pages --port 4280"),
    "baseline": Command(
        "monitoring:baseline",
        WATCH,
        "baseline flight_delay --from holdout.parquet --label late",
        changes_data=True,
    ),
    "performance": Command("monitoring:performance", WATCH, "performance flight_delay --last 14"),
    "evaluate": Command(
        "monitoring:evaluate",
        WATCH,
        "evaluate flight_delay --from 2026-11-01",
        changes_data=True,
    ),
    "drift": Command("monitoring:drift", WATCH, "drift january.parquet february.parquet"),
    "demo": Command("services:demo", NIGHTLY, "demo", changes_data=True),
    "up": Command("services:up", NIGHTLY, "up --db postgres", changes_data=True),
    "status": Command("services:status", NIGHTLY, "status"),
    "deploy": Command(
        "deployments:deploy",
        NIGHTLY,
        'deploy flight_delay --cron "0 3 * * *" --timezone America/New_York',
        changes_data=True,
    ),
    "alerts": Command("deployments:alerts", NIGHTLY, "alerts", changes_data=True),
    "down": Command("services:down", NIGHTLY, "down", changes_data=True),
    "compare": Command("releases:compare", RELEASE, "compare flight_delay --from 2026-11-01"),
    "promote": Command(
        "releases:promote",
        RELEASE,
        'promote flight_delay --to 7 --without-labels --note "trained on June"',
        changes_data=True,
    ),
    "demote": Command(
        "releases:demote", RELEASE, "demote flight_delay --with-predictions", changes_data=True
    ),
    "releases": Command("releases:releases", RELEASE, "releases flight_delay --at 2026-11-24"),
    "pin": Command("models:pin", MODELS, "pin models:/flight_delay/1", changes_data=True),
    "warm": Command("models:warm", MODELS, "warm flight_delay", reads_footers=True),
    "model": Command("models:model", MODELS, "model inspect models:/flight_delay/1"),
}
"""In the order of the help, which shows groups last."""
NO_COMMAND = Command("", "", "")
