"""The demo's data, model and job, created once below one folder."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nightscore.flows.demo.calendar import AHEAD_DAYS, demo_days
from nightscore.schemas.text import counted

if TYPE_CHECKING:  # importing it takes pandas' data
    from nightscore.flows.demo.flights import Quarter

DEFAULT_ROOT = Path(".demo")
JOB_NAME = "flight_delay"
MODEL_STEP, BASELINE_STEP, CHALLENGER_STEP = "model-2", "baseline-2", "challenger-1"
"""Steps that are done once. A number is raised when its step becomes another one: it is then done
again in a folder of an older version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lake:
    """Where the demo's job has its data: in folders, or in a bucket."""

    features: str
    predictions: str
    labels: str
    storage_options: Mapping[str, str] = field(default_factory=dict)


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
    def outcomes(self) -> Path:
        """File with the label of all flights of 2013 that arrived."""
        return self.root / "lake" / "outcomes_2013.parquet"

    @property
    def labels(self) -> Path:
        """Folder of the labels."""
        return self.root / "lake" / "labels" / "flights"

    @property
    def lake(self) -> Lake:
        """Input, output and labels in folders."""
        return Lake(
            features=str(self.features),
            predictions=str(self.predictions),
            labels=str(self.labels),
        )

    def held_out(self, quarter: "Quarter") -> Path:
        """File with labelled flights that the model of a quarter was not trained on."""
        return self.root / "lake" / "held_out" / f"from_{quarter.first}.parquet"

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
        is_trained = self._is_done(MODEL_STEP) and self._is_done(BASELINE_STEP)
        is_complete = is_trained and self.source.exists() and self.outcomes.exists()
        frame = None if is_complete else flights.load_flights()
        quarter = flights.FIRST_QUARTER

        if not self.source.exists():
            flights.write_source(frame, self.source)
        if not self.outcomes.exists():
            flights.write_outcomes(frame, self.outcomes)

        if self._missing_days(today):
            on_step("Writing New York's flights up to tomorrow, as daily partitions")
            on_result(self.add_days(today))
        if self._missing_labels(today):
            on_step("Writing which of them were late, up to yesterday: the labels")
            on_result(self.add_labels(today))

        if not self._is_done(MODEL_STEP):
            minutes = flights.LATE_MINUTES
            on_step(f"Training on {quarter.name}: arrives more than {minutes} minutes late?")
            on_result(self.add_model(frame, quarter, "champion"))
            self._set_done(MODEL_STEP)

        if not self._is_done(BASELINE_STEP):
            on_step("Profiling held-out days of that time, which later days are compared with")
            on_result(self.add_baseline(frame, quarter, "champion"))
            self._set_done(BASELINE_STEP)

    def prepare_challenger(
        self, on_step: Callable[[str], None], on_result: Callable[[str], None]
    ) -> None:
        """Train, register and pin a second version, on later flights, if there is none.

        Args:
            on_step: Called with each step that begins.
            on_result: Called with the result of each step.
        """
        from nightscore.flows.demo import flights

        if self._is_done(CHALLENGER_STEP):
            return

        frame, quarter = flights.load_flights(), flights.SECOND_QUARTER

        on_step(f"Training a challenger on {quarter.name}")
        on_result(self.add_model(frame, quarter, "challenger"))

        on_step("Profiling held-out days of that time: the challenger's own baseline")
        on_result(self.add_baseline(frame, quarter, "challenger"))

        self._set_done(CHALLENGER_STEP)

    def add_days(self, today: date) -> str:
        """Write the partitions that are missing up to tomorrow; returns a sentence about them."""
        missing = self._missing_days(today)
        return _write(self.source, self.features, missing, "flights")

    def add_labels(self, today: date) -> str:
        """Write the labels that are missing up to yesterday; returns a sentence about them.

        A flight's label comes the next day. One that was cancelled has none.
        """
        missing = self._missing_labels(today)
        return _write(self.outcomes, self.labels, missing, "labels")

    def _missing_days(self, today: date) -> list[date]:
        return _without_file(self.features, demo_days(today))

    def _missing_labels(self, today: date) -> list[date]:
        days_before_today = demo_days(today)[: -AHEAD_DAYS - 1]
        return _without_file(self.labels, days_before_today)

    def _is_done(self, step: str) -> bool:
        return (self.root / f"{step}.done").exists()

    def _set_done(self, step: str) -> None:
        (self.root / f"{step}.done").touch()

    def write_job(
        self,
        path: Path,
        registry: str,
        lake: Lake,
        alias: str = "champion",
        release: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the job file.

        Args:
            path: Of the file.
            registry: URI of the MLflow registry.
            lake: Where the data are.
            alias: Of the version that scores.
            release: The section of that name. None: the job has none.
        """
        from nightscore.flows.demo.flights import LABEL

        options = {"storage_options": dict(lake.storage_options)} if lake.storage_options else {}

        job = {
            "name": JOB_NAME,
            "model": f"models:/{JOB_NAME}@{alias}",
            "registry": registry,
            "input": {"uri": lake.features, **options},
            "output": {"uri": lake.predictions, **options},
            "keys": ["flight_id"],
            "labels": {
                "uri": lake.labels,
                **options,
                "partition": {"column": "ds"},
                "column": LABEL,
                "matured_after": "1d",
            },
            "drift": {"segments": ["carrier"]},
        }
        if release is not None:
            job["release"] = dict(release)

        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(job, sort_keys=False))

    def add_model(self, frame: Any, quarter: "Quarter", alias: str) -> str:
        """Train a model on a quarter, register and pin it; returns a sentence about it."""
        from nightscore.flows.demo import flights
        from nightscore.models.cache import ModelCache
        from nightscore.models.model_versions import pin

        model, signature = flights.train(frame, quarter)
        version = flights.register(model, signature, self.registry, self.artifacts, alias)
        uri = f"models:/{JOB_NAME}/{version}"
        pinned, digest = pin(uri, self.registry, ModelCache(self.cache))

        return (
            f"registered as {pinned.name} version {version}, alias {alias}, "
            f"pinned to {_short(digest)}"
        )

    def add_baseline(self, frame: Any, quarter: "Quarter", alias: str) -> str:
        """Profile a quarter's held-out days; returns a sentence about the baseline."""
        from nightscore.engine.backends.local import WorkerPool
        from nightscore.flows.demo import flights
        from nightscore.inputs.jobfile import load_job
        from nightscore.models.cache import ModelCache
        from nightscore.operations.baseline import record_baseline

        held_out = self.held_out(quarter)
        flights.write_held_out(frame, quarter, held_out)

        path = self.root / "baseline.yaml"
        self.write_job(path, self.registry, self.lake, alias)
        job = load_job(str(path))
        path.unlink()

        cache = ModelCache(self.cache)
        with WorkerPool() as pool:
            baseline = record_baseline(job, str(held_out), pool, cache, label=flights.LABEL)

        return (
            f"{baseline.n_columns} columns, logged with the model version as "
            f"{_short(baseline.sha256)}"
        )


def _without_file(root: Path, days: Sequence[date]) -> list[date]:
    """The days that have no partition below a folder."""
    from nightscore.flows.demo.flights import partition_file

    return [day for day in days if not partition_file(root, day).exists()]


def _write(source: Path, root: Path, days: Sequence[date], what: str) -> str:
    """Write partitions; returns a sentence about them."""
    from nightscore.flows.demo.flights import write_partitions

    n_rows = write_partitions(source, root, days)
    return f"{n_rows:,} {what} in {counted(len(days), 'partition')} under {root}"


def _short(digest: str) -> str:
    return f"{digest[:19]}…"


def _quiet() -> None:
    """The demo prints its own steps; what libraries log at INFO would hide them."""
    os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
    for name in ("mlflow", "alembic", "prefect", "httpx", "nightscore"):
        logging.getLogger(name).setLevel(logging.WARNING)
