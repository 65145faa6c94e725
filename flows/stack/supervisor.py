"""Owns the processes of a stack: starts them in order, and stops all once one of them fails."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from nightscore.errors import ScoringError, StackError
from nightscore.flows.demo.calendar import today_at
from nightscore.flows.stack.deployments import deploy_jobs
from nightscore.flows.stack.guard import die_with_parent, is_guard
from nightscore.flows.stack.lake import add_days
from nightscore.flows.stack.last_night import schedule_evaluation
from nightscore.flows.stack.service import Service
from nightscore.flows.stack.services import all_services
from nightscore.flows.stack.settings import Settings
from nightscore.flows.stack.state import State

logger = logging.getLogger(__name__)

HEALTHY_S = 120.0
POLL_S = 0.2
STOP_S = 20.0
LOG_LINES = 15
NEW_DAY_S = 60.0
"""Between looks at the calendar."""
LAST_NIGHT_S = 5.0
"""Between looks at last night's run."""


class _Stopped(BaseException):
    """The supervisor received a signal to stop."""


def supervise(settings: Settings) -> None:
    """Start all services, wait for a signal or for a service that ends, then stop all."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)

    state = State(settings=settings, status="starting")
    if guard := _find_guard():
        state.add("guard", guard)
    state.add("supervisor", psutil.Process())
    supervisor = _Supervisor(state)

    try:
        supervisor.start()
        supervisor.watch()
    except _Stopped:
        supervisor.stop()
        state.remove()
    except (StackError, OSError, subprocess.CalledProcessError) as error:
        supervisor.stop()
        if not isinstance(error, StackError):
            error = StackError(f"{type(error).__name__}: {error}")
        state.status, state.message, state.error = "failed", "", error
        state.write()


class _Supervisor:
    def __init__(self, state: State) -> None:
        self._state, self._settings = state, state.settings
        self._running: list[tuple[Service, psutil.Popen]] = []
        self._today = today_at(datetime.now(UTC))
        """The day up to which the lake has flights."""
        self._next_look = 0.0
        self._is_evaluated = not self._settings.has_demo
        """Whether Prefect was asked to evaluate last night's run."""
        self._next_evaluation = 0.0

    def start(self) -> None:
        settings = self._settings
        settings.check_ports()
        services = all_services(settings)
        worker = services.pop()

        for service in services:
            self._start(service)

        for service in services:
            self._wait(service)

        if settings.has_demo:
            if settings.store == "s3":
                self._report("uploading the lake to the bucket")
            add_days(settings, self._today)

        self._report("creating the deployments")
        deploy_jobs(settings, self._environment())

        # The worker needs the pool, which comes with the deployments.
        self._start(worker)
        self._wait(worker)
        self._state.status, self._state.message = "up", ""
        self._state.write()

    def watch(self) -> None:
        while True:
            for service, process in self._running:
                if process.poll() is not None:
                    raise _exited(service, process, self._log(service))

            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + NEW_DAY_S
                self._add_new_days()

            if not self._is_evaluated and time.monotonic() >= self._next_evaluation:
                self._next_evaluation = time.monotonic() + LAST_NIGHT_S
                self._evaluate_last_night()

            time.sleep(POLL_S)

    def _add_new_days(self) -> None:
        """Add the flights of a day that has begun. What fails is logged, and tried again."""
        today = today_at(datetime.now(UTC))
        if today == self._today or not self._settings.has_demo:
            return

        try:
            add_days(self._settings, today)
        except (ScoringError, OSError) as error:
            logger.warning("the flights of %s could not be added: %s", today, error)
        else:
            self._today = today

    def _evaluate_last_night(self) -> None:
        """Have last night's run evaluated once it has ended. A busy server is asked again."""
        with contextlib.suppress(OSError):
            self._is_evaluated = schedule_evaluation(self._settings.api_url, datetime.now(UTC))

    def stop(self) -> None:
        """Stop all services in reverse order, with everything that they have started."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        for service, process in reversed(self._running):
            end(process, service.stop_signal)
            for path in service.temporary:
                remove(path)
        self._running = []

    def _environment(self) -> dict[str, str]:
        return os.environ | self._settings.environment

    def _log(self, service: Service) -> Path:
        return self._settings.folder / f"{service.name}.log"

    def _report(self, message: str) -> None:
        self._state.message = message
        self._state.write()

    def _start(self, service: Service) -> None:
        self._report(f"starting {service.name}")

        with self._log(service).open("w") as log:
            process = psutil.Popen(
                service.command,
                cwd="/" if service.user else None,
                env=self._environment() | dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=service.user,
                process_group=0,  # in this session, see the guard
                preexec_fn=die_with_parent(service.stop_signal),
            )

        self._running.append((service, process))
        self._state.temporary += [str(path) for path in service.temporary]
        self._state.add(service.name, process)

    def _wait(self, service: Service) -> None:
        """Return once a service is healthy."""
        self._report(f"waiting for {service.name}")
        (process,) = (process for other, process in self._running if other is service)
        deadline = time.monotonic() + HEALTHY_S

        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise _exited(service, process, self._log(service))

            with contextlib.suppress(OSError):
                if service.is_healthy():
                    return

            time.sleep(POLL_S)

        log = self._log(service)
        raise StackError(
            f"{service.name} is not healthy after {HEALTHY_S:.0f} s; all services are stopped.",
            str(log),
            problems=_tail(log),
            next_step="look at the end of its log, above; then run: nightscore up",
        )


def end(process: psutil.Process, number: signal.Signals) -> None:
    """Stop a process and its children: by a signal first, then by killing them."""
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)

    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)

    _, alive = psutil.wait_procs([process], timeout=STOP_S)
    for other in {*alive, *family}:
        with contextlib.suppress(psutil.NoSuchProcess):
            other.kill()

    psutil.wait_procs(family, timeout=STOP_S)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _find_guard() -> psutil.Process | None:
    """The guard that has started this process; None if it has none."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process().parent()
        if parent and is_guard(parent.cmdline()):
            return parent

    return None


def _stop(signum: int, frame: Any) -> None:
    raise _Stopped


def _exited(service: Service, process: psutil.Popen, log: Path) -> StackError:
    return StackError(
        f"{service.name} exited with code {process.returncode}; all services are stopped.",
        str(log),
        problems=_tail(log),
        next_step="look at the end of its log, above; then run: nightscore up",
    )


def _tail(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-LOG_LINES:]
