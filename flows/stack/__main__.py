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
    """Run the command that the command line names."""
    options = _parse()

    settings = Settings(
        root=str(Path(options.root).absolute()),
        store=options.store,
        db=options.db,
        prefect_port=options.prefect_port,
        mlflow_port=options.mlflow_port,
        s3_port=options.s3_port,
        postgres_port=options.postgres_port,
        pages_port=options.pages_port,
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
        prog="make up", description="All services of nightscore on this machine."
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

    parser.add_argument(
        "--foreground", action="store_true", help="run in the foreground until you press Ctrl-C"
    )

    return parser.parse_args()


def _up(settings: Settings, *, foreground: bool) -> None:
    """Start the stack, unless it is running already."""
    state = State.read(settings.folder)
    if state is not None and state.is_alive and state.status != "failed":
        _show_running(settings, state)
        return

    if state is not None:
        if state.status == "failed":
            print(f"The last stack failed: {state.message}\n")

        _clear(state)

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
            print("Press Ctrl-C to stop everything.", flush=True)
            while supervisor.is_running() and supervisor.status() != psutil.STATUS_ZOMBIE:
                time.sleep(POLL_S)

            _raise_failure(settings)
    except KeyboardInterrupt:
        print()
        _down(settings)


def _start_supervisor(settings: Settings) -> psutil.Popen:
    settings.folder.mkdir(parents=True, exist_ok=True)
    arguments = []

    for name, value in settings.as_dict().items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]

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
    """Print the supervisor's messages until the stack is up."""
    printed = ""
    while True:
        has_exited = supervisor.poll() is not None

        state = State.read(settings.folder)
        if state is not None and state.process("supervisor") is None and not has_exited:
            state = None  # left by an earlier stack

        if state is not None and state.status == "up":
            return
        if has_exited:
            _raise_failure(settings)

        if state is not None and state.message not in ("", printed):
            printed = state.message
            print(f"  {printed}", flush=True)

        time.sleep(POLL_S)


def _raise_failure(settings: Settings) -> None:
    """Raise the error that ended the supervisor; return if it was stopped on purpose."""
    state = State.read(settings.folder)
    if state is None:
        return

    message = state.message

    if state.status != "failed":
        log = settings.folder / "supervisor.log"
        message = f"The supervisor exited. Its log is {log}\n{log.read_text()}"

    _clear(state)
    raise StackError(message)


def _show_running(settings: Settings, state: State) -> None:
    if state.status == "starting":
        raise StackError("The stack is already starting. Wait, or stop it with: make down")

    running = state.settings
    if (running.store, running.db) != (settings.store, settings.db):
        raise StackError(
            f"The stack is already running with STORE={running.store} DB={running.db}. "
            "To change them, stop it first: make down"
        )

    print("The stack is already running.")
    _show(running)


def _show(settings: Settings) -> None:
    """Print the addresses, and what to do next."""
    lines = [
        f"Prefect   {settings.prefect_url}",
        f"MLflow    {settings.mlflow_url}",
        f"Reports   {settings.pages_url}",
    ]

    if settings.store == "s3":
        lines.append(f"S3        {settings.s3_url}")

    if settings.db == "postgres":
        lines.append(f"Postgres  127.0.0.1:{settings.postgres_port}")

    lines.append(f"Logs      {_short(settings.folder)}/*.log")

    exports = " ".join(
        f"{name}={_short(value)}" for name, value in settings.client_environment.items()
    )
    python = Path(os.path.relpath(sys.executable))
    lines += [
        "",
        f"In the browser: Deployments, {JOB_NAME}-backfill, Run, Custom run. Or in a shell:",
        f"  export {exports}",
        f"  {python.with_name('nightscore')} backfill {JOB_NAME} --from 2013-07-01 --to 2013-07-10",
        "",
        "To stop it: make down",
    ]
    print("\n".join(lines), flush=True)


def _short(path: object) -> str:
    text = str(path)
    return os.path.relpath(text) if text.startswith(f"{Path.cwd()}/") else text


def _down(settings: Settings) -> None:
    state = State.read(settings.folder)
    if state is None:
        print("Nothing is running.")
        return
    _clear(state)
    print("Everything is stopped. Data and logs are kept.")


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


def _status(settings: Settings) -> None:
    state = State.read(settings.folder)
    if state is None:
        print("Nothing is running.")
        return

    for name in state.processes:
        print(f"{name:<12}{'running' if state.process(name) else 'not running'}")

    status = state.status if state.is_alive else "stopped"
    print(f"{status}: {state.message}" if state.message else status)


if __name__ == "__main__":
    main()
