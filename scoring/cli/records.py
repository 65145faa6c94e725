"""Prints the record of one run, and tells its exit code. JSON needs no library for terminals."""

import sys

import nightscore.errors
from nightscore.errors import ScoringError
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.text import json_printable


def print_record(manifest: Manifest, job: ScoringJob, *, as_json: bool) -> None:
    """Print a manifest of the job for a program or for a person."""
    if as_json:
        sys.stdout.write(json_printable(manifest.model_dump_json(indent=2)) + "\n")
        return

    from nightscore.cli.summary import print_manifest

    print_manifest(manifest, job)


def exit_code(manifest: Manifest) -> int:
    """The exit code for a run with this manifest."""
    if manifest.status == "held":
        return 3
    if manifest.error is None:
        return 0
    kind = getattr(nightscore.errors, manifest.error.type, ScoringError)
    return int(getattr(kind, "exit_code", 1))
