"""The command `nightscore`. With --json, standard output carries one JSON document and nothing else."""

from scoring.cli import runs, results, models  # noqa: I001 (the order of the help)
from scoring.cli.app import app, main

__all__ = ["app", "main", "models", "results", "runs"]
