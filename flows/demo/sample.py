"""The demo's lake, registry and job below one folder, made once."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

DEFAULT_ROOT = Path(".demo")
JOB_NAME = "flight_delay"


@dataclass(frozen=True, slots=True)
class Sample:
    """Where everything stands."""

    root: Path

    @property
    def features(self) -> Path:
        return self.root / "lake" / "features" / "flights"

    @property
    def predictions(self) -> Path:
        return self.root / "lake" / "predictions" / "flight_delay"

    @property
    def training(self) -> Path:
        return self.root / "lake" / "training" / "flights.parquet"

    @property
    def registry(self) -> str:
        return f"sqlite:///{self.root}/mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def cache(self) -> Path:
        return (self.root / "cache").absolute()

    def prepare(self, say: Callable[[str], None], tell: Callable[[str], None]) -> None:
        """Write the data, train and register the model, pin it; what is there already is left as it is.

        Args:
            say: Called with what begins.
            tell: Called with what came of it.
        """
        from nightscore.flows.demo import flights

        _quiet()
        self.root.mkdir(parents=True, exist_ok=True)
        missing = not (self.root / "data.done").exists()
        untrained = not (self.root / "model.done").exists()
        if missing or untrained:
            frame = flights.load_flights()
        if missing:
            say(
                "Writing New York's flights of 2013, joined with planes and weather, as daily partitions"
            )
            days = flights.write_partitions(frame, self.features)
            (self.root / "data.done").touch()
            tell(f"{len(frame):,} flights in {days} partitions under {self.features}")
        if untrained:
            say(
                f"Training on January to March: arrives more than {flights.LATE_MINUTES} minutes late?"
            )
            model, signature = flights.train(frame)
            version = flights.register(model, signature, self.registry, self.artifacts)
            name, digest = self._pin(version)
            tell(
                f"registered as {name} version {version}, alias champion, pinned to {digest[:19]}…"
            )
            (self.root / "model.done").touch()
        if not (self.root / "baseline.done").exists():
            say("Profiling the training data: what later days are compared with")
            flights.write_training(
                frame if missing or untrained else flights.load_flights(), self.training
            )
            n_columns, digest = self._log_baseline()
            tell(f"{n_columns} columns, logged with the model version as {digest[:19]}…")
            (self.root / "baseline.done").touch()

    def write_job(
        self,
        path: Path,
        registry: str,
        features: str,
        predictions: str,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        """Write the job file."""
        options = {"storage_options": dict(storage_options)} if storage_options else {}
        job = {
            "name": JOB_NAME,
            "model": f"models:/{JOB_NAME}@champion",
            "registry": registry,
            "input": {"uri": features, **options},
            "output": {"uri": predictions, **options},
            "keys": ["flight_id"],
            "drift": {"segments": ["carrier"]},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(job, sort_keys=False))

    def _log_baseline(self) -> tuple[int, str]:
        from nightscore.engine.backends.local import WorkerPool
        from nightscore.flows.demo.flights import LABEL
        from nightscore.inputs.jobfile import load_job
        from nightscore.models.cache import ModelCache
        from nightscore.operations.baseline import record_baseline

        path = self.root / "baseline.yaml"
        self.write_job(path, self.registry, str(self.training), str(self.predictions))
        job = load_job(str(path))
        path.unlink()
        with WorkerPool() as pool:
            found = record_baseline(
                job, str(self.training), pool, ModelCache(self.cache), label=LABEL
            )
        return found.n_columns, found.sha256

    def _pin(self, version: str) -> tuple[str, str]:
        from nightscore.models.cache import ModelCache
        from nightscore.models.registry import pin

        pinned, digest = pin(f"models:/{JOB_NAME}/{version}", self.registry, ModelCache(self.cache))
        return pinned.name, digest


def _quiet() -> None:
    """The demo tells its own story; what libraries log at INFO is not part of it."""
    os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
    for name in ("mlflow", "alembic", "prefect", "httpx", "nightscore"):
        logging.getLogger(name).setLevel(logging.WARNING)
