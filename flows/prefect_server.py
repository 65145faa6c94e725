"""A private Prefect server on a free port, for as long as a block runs."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

START_TIMEOUT_S = 120


class PrefectServer:
    """A server that starts in the background; `wait` returns once it answers.

    Prefect's ephemeral mode, which starts a server inside the client, is not used: it loses task
    runs and ends in tracebacks.
    """

    def __init__(self, home: Path, database_url: str | None = None) -> None:
        """Start the server.

        Args:
            home: Folder of its settings, and of its SQLite database.
            database_url: Another database to use.
        """
        home.mkdir(parents=True, exist_ok=True)

        port = free_port()
        self.environment = prefect_environment(home, port)
        self.api_url = self.environment["PREFECT_API_URL"]
        self._log_path = home / "server.log"

        with self._log_path.open("w") as log:
            self._process = subprocess.Popen(
                server_command(port),
                env=os.environ | self.environment | database_environment(database_url),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            RuntimeError: It ended, or did not answer in time. The message names its log.
        """
        url = f"{self.api_url}/health"
        deadline = time.monotonic() + START_TIMEOUT_S

        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                return
            time.sleep(0.2)

        raise RuntimeError(f"the Prefect server did not start; see {self._log_path}")

    def stop(self) -> None:
        """Stop it, and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def prefect_environment(home: Path, port: int) -> dict[str, str]:
    """Variables of the server on a port and of its clients, apart from the user's own Prefect."""
    return {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(home.absolute()),
        "PREFECT_PROFILES_PATH": str(home.absolute() / "profiles.toml"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def database_environment(url: str | None) -> dict[str, str]:
    """Variables that make a server use a database. None: SQLite in its home."""
    return {} if url is None else {"PREFECT_API_DATABASE_CONNECTION_URL": url}


def server_command(port: int) -> list[str]:
    """The command that runs a server in the foreground."""
    prefect = [sys.executable, "-m", "prefect"]
    return [*prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port)]


@contextlib.contextmanager
def prefect_server(home: Path, database_url: str | None = None) -> Iterator[PrefectServer]:
    """A server that is stopped at the end, also after an error."""
    server = PrefectServer(home, database_url)
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """A TCP port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
