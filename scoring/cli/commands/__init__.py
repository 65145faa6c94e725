"""The commands, one verb a module. They are imported in the order of the help."""

# ruff: isort: off
from nightscore.cli.commands import plan
from nightscore.cli.commands import run
from nightscore.cli.commands import backfill
from nightscore.cli.commands import partitions
from nightscore.cli.commands import history
from nightscore.cli.commands import rollback
from nightscore.cli.commands import replay
from nightscore.cli.commands import approve
from nightscore.cli.commands import reject
from nightscore.cli.commands import verify
from nightscore.cli.commands import report
from nightscore.cli.commands import pages
from nightscore.cli.commands import baseline
from nightscore.cli.commands import drift
from nightscore.cli.commands import clean
from nightscore.cli.commands import model
from nightscore.cli.app import app, run_command_line
# ruff: isort: on

__all__ = [
    "app",
    "approve",
    "backfill",
    "baseline",
    "clean",
    "drift",
    "history",
    "model",
    "pages",
    "partitions",
    "plan",
    "reject",
    "replay",
    "report",
    "rollback",
    "run",
    "run_command_line",
    "verify",
]
