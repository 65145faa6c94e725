"""What each peer is given, and what all of them do with a batch."""

import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH_ROWS = 65_536
"""Rows a call, where a peer lets one choose: scikit-learn's trees are at their best from here
on."""


@dataclass(frozen=True)
class Task:
    """The same for every peer."""

    model: str
    """Folder of the MLflow model."""
    input: str
    """Folder with the files, or with one folder a partition."""
    output: str
    """Folder to write into."""
    key: str
    features: tuple[str, ...]
    strings: tuple[str, ...]
    """Features that are strings."""
    partition: str | None
    """Name of the partition column, where the input has several partitions and the output must have
    them too."""
    workers: int
    """Cores that may be used."""

    @property
    def columns(self) -> list[str]:
        """What is read of each file, and nothing else."""
        return [self.key, *self.features]

    @property
    def files(self) -> list[Path]:
        return sorted(Path(self.input).rglob("*.parquet"))

    def target(self, file: Path) -> Path:
        """Where the predictions of one file go, its folder made."""
        path = Path(self.output, file.relative_to(self.input))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def read_task() -> Task:
    """The task whose file is named on the command line."""
    raw = json.loads(Path(sys.argv[1]).read_text())
    return Task(**raw | {name: tuple(raw[name]) for name in ("features", "strings")})


def load_model(folder: str) -> Any:
    """The model as MLflow's python_function."""
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(folder)


@functools.cache
def cached_model(folder: str) -> Any:
    """The model, loaded once a process.

    Here, since workers would be given a script's own functions as copies.
    """
    return load_model(folder)


def scores(model: Any, frame: Any, task: Task) -> Any:
    """One score a row: the probability of the positive class where the model gives both.

    Args:
        model: Of `load_model`.
        frame: pandas, may have further columns.
        task: Names the features.
    """
    frame = frame[list(task.features)]
    if task.strings:
        # scikit-learn's encoders and imputers take objects faster than pandas 3's own strings,
        # missing ones being NaN in both.
        frame = frame.astype(dict.fromkeys(task.strings, object))
    answer = model.predict(frame)
    answer = answer.to_numpy() if hasattr(answer, "to_numpy") else answer
    return answer[:, 1] if answer.ndim == 2 else answer
