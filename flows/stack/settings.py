"""What a stack is made of: its folder, ports, storage and database."""

import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightscore.flows.demo.sample import Sample
from nightscore.flows.stack.prefect_server import prefect_environment

ROOT = Path(__file__).resolve().parent.parent.parent
"""Of the repository: deployments are made from here, and flows run here."""
S3_KEY, S3_SECRET, BUCKET = "nightscore", "nightscore-secret", "lake"
"""For the server on this machine only, which listens on its loopback address."""


class StackError(Exception):
    """The stack cannot be started or stopped; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Chosen once, when it is started."""

    root: str
    store: str = "local"
    """`local` or `s3`."""
    db: str = "sqlite"
    """`sqlite` or `postgres`."""
    prefect_port: int = 4200
    mlflow_port: int = 5000
    s3_port: int = 8333
    postgres_port: int = 5433
    pages_port: int = 4280

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "Settings":
        """As `as_dict` gave it."""
        return cls(**raw)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def sample(self) -> Sample:
        return Sample(Path(self.root))

    @property
    def folder(self) -> Path:
        """Logs, state and databases of the services."""
        return Path(self.root) / "stack"

    @property
    def jobs(self) -> Path:
        return Path(self.root) / "jobs"

    @property
    def prefect_url(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}"

    @property
    def api_url(self) -> str:
        return f"{self.prefect_url}/api"

    @property
    def database_url(self) -> str | None:
        """Of Prefect's database; None for SQLite."""
        address = f"nightscore@127.0.0.1:{self.postgres_port}/postgres"
        return f"postgresql+asyncpg://{address}" if self.db == "postgres" else None

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def pages_url(self) -> str:
        """Of the reports."""
        return f"http://127.0.0.1:{self.pages_port}"

    @property
    def s3_url(self) -> str:
        return f"http://127.0.0.1:{self.s3_port}"

    @property
    def features(self) -> str:
        return (
            f"s3://{BUCKET}/features/flights" if self.store == "s3" else str(self.sample.features)
        )

    @property
    def predictions(self) -> str:
        return (
            f"s3://{BUCKET}/predictions/flight_delay"
            if self.store == "s3"
            else str(self.sample.predictions)
        )

    @property
    def storage_options(self) -> dict[str, str]:
        """As the job file has them: names of variables, no secrets."""
        if self.store != "s3":
            return {}
        return {
            "key": "${LAKE_KEY}",
            "secret": "${LAKE_SECRET}",
            "endpoint_url": "${LAKE_ENDPOINT}",
        }

    @property
    def client_environment(self) -> dict[str, str]:
        """What a user exports to work with this stack."""
        found = {
            "PREFECT_API_URL": self.api_url,
            "NIGHTSCORE_JOBS": str(self.jobs),
            "NIGHTSCORE_CACHE": str(self.sample.cache),
            "NIGHTSCORE_PAGES_URL": self.pages_url,
        }
        if self.store == "s3":
            found |= {"LAKE_KEY": S3_KEY, "LAKE_SECRET": S3_SECRET, "LAKE_ENDPOINT": self.s3_url}
        return found

    @property
    def environment(self) -> dict[str, str]:
        """Of every service and command of the stack, beside what the user has."""
        return {
            **prefect_environment(self.folder / "prefect", self.prefect_port),
            **self.client_environment,
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        }

    def check_ports(self) -> None:
        """Raise StackError if a port is taken; names all of them, each with the variable that sets it."""
        wanted = {
            "PREFECT_PORT": self.prefect_port,
            "MLFLOW_PORT": self.mlflow_port,
            "PAGES_PORT": self.pages_port,
        }
        if self.store == "s3":
            wanted["S3_PORT"] = self.s3_port
        if self.db == "postgres":
            wanted["POSTGRES_PORT"] = self.postgres_port
        taken = [
            f"port {port} is taken: make up {name}=<another>"
            for name, port in wanted.items()
            if _is_taken(port)
        ]
        if taken:
            raise StackError("\n".join(taken))


def free_ports(n: int) -> list[int]:
    """TCP ports of this machine that nobody listens on now."""
    probes = [socket.socket() for _ in range(n)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
