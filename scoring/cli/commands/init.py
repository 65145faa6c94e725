"""`nightscore init`."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightscore.cli.messages import PROGRAM
from nightscore.cli.resolve import log_to, model_cache
from nightscore.cli.show import counted, err, out, print_json
from nightscore.errors import InvalidJobError
from nightscore.operations.project.begin import Project, begin_project
from nightscore.operations.project.checks import check_folders, check_wish
from nightscore.operations.project.records import Wish

JOB_OF_DEMO = "flight_delay"


def init(
    folder: Path,
    model: str,
    data: str,
    registry: str | None,
    name: str,
    demo: bool,
    as_json: bool,
    cache_dir: Path | None,
) -> None:
    """Write the files of a project, and say what was guessed and what to do next."""
    log_to(False)
    wish = Wish(folder=folder, model=model, data=data, registry=registry, name=name)
    if demo:
        _check_alone(model, data, registry)
        check_wish(wish)
        check_folders(folder)
        wish = _demo(folder, name or JOB_OF_DEMO)

    project = begin_project(wish, model_cache(cache_dir))
    if as_json:
        print_json(_document(project))
    else:
        _print_project(project)


def _check_alone(*others: object) -> None:
    if any(others):
        raise InvalidJobError(
            "--demo brings its own model and data; nothing was written.",
            next_step="leave out --model, --data and --registry, or --demo",
        )


def _demo(folder: Path, name: str) -> Wish:
    """The demo's data and model, made below the folder."""
    from nightscore.flows.demo.calendar import today_at
    from nightscore.flows.demo.requirements import check_installed
    from nightscore.flows.demo.sample import DEFAULT_ROOT, Sample

    check_installed()
    sample = Sample(folder.absolute() / DEFAULT_ROOT)
    today = today_at(datetime.now(UTC))
    sample.prepare(today, err.print, lambda text: err.print(f"  {text}"))

    return Wish(
        folder=folder,
        model=f"models:/{JOB_OF_DEMO}@champion",
        data=str(sample.features),
        registry=sample.registry,
        name=name,
    )


def _document(project: Project) -> dict[str, Any]:
    return {
        "folder": str(project.folder),
        "name": project.name,
        "job": project.job_file,
        "files": project.files,
        "kept": project.kept,
        "partition": project.partition,
        "guesses": [
            {"key": guess.key, "value": guess.value, "reason": guess.reason}
            for guess in project.guesses
        ],
        "obstacles": project.obstacles,
        "notes": project.notes,
        "next": _next_commands(project),
    }


def _print_project(project: Project) -> None:
    _print_files(project)
    out.print("")
    out.print("Guessed:")
    width = max(len(guess.key) for guess in project.guesses)
    for guess in project.guesses:
        out.print(f"  {guess.key:<{width}}  {guess.value}: {guess.reason}")

    for obstacle in (*project.obstacles, *project.notes):
        out.print("")
        out.print_lines(obstacle)

    out.print("")
    out.print("Next:")
    for command in _next_commands(project):
        out.print(f"  {command}")


def _print_files(project: Project) -> None:
    if project.files:
        out.print(f"Wrote {counted(len(project.files), 'file')} in {project.folder}:")
    else:
        out.print(f"All files of the project are in {project.folder} already.")
    for path in project.files:
        out.print(f"  {path}")

    if project.kept:
        out.print("Left as they are:")
    for path in project.kept:
        out.print(f"  {path}")


def _next_commands(project: Project) -> Sequence[str]:
    """What to type next, as a shell takes it."""
    commands = []
    if project.folder != Path.cwd():
        commands.append(shlex.join(["cd", str(project.folder)]))

    job, day = project.job_file, project.partition
    commands.append(shlex.join([PROGRAM, "check", job]))
    if day:
        commands += [shlex.join([PROGRAM, verb, job, day]) for verb in ("run", "report")]

    return commands
