"""All commands together."""

from nightscore.cli import runs, results, drift, models  # noqa: I001 (the order of the help)
from nightscore.cli.app import app, run_command_line

__all__ = ["app", "drift", "models", "results", "run_command_line", "runs"]
