"""A shard's tasks for a champion and its challengers, and a model that does what a file says."""

import os
import signal
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.base import BaseEstimator, RegressorMixin

from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.scratch import ScratchRun
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.layout import parts_store
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.profiles.profile_spec import BinsToCut, ProfiledColumn, ProfileSpec
from nightscore.profiles.table import Role, from_stream
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import Shard
from tests.support.lake import Lake
from tests.support.models import register

DAY = "2024-02-29"
MISBEHAVING = "misbehaving"
LATE_S = 60.0
"""Seconds that pass with each prediction of a late model."""


@dataclass
class Clock:
    """Wall seconds that pass only where a test says so."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


clock = Clock()
"""What a misbehaving model that is late moves on, in this process."""


@dataclass(frozen=True)
class MisbehavingModel:
    """A registered model that predicts twice the column `a`, unless its file says otherwise."""

    name: str
    file: Path

    def does(self, what: str) -> None:
        """Choose among `raise`, `exit`, `kill`, `memory`, `memory once`, `short`, `refuse`, `late`
        and `well`. With ` if negative` after it, only batches with a negative number meet it.
        """
        self.file.write_text(what)


def register_misbehaving_model(registry: str, folder: Path) -> MisbehavingModel:
    """Save the model below a folder and register it."""
    import mlflow

    folder.mkdir(parents=True, exist_ok=True)
    model = MisbehavingModel(MISBEHAVING, folder / "behaviour")
    model.does("well")
    sample = pd.DataFrame({"a": [1.0, 2.0]})
    estimator = _misbehaving_estimator(str(model.file)).fit(sample)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            estimator,
            folder / model.name,
            signature=mlflow.models.infer_signature(sample, estimator.predict(sample)),
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
        register(mlflow.MlflowClient(tracking_uri=registry), model.name, folder / model.name)

    return model


def _misbehaving_estimator(path: str) -> Any:
    """Its class is defined here: workers cannot import the tests, so it is pickled by value."""

    class Misbehaving(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, x: Any, y: Any = None) -> Any:
            self.fitted_ = True
            return self

        def predict(self, x: Any) -> Any:
            column = np.asarray(x)[:, 0]
            behaviour, _, condition = Path(path).read_text().partition(" if ")
            if condition == "negative" and not (column < 0).any():
                behaviour = "well"

            match behaviour:
                case "raise":
                    raise KeyError("no such customer")
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit":
                    sys.exit("out of patience")
                case "memory":
                    raise MemoryError
                case "memory once":
                    Path(path).write_text("well")
                    raise MemoryError
                case "short":
                    return column[:-1]
                case "refuse":
                    if (column < 0).any():
                        raise ValueError("a negative number")
                case "late":
                    sys.modules["tests.support.challengers"].clock.seconds += LATE_S

            return 2 * column

    return Misbehaving()


def whole_task(lake: Lake, job: ScoringJob, run_id: str) -> ShardTask:
    """A task for all rows of a partition, with bins cut at its first batch."""
    model = PinnedModel.resolve(job, lake.cache)
    facts = learn_facts(model, lake.cache, lake.pool)
    partition, _ = find_partition(Workspace(job), DAY)
    plan, contract = plan_partition(job, model, facts, partition, PlannedWorkers(1, lake.pool))

    pieces = tuple(piece for shard in plan.shards for piece in shard.pieces)
    n_bytes = sum(shard.n_bytes for shard in plan.shards)
    whole = Shard(0, pieces, plan.n_rows, n_bytes, is_last=True)
    (task,) = ScratchRun(job, run_id, model, facts).tasks(plan, contract, [whole])
    columns: list[tuple[Role, str, pa.DataType]] = []
    columns += [("feature", column.name, column.type) for column in contract.features]
    columns += [("prediction", column.name, column.type) for column in contract.predictions]
    numbers = [
        ProfiledColumn(role, name, None)
        for role, name, arrow_type in columns
        if pa.types.is_floating(arrow_type)
    ]
    spec = ProfileSpec(to_cut=BinsToCut(columns=tuple(numbers)))
    return replace(task, profile_spec=spec)


def with_challengers(champion: ShardTask, *challengers: ShardTask) -> ShardTask:
    """The champion's task with challengers, as a run makes it."""
    attached = []
    for challenger in challengers:
        contract = replace(challenger.contract, champion=champion.contract.predictions)
        attached.append(
            replace(
                challenger,
                contract=contract,
                batch_rows=champion.batch_rows,
                memory_bytes=champion.memory_bytes,
            )
        )
    return replace(champion, challengers=tuple(attached))


def challenger_job(lake: Lake, model: str, **changes: Any) -> ScoringJob:
    """The job of a challenger: its output is beside the champion's."""
    job = lake.job(model, **changes)
    uri = f"{job.output.uri}.challengers/{model}"
    return job.model_copy(update={"output": job.output.model_copy(update={"uri": uri})})


def read_part(task: ShardTask, result: ShardResult) -> pa.Table:
    """The rows that a shard has written."""
    with pq.ParquetFile(parts_store(task.job).open_input(result.part.file.path)) as file:
        return file.read()


def counted(result: ShardResult) -> list[str]:
    """The profile of each column, in words."""
    return [str(column) for column in from_stream(result.counted)]
