"""The settings of a stack: its folder, ports, storage and database."""

import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightscore.errors import StackError
from nightscore.flows.demo.sample import JOB_NAME, Lake, Sample
from nightscore.flows.prefect_server import prefect_environment

S3_KEY, S3_SECRET, BUCKET = "nightscore", "nightscore-secret", "lake"
"""Of the S3 server, which listens on the loopback address of this machine only."""
STACK_FOLDER = "stack"
"""Of logs, state and databases, below the folder of the demo."""
SQLITE_LIMITS = {"NIGHTSCORE_MAX_PARALLEL": "2", "PREFECT_CLIENT_MAX_RETRIES": "10"}
"""For the flows of a stack on SQLite, where one writes at a time. More partitions at once are no
faster there, and a server that is busy is asked more often than by default (5 times)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a stack, chosen when it is started."""

    root: str
    """Folder of the demo's data, and of the stack's state and logs."""
    store: str = "local"
    """`local` or `s3`."""
    db: str = "sqlite"
    """`sqlite` or `postgres`."""
    prefect_port: int = 4200
    mlflow_port: int = 5000
    s3_port: int = 8333
    postgres_port: int = 5433
    pages_port: int = 4280
    own_jobs: str = ""
    """Folder of the user's job files. Empty: the stack has the demo's data, model and job."""
    own_registry: str = ""
    """The registry of these jobs, a SQLite database for the MLflow server. Empty: there is no
    server."""

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Settings":
        """The settings that `as_dict` returned."""
        return cls(**raw)

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, as they are stored."""
        return asdict(self)

    @property
    def sample(self) -> Sample:
        """The demo's data, model and registry."""
        return Sample(Path(self.root))

    @property
    def folder(self) -> Path:
        """Logs, state and databases of the services."""
        return Path(self.root) / STACK_FOLDER

    @property
    def has_demo(self) -> bool:
        """Whether the stack has the demo's data, model and job."""
        return not self.own_jobs

    @property
    def has_mlflow(self) -> bool:
        """Whether an MLflow server is part of the stack."""
        return self.has_demo or bool(self.own_registry)

    @property
    def demo_jobs(self) -> Path:
        """Folder of the demo's job file."""
        return Path(self.root) / "jobs"

    @property
    def jobs(self) -> Path:
        """Folder of the job files."""
        return Path(self.own_jobs) if self.own_jobs else self.demo_jobs

    @property
    def job_file(self) -> Path:
        """The demo's job."""
        return self.demo_jobs / f"{JOB_NAME}.yaml"

    @property
    def prefect_url(self) -> str:
        """URL of the Prefect UI."""
        return f"http://127.0.0.1:{self.prefect_port}"

    @property
    def api_url(self) -> str:
        """URL of Prefect's API."""
        return f"{self.prefect_url}/api"

    @property
    def database_url(self) -> str | None:
        """URL of Prefect's database; None for SQLite."""
        if self.db != "postgres":
            return None
        return f"postgresql+asyncpg://nightscore@127.0.0.1:{self.postgres_port}/postgres"

    @property
    def mlflow_url(self) -> str:
        """URL of the MLflow server."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def pages_url(self) -> str:
        """URL of the report server."""
        return f"http://127.0.0.1:{self.pages_port}"

    @property
    def s3_url(self) -> str:
        """URL of the S3 server."""
        return f"http://127.0.0.1:{self.s3_port}"

    @property
    def lake(self) -> Lake:
        """Where the demo's job has its data. The options name variables; they have no secrets."""
        if self.store != "s3":
            return self.sample.lake

        return Lake(
            features=f"s3://{BUCKET}/features/flights",
            predictions=f"s3://{BUCKET}/predictions/flight_delay",
            labels=f"s3://{BUCKET}/labels/flights",
            storage_options={
                "key": "${LAKE_KEY}",
                "secret": "${LAKE_SECRET}",
                "endpoint_url": "${LAKE_ENDPOINT}",
            },
        )

    @property
    def client_environment(self) -> dict[str, str]:
        """Variables to export in order to work with this stack."""
        environment = {
            "PREFECT_API_URL": self.api_url,
            "NIGHTSCORE_PAGES_URL": self.pages_url,
        }

        if self.jobs.is_dir():
            environment["NIGHTSCORE_JOBS"] = str(self.jobs)

        if self.has_demo:
            environment["NIGHTSCORE_CACHE"] = str(self.sample.cache)

        if self.store == "s3":
            environment |= {
                "LAKE_KEY": S3_KEY,
                "LAKE_SECRET": S3_SECRET,
                "LAKE_ENDPOINT": self.s3_url,
            }

        return environment

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every service and command of the stack, added to the user's own."""
        tracking = {"MLFLOW_TRACKING_URI": self.mlflow_url} if self.has_mlflow else {}
        return {
            **prefect_environment(self.folder / "prefect", self.prefect_port),
            **self.client_environment,
            **(SQLITE_LIMITS if self.db == "sqlite" else {}),
            **tracking,
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        }

    def check_ports(self) -> None:
        """Check that all ports are free, and that each service has its own.

        Raises:
            StackError: Some are in use, or given twice. All are named, each with the option that
                sets it.
        """
        ports = {"prefect": self.prefect_port, "pages": self.pages_port}

        if self.has_mlflow:
            ports["mlflow"] = self.mlflow_port

        if self.store == "s3":
            ports["s3"] = self.s3_port

        if self.db == "postgres":
            ports["postgres"] = self.postgres_port

        given = [*ports.values()]
        twice = {name: port for name, port in ports.items() if given.count(port) > 1}
        if twice:
            raise StackError(
                "Two services have the same port; nothing was started.",
                problems=[f"{port}: --{name}-port" for name, port in twice.items()],
                next_step="give each service a port of its own",
            )

        taken = {name: port for name, port in ports.items() if _is_in_use(port)}
        if not taken:
            return

        raise StackError(
            "Ports of this machine are in use; nothing was started.",
            problems=[
                f"{port} ({name}): --{name}-port sets another" for name, port in taken.items()
            ],
            next_step="choose free ports, such as: nightscore up "
            + " ".join(
                f"--{name}-port {port}"
                for name, port in zip(taken, free_ports(len(taken)), strict=True)
            ),
        )


def free_ports(n: int) -> list[int]:
    """TCP ports of this machine that are free now."""
    probes = [socket.socket() for _ in range(n)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _is_in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
