"""`nightscore up`."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from nightscore.cli.messages import PROGRAM
from nightscore.cli.show import err, out, print_json
from nightscore.flows.demo.calendar import today_at
from nightscore.flows.demo.requirements import check_installed

if TYPE_CHECKING:
    from nightscore.flows.stack.settings import Settings


def up(
    root: Path,
    demo: bool | None,
    store: str,
    db: str | None,
    ports: Mapping[str, int],
    foreground: bool,
    as_json: bool,
) -> None:
    """Start the stack, and print its addresses and what to do next."""
    check_installed()

    from nightscore.flows.stack import lifecycle
    from nightscore.flows.stack.database import default_database
    from nightscore.flows.stack.own_jobs import find_own_jobs, wants_demo
    from nightscore.flows.stack.settings import STACK_FOLDER, Settings

    root = root.absolute()
    database = db or default_database(root / STACK_FOLDER)
    settings = Settings(
        root=str(root), store=store, db=database, own_jobs="", own_registry="", **ports
    )
    tell = _teller(as_json)

    if not (wants_demo(settings) if demo is None else demo):
        own = find_own_jobs(settings)
        settings = replace(settings, own_jobs=own.folder, own_registry=own.registry)
        tell(f"Without the demo; jobs: {', '.join(own.names) or 'none yet'}")
        if own.note:
            tell(own.note)

    running = lifecycle.up(settings, tell)
    if as_json:
        print_json(_document(running))
        sys.stdout.flush()
    else:
        out.print_lines("\n".join(_lines(running)))

    if foreground:
        tell("Press Ctrl-C to stop everything.")
        lifecycle.wait_until_stopped(running)


def program() -> str:
    """How the reader calls nightscore: by its name, or by its path if that is not on the path."""
    beside = Path(sys.executable).with_name(PROGRAM)
    found = shutil.which(PROGRAM)

    if not beside.exists() or (found and Path(found).resolve() == beside.resolve()):
        return PROGRAM
    return shlex.quote(short(beside))


def short(path: object) -> str:
    """A path, relative to the working folder if it is below."""
    text = str(path)
    return os.path.relpath(text) if text.startswith(f"{Path.cwd()}/") else text


def _teller(as_json: bool) -> Callable[[str], None]:
    stream = err if as_json else out

    def tell(text: str) -> None:
        stream.print(text)
        sys.stdout.flush()

    return tell


def _document(settings: "Settings") -> dict[str, object]:
    from nightscore.flows.stack.lifecycle import addresses

    return {
        "status": "up",
        "addresses": addresses(settings),
        "logs": str(settings.folder),
        "environment": settings.client_environment,
    }


def _lines(settings: "Settings") -> list[str]:
    from nightscore.flows.stack.lifecycle import addresses

    lines = [f"{name:<9} {address}" for name, address in addresses(settings).items()]
    lines.append(f"{'Logs':<9} {short(settings.folder)}/*.log")

    exports = [
        f"{name}={shlex.quote(short(value))}" for name, value in settings.client_environment.items()
    ]
    stop = f"{program()} down"
    if settings.root != str(Path(".demo").absolute()):
        stop += f" --root {shlex.quote(short(settings.root))}"

    export = f"  export {' '.join(exports)}"
    next_steps = _demo_steps(settings, export) if settings.has_demo else _own_steps(export)
    return [*lines, "", *next_steps, "", f"To stop everything: {stop}"]


def _demo_steps(settings: "Settings", export: str) -> list[str]:
    job = settings.job_file.stem
    last_night = today_at(datetime.now(UTC)) - timedelta(days=1)
    first = last_night - timedelta(days=9)
    return [
        f"In the browser: Deployments, {job}-backfill, Run, Custom run. Or in a shell:",
        export,
        f"  {program()} backfill {job} --from {first} --to {last_night}",
        "A job of your own, every night:",
        f'  {program()} deploy JOB --cron "0 3 * * *"',
    ]


def _own_steps(export: str) -> list[str]:
    return [
        "Run your jobs in the browser, below Deployments. Or have one run every night:",
        export,
        f'  {program()} deploy JOB --cron "0 3 * * *"',
        "If the job has labels, have it evaluated every night, too:",
        f'  {program()} deploy JOB --cron "0 3 * * *" --evaluate-cron "0 5 * * *"',
    ]
