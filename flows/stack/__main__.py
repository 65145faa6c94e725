"""The commands behind `make up`, `make down` and `make status`."""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from nightscore.flows.demo.sample import DEFAULT_ROOT, JOB_NAME
from nightscore.flows.stack.settings import ROOT, Settings, StackError
from nightscore.flows.stack.state import State
from nightscore.flows.stack.supervisor import STOP_S, end, remove, supervise

POLL_S = 0.2


def main() -> None:
    """Do what the command line says."""
    options = _parse()
    settings = Settings(
        str(Path(options.root).absolute()),
        options.store,
        options.db,
        options.prefect_port,
        options.mlflow_port,
        options.s3_port,
        options.postgres_port,
        options.pages_port,
    )
    try:
        if options.command == "supervise":
            supervise(settings)
        elif options.command == "up":
            _up(settings, foreground=options.foreground)
        elif options.command == "down":
            _down(settings)
        else:
            _status(settings)
    except StackError as error:
        sys.exit(str(error))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make up", description="A whole nightscore on this machine."
    )
    parser.add_argument("command", choices=("up", "down", "status", "supervise"))
    parser.add_argument("--root", default=str(DEFAULT_ROOT))
    parser.add_argument("--store", choices=("local", "s3"), default="local")
    parser.add_argument("--db", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--s3-port", type=int, default=8333)
    parser.add_argument("--postgres-port", type=int, default=5433)
    parser.add_argument("--pages-port", type=int, default=4280)
    parser.add_argument("--foreground", action="store_true", help="stay until Ctrl-C")
    return parser.parse_args()


def _up(settings: Settings, *, foreground: bool) -> None:
    standing = State.read(settings.folder)
    if standing is not None and standing.is_alive and standing.status != "failed":
        _already_up(settings, standing)
        return
    if standing is not None:
        if standing.status == "failed":
            print(f"The last one failed: {standing.message}\n")
        _clear(standing)
    settings.check_ports()
    settings.sample.prepare(
        lambda text: print(f"{text} …", flush=True), lambda text: print(f"  {text}", flush=True)
    )
    settings.sample.write_job(
        settings.jobs / f"{JOB_NAME}.yaml",
        settings.mlflow_url,
        settings.features,
        settings.predictions,
        settings.storage_options,
    )
    supervisor = _start_supervisor(settings)
    try:
        _follow(settings, supervisor)
        _show(settings)
        if foreground:
            print("Ctrl-C stops all.", flush=True)
            while supervisor.is_running() and supervisor.status() != psutil.STATUS_ZOMBIE:
                time.sleep(POLL_S)
            _explain_end(settings)
    except KeyboardInterrupt:
        print()
        _down(settings)


def _start_supervisor(settings: Settings) -> psutil.Popen:
    settings.folder.mkdir(parents=True, exist_ok=True)
    named = settings.as_dict()
    arguments = [
        part
        for name, value in named.items()
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    with (settings.folder / "supervisor.log").open("w") as log:
        return psutil.Popen(
            [sys.executable, "-m", "nightscore.flows.stack", "supervise", *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _follow(settings: Settings, supervisor: psutil.Popen) -> None:
    """Say what it says until all is up."""
    said = ""
    while True:
        ended = supervisor.poll() is not None
        state = State.read(settings.folder)
        if state is not None and state.process("supervisor") is None and not ended:
            state = None  # of the one before
        if state is not None and state.status == "up":
            return
        if ended:
            _explain_end(settings)
        if state is not None and state.message not in ("", said):
            said = state.message
            print(f"  {said}", flush=True)
        time.sleep(POLL_S)


def _explain_end(settings: Settings) -> None:
    state = State.read(settings.folder)
    if state is None:
        return  # it was told to stop
    log = settings.folder / "supervisor.log"
    message = (
        state.message
        if state.status == "failed"
        else f"the supervisor ended; see {log}\n{log.read_text()}"
    )
    _clear(state)
    raise StackError(message)


def _already_up(settings: Settings, standing: State) -> None:
    if standing.status == "starting":
        raise StackError("It is being started already; wait, or stop it with: make down")
    running = standing.settings
    if (running.store, running.db) != (settings.store, settings.db):
        raise StackError(
            f"It is up already, with STORE={running.store} DB={running.db}; for another, first: make down"
        )
    print("It is up already.")
    _show(running)


def _show(settings: Settings) -> None:
    lines = [
        f"Prefect   {settings.prefect_url}",
        f"MLflow    {settings.mlflow_url}",
        f"Reports   {settings.pages_url}",
    ]
    if settings.store == "s3":
        lines.append(f"S3        {settings.s3_url}")
    if settings.db == "postgres":
        lines.append(f"Postgres  127.0.0.1:{settings.postgres_port}")
    lines.append(f"logs      {_short(settings.folder)}/*.log")
    exports = " ".join(
        f"{name}={_short(value)}" for name, value in settings.client_environment.items()
    )
    python = Path(os.path.relpath(sys.executable))
    lines += [
        "",
        f"In the browser: Deployments, {JOB_NAME}-backfill, Run, Custom run. Or here:",
        f"  export {exports}",
        f"  {python.with_name('nightscore')} backfill {JOB_NAME} --from 2013-07-01 --to 2013-07-10",
        "",
        "Stop it with: make down",
    ]
    print("\n".join(lines), flush=True)


def _short(path: object) -> str:
    text = str(path)
    return os.path.relpath(text) if text.startswith(f"{Path.cwd()}/") else text


def _down(settings: Settings) -> None:
    state = State.read(settings.folder)
    if state is None:
        print("Nothing is up.")
        return
    _clear(state)
    print("Everything is stopped; data and logs stay.")


def _clear(state: State) -> None:
    """End what is left of a stack, and what it has left."""
    if supervisor := state.process("supervisor"):
        below = supervisor.children(recursive=True)
        supervisor.send_signal(signal.SIGTERM)
        psutil.wait_procs([supervisor, *below], timeout=STOP_S * len(state.processes))
    for name in reversed(state.processes):
        if process := state.process(name):
            end(process, signal.SIGINT if name == "postgres" else signal.SIGTERM)
    for path in state.temporary:
        remove(Path(path))
    state.remove()


def _status(settings: Settings) -> None:
    state = State.read(settings.folder)
    if state is None:
        print("Nothing is up.")
        return
    for name in state.processes:
        print(f"{name:<12}{'running' if state.process(name) else 'gone'}")
    print(
        f"{state.status if state.is_alive else 'stopped'}{': ' if state.message else ''}{state.message}"
    )


if __name__ == "__main__":
    main()
