"""A lake: the inputs and outputs of one test."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.engine.base_pool import BasePool
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.layout import predictions_store
from nightscore.models.cache import ModelCache
from nightscore.runs.run import run
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.storage.store import Store
from tests.support.models import NUMBERS


@dataclass
class Lake:
    """Inputs and outputs of one test, on one kind of storage."""

    root: str
    options: dict[str, Any]
    registry: str
    pool: BasePool
    cache: ModelCache
    formats: str = "delta"

    @property
    def features(self) -> Store:
        return Store(f"{self.root}/features", self.options)

    def write(
        self, partition: str, frame: pd.DataFrame | pa.Table, name: str = "part-0", **options: Any
    ) -> None:
        """Write one input file."""
        table = (
            frame
            if isinstance(frame, pa.Table)
            else pa.Table.from_pandas(frame, preserve_index=False)
        )
        with self.features.open_output(f"ds={partition}/{name}.parquet") as file:
            pq.write_table(table.replace_schema_metadata(None), file, **options)

    def job(self, model: str = "hgb_binary", **changes: Any) -> ScoringJob:
        """A job on this lake."""
        if model.endswith("_numpy"):
            changes = {"features": NUMBERS} | changes
        raw: dict[str, Any] = {
            "name": "test",
            "model": model if model.startswith("models:") else f"models:/{model}/1",
            "registry": self.registry,
            "input": {"uri": self.features.uri, "storage_options": self.options},
            "output": {
                "uri": f"{self.root}/predictions",
                "format": self.formats,
                "storage_options": self.options,
            },
            "keys": ["id"],
        }
        return parse_job(raw | changes)

    def run(
        self, job: ScoringJob, partition: str | None = "2024-02-29", **options: Any
    ) -> Manifest:
        """Score one partition with the session's pool."""
        return run(
            job, partition, pool=self.pool, cache=self.cache, now=datetime.now(UTC), **options
        )

    def read(self, job: ScoringJob) -> pd.DataFrame:
        """All predictions, as a reader gets them."""
        store = predictions_store(job)
        if job.output.format == "delta":
            from deltalake import DeltaTable

            return DeltaTable(store.url, storage_options=store.table_options()).to_pandas()
        frames = []
        for entry in store.list_files():
            with pq.ParquetFile(store.open_input(entry.path)) as file:
                frames.append(
                    file.read().to_pandas().assign(ds=entry.path.split("/")[0].partition("=")[2])
                )
        return pd.concat(frames, ignore_index=True)


MakeLake = Callable[..., Lake]
