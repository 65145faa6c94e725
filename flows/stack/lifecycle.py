"""Starts a stack, shows it, and stops it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from nightscore.errors import StackError
from nightscore.flows.demo.calendar import today_at
from nightscore.flows.stack.guard import guarded
from nightscore.flows.stack.services import find_weed
from nightscore.flows.stack.settings import Settings
from nightscore.flows.stack.state import State
from nightscore.flows.stack.supervisor import STOP_S, end, remove

POLL_S = 0.2

Tell = Callable[[str], None]
"""Called with a line of text for the user."""


def up(settings: Settings, tell: Tell) -> Settings:
    """Start a stack; one that is running stays as it is.

    Args:
        settings: What to start.
        tell: Called with each step.

    Returns:
        The settings of the stack that is running.

    Raises:
        StackError: It cannot be started, or is running with other settings.
    """
    state = State.read(settings.folder)
    if state is not None and state.is_alive and state.status != "failed":
        _check_running(settings, state)
        tell("The stack is already running.")
        return state.settings

    if state is not None:
        if state.error is not None:
            tell(f"The last stack failed: {state.error.what}")

        _clear(state)

    settings.check_ports()
    if settings.store == "s3":
        find_weed()

    if settings.has_demo:
        _prepare_demo(settings, tell)

    supervisor = _start_supervisor(settings)
    try:
        _follow(settings, supervisor, tell)
    except KeyboardInterrupt:
        down(settings)
        raise

    return settings


def _prepare_demo(settings: Settings, tell: Tell) -> None:
    """Make the demo's data, model and job, as far as they are not there."""
    settings.sample.prepare(
        today_at(datetime.now(UTC)),
        lambda text: tell(f"{text} …"),
        lambda text: tell(f"  {text}"),
    )
    release = _release_section(settings.job_file)
    settings.sample.write_job(
        settings.job_file, settings.mlflow_url, settings.lake, release=release
    )


def _release_section(job_file: Path) -> dict[str, Any] | None:
    """What somebody has added to the demo's job for a challenger; None: nothing."""
    if not job_file.exists():
        return None

    written = yaml.safe_load(job_file.read_text()) or {}
    return written.get("release")


def wait_until_stopped(settings: Settings) -> None:
    """Return when the stack is stopped; an interrupt stops it.

    Raises:
        StackError: One of its services ended.
    """
    state = State.read(settings.folder)
    supervisor = state.process("supervisor") if state else None

    try:
        while supervisor and supervisor.is_running():
            if supervisor.status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(POLL_S)
    except psutil.NoSuchProcess:
        pass
    except KeyboardInterrupt:
        down(settings)
        return

    _raise_failure(settings)


def down(settings: Settings) -> bool:
    """Stop a stack. Data and logs are kept.

    Returns:
        Whether there was one.
    """
    state = State.read(settings.folder)
    if state is not None:
        _clear(state)

    return state is not None


def addresses(settings: Settings) -> dict[str, str]:
    """Where the services of a stack are, by what people call them."""
    named = {"Prefect": settings.prefect_url}

    if settings.has_mlflow:
        named["MLflow"] = settings.mlflow_url

    named["Reports"] = settings.pages_url

    if settings.store == "s3":
        named["S3"] = settings.s3_url

    if settings.db == "postgres":
        named["Postgres"] = f"127.0.0.1:{settings.postgres_port}"

    return named


def _check_running(settings: Settings, state: State) -> None:
    """Check that the stack that is running is the one that is asked for."""
    if state.status == "starting":
        raise StackError(
            "The stack is already starting.", next_step="wait, or stop it with: nightscore down"
        )

    running, wanted = _options(state.settings), _options(settings)
    if running != wanted:
        raise StackError(
            "The stack is already running with other settings; nothing was changed.",
            expected=wanted,
            found=running,
            next_step="to change them, stop it first: nightscore down",
        )


def _options(settings: Settings) -> str:
    """The options that start such a stack."""
    options = f"--store {settings.store} --db {settings.db}"
    return options if settings.has_demo else f"{options} --no-demo"


def _start_supervisor(settings: Settings) -> psutil.Popen:
    settings.folder.mkdir(parents=True, exist_ok=True)
    arguments = []

    for name, value in settings.as_dict().items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]

    with (settings.folder / "supervisor.log").open("w") as log:
        return psutil.Popen(
            guarded([sys.executable, "-m", "nightscore.flows.stack", "supervise", *arguments]),
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _follow(settings: Settings, supervisor: psutil.Popen, tell: Tell) -> None:
    """Tell the supervisor's messages until the stack is up."""
    told = ""
    while True:
        has_exited = supervisor.poll() is not None

        state = State.read(settings.folder)
        if state is not None and state.process("supervisor") is None and not has_exited:
            state = None  # left by an earlier stack

        if state is not None and state.status == "up":
            return
        if has_exited:
            _raise_failure(settings)

        if state is not None and state.message not in ("", told):
            told = state.message
            tell(f"  {told}")

        time.sleep(POLL_S)


def _raise_failure(settings: Settings) -> None:
    """Raise the error that ended the supervisor; return if it was stopped on purpose."""
    state = State.read(settings.folder)
    if state is None:
        return

    error = state.error
    if error is None:
        log = settings.folder / "supervisor.log"
        error = StackError(
            "The stack's supervisor ended; all services are stopped.",
            str(log),
            problems=log.read_text(errors="replace").splitlines(),
            next_step="start it again; if it ends again, report it with this log",
        )

    _clear(state)
    raise error


def _clear(state: State) -> None:
    """Stop the processes of a stack, and remove its temporary files."""
    if supervisor := state.process("supervisor"):
        children = supervisor.children(recursive=True)
        supervisor.send_signal(signal.SIGTERM)
        psutil.wait_procs([supervisor, *children], timeout=STOP_S * len(state.processes))

    for name in reversed(state.processes):
        if process := state.process(name):
            end(process, signal.SIGINT if name == "postgres" else signal.SIGTERM)

    for path in state.temporary:
        remove(Path(path))

    state.remove()
