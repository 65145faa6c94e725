"""Looks at what a project has already: it is never overwritten."""

import json
import os
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

from nightscore.errors import InvalidJobError
from nightscore.inputs.jobfile import load_job
from nightscore.operations.project.records import Layout, Link
from nightscore.operations.project.templates import IGNORED
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.text import counted

OF_MODEL = ("model", "registry", "features")
OF_DATA = ("input.uri", "input.partition_key", "input.partition_format", "keys.columns")
"""Keys of a job that are known once the model, or the data, was looked at."""
EVERY_NIGHT = '--cron "0 3 * * *"'


def check_same_job(path: Path, job: ScoringJob, *, has_model: bool, has_data: bool) -> None:
    """Refuse a job whose file exists and says something else about what was looked at.

    What nobody has looked at, and what was not found out, is its owner's.

    Args:
        path: The job file, which need not exist.
        job: As it was guessed.
        has_model: A model was looked at.
        has_data: Data were looked at.

    Raises:
        InvalidJobError: Each key that differs is named; or the file describes no job.
    """
    if not os.path.lexists(path):
        return

    keys = ["name", *(OF_MODEL if has_model else ()), *(OF_DATA if has_data else ())]
    problems = [*_differences(load_job(str(path)), job, keys)]
    if not problems:
        return

    old = shlex.join(["mv", str(path), f"{path}.old"])
    raise InvalidJobError(
        "There is a job of this name, whose file says something else; nothing was written.",
        str(path),
        expected="no such file, or one that says what was guessed now",
        found=counted(len(problems), "difference"),
        problems=problems,
        next_step="give --name NAME to add another job; or change these keys in the file; or let "
        f"it be written again: `{old}`, then this command once more",
    )


def _differences(stated: ScoringJob, guessed: ScoringJob, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        there, now = attrgetter(key)(stated), attrgetter(key)(guessed)
        if now and there != now:
            shown = [json.dumps(value) if value else "nothing" for value in (there, now)]
            yield f"{key.removesuffix('.columns')}: the file has {shown[0]}; guessed: {shown[1]}"


def kept_notes(root: Path, name: str, kept: Collection[str]) -> Iterator[str]:
    """What files that were there already do not have, and what to do."""
    job_file = f"jobs/{name}.yaml"
    if "prefect.yaml" in kept and f"{name}-nightly" not in _text(root / "prefect.yaml"):
        yield (
            f"prefect.yaml has no deployments of {name}: `nightscore deploy {job_file} "
            f"{EVERY_NIGHT}` makes them."
        )

    if ".gitignore" in kept:
        ignored = _text(root / ".gitignore").splitlines()
        entries = [line for line in IGNORED.splitlines() if line and not line.startswith("#")]
        missing = [entry for entry in entries if entry not in ignored]
        if missing:
            yield f".gitignore lacks what runs write: {' '.join(missing)}"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def without_present_links(layout: Layout) -> Layout:
    """The layout without its links, if all of them have been made before."""
    are_present = all(_is_present(link, Path(layout.uri)) for link in layout.links)
    return replace(layout, links=()) if are_present else layout


def _is_present(link: Link, data: Path) -> bool:
    """Whether the file has its place: a second name, or a copy on another file system."""
    target = data / link.target
    if not target.is_file():
        return False
    return target.samefile(link.source) or target.stat().st_size == link.source.stat().st_size
