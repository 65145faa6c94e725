"""The demo's data, model and job, created once below one folder."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from nightscore.flows.demo.calendar import demo_days

DEFAULT_ROOT = Path(".demo")
JOB_NAME = "flight_delay"


@dataclass(frozen=True, slots=True)
class Sample:
    """The places of the demo, below one folder."""

    root: Path

    @property
    def features(self) -> Path:
        """Folder of the input."""
        return self.root / "lake" / "features" / "flights"

    @property
    def source(self) -> Path:
        """File with all flights of 2013."""
        return self.root / "lake" / "flights_2013.parquet"

    @property
    def predictions(self) -> Path:
        """Folder of the output."""
        return self.root / "lake" / "predictions" / "flight_delay"

    @property
    def training(self) -> Path:
        """File with the training data."""
        return self.root / "lake" / "training" / "flights.parquet"

    @property
    def registry(self) -> str:
        """URI of the MLflow registry."""
        return f"sqlite:///{self.root}/mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Folder of the models' artifacts."""
        return self.root / "artifacts"

    @property
    def cache(self) -> Path:
        """Folder of the model cache."""
        return (self.root / "cache").absolute()

    def prepare(
        self, today: date, on_step: Callable[[str], None], on_result: Callable[[str], None]
    ) -> None:
        """Write the data, train, register and pin the model. What exists is left as it is.

        Args:
            today: The date in New York. There are flights for the year before, and for tomorrow.
            on_step: Called with each step that begins.
            on_result: Called with the result of each step.
        """
        from nightscore.flows.demo import flights

        _quiet()
        self.root.mkdir(parents=True, exist_ok=True)
        is_trained = self._is_done("baseline") and self._is_done("model")
        is_complete = is_trained and self.source.exists()
        frame = None if is_complete else flights.load_flights()

        if not self.source.exists():
            flights.write_source(frame, self.source)

        if self._missing_days(today):
            on_step("Writing New York's flights up to tomorrow, as daily partitions")
            on_result(self.add_days(today))

        if not self._is_done("model"):
            minutes = flights.LATE_MINUTES
            on_step(f"Training on January to March: arrives more than {minutes} minutes late?")
            on_result(self._register_model(frame))
            self._set_done("model")

        if not self._is_done("baseline"):
            on_step("Profiling the training data, which later days are compared with")
            flights.write_training(frame, self.training)
            on_result(self._log_baseline())
            self._set_done("baseline")

    def add_days(self, today: date) -> str:
        """Write the partitions that are missing up to tomorrow; returns a sentence about them."""
        from nightscore.flows.demo.flights import write_partitions

        missing = self._missing_days(today)
        n_rows = write_partitions(self.source, self.features, missing)
        partitions = "1 partition" if len(missing) == 1 else f"{len(missing)} partitions"
        return f"{n_rows:,} flights in {partitions} under {self.features}"

    def _missing_days(self, today: date) -> list[date]:
        from nightscore.flows.demo.flights import partition_file

        days = demo_days(today)
        return [day for day in days if not partition_file(self.features, day).exists()]

    def _is_done(self, step: str) -> bool:
        return (self.root / f"{step}.done").exists()

    def _set_done(self, step: str) -> None:
        (self.root / f"{step}.done").touch()

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

    def _register_model(self, frame: Any) -> str:
        """Train, register and pin the model; returns a sentence about it."""
        from nightscore.flows.demo import flights
        from nightscore.models.cache import ModelCache
        from nightscore.models.model_versions import pin

        model, signature = flights.train(frame)
        version = flights.register(model, signature, self.registry, self.artifacts)
        uri = f"models:/{JOB_NAME}/{version}"
        pinned, digest = pin(uri, self.registry, ModelCache(self.cache))

        return (
            f"registered as {pinned.name} version {version}, alias champion, "
            f"pinned to {_short(digest)}"
        )

    def _log_baseline(self) -> str:
        """Profile the training data; returns a sentence about the baseline."""
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
            baseline = record_baseline(
                job, str(self.training), pool, ModelCache(self.cache), label=LABEL
            )

        return (
            f"{baseline.n_columns} columns, logged with the model version as "
            f"{_short(baseline.sha256)}"
        )


def _short(digest: str) -> str:
    return f"{digest[:19]}…"


def _quiet() -> None:
    """The demo prints its own steps; what libraries log at INFO would hide them."""
    os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
    for name in ("mlflow", "alembic", "prefect", "httpx", "nightscore"):
        logging.getLogger(name).setLevel(logging.WARNING)
