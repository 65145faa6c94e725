"""All commands together."""

from scoring.cli import runs, results, drift, models  # noqa: I001 (the order of the help)
from scoring.cli.app import app, run_command_line

__all__ = ["app", "drift", "models", "results", "run_command_line", "runs"]
