"""Days of a model of several classes, each with a baseline of its own, through the profiler."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.class_counter import ClassColumns
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile_spec import ProfiledColumn, ProfileSpec
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import ColumnProfile

SURENESS = {"calibrated": 1.0, "too sure": 1 / 0.6, "too cautious": 1 / 1.3}
"""What true log odds are multiplied by, to be what the model says."""
SHARPNESS = 2.0
"""Standard deviation of the true log odds."""


class Rows(NamedTuple):
    """Predictions and what came true."""

    probabilities: Floats
    """Shape (n, classes)."""
    labels: Counts
    """Places of the classes, shape (n,)."""

    @property
    def predicted(self) -> Counts:
        """Places of the predicted classes."""
        return self.probabilities.argmax(1)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return tuple(f"c{place}" for place in range(self.probabilities.shape[1]))

    def predictions(self) -> pa.Table:
        """As a model publishes them."""
        names = np.array(self.names)
        columns = {"prediction": pa.array(names[self.predicted])}
        for place, name in enumerate(self.names):
            columns[f"probability_{name}"] = pa.array(self.probabilities[:, place].copy())
        return pa.table(columns)

    def label_table(self) -> pa.Table:
        """Labels by the names of the classes."""
        return pa.table({"y": pa.array(np.array(self.names)[self.labels])})


def draw_rows(
    rng: np.random.Generator, n_rows: int, n_classes: int, sureness: float, spread: float = 1.0
) -> Rows:
    """Rows whose labels have the true probabilities. The last classes are more frequent.

    Args:
        rng: Draws.
        n_rows: How many.
        n_classes: How many.
        sureness: One of `SURENESS`.
        spread: Of the log odds of the classes' frequencies: 1, or more for rare classes.
    """
    odds = rng.normal(0, SHARPNESS, (n_rows, n_classes)) + np.linspace(0, spread, n_classes)
    true = _softmax(odds)
    labels = (np.cumsum(true, 1) < rng.random((n_rows, 1))).sum(1).clip(max=n_classes - 1)
    return Rows(_softmax(sureness * odds), labels)


def _softmax(odds: Floats) -> Floats:
    powers = np.exp(odds - odds.max(1, keepdims=True))
    shares: Floats = powers / powers.sum(1, keepdims=True)
    return shares


def profile_of(rows: Rows, edges: dict[str, Edges], *, label: str = "") -> list[ColumnProfile]:
    """The profile of predictions, as runs and baselines store it.

    Args:
        rows: Of the partition.
        edges: Of the bins of each column of probabilities.
        label: `y` for a baseline.
    """
    predictions = rows.predictions()
    columns = [ProfiledColumn("prediction", "prediction", None, type="string")]
    columns += [ProfiledColumn("prediction", name, own) for name, own in edges.items()]
    spec = ProfileSpec(
        tuple(columns),
        label=label,
        label_classes=rows.names if label else (),
        classes=ClassColumns.of(predictions.column_names),
    )
    profiler = Profiler(spec)
    n_rows = len(rows.labels)
    labels = rows.label_table() if label else pa.table({})
    profiler.add(pa.table({"x": np.zeros(n_rows)}), labels, np.ones(n_rows, np.bool_), predictions)
    assert not profiler.errors
    return profiler.columns


def edges_of(rows: Rows) -> dict[str, Edges]:
    """Bins that are cut at these rows."""
    columns = zip(rows.names, rows.probabilities.T, strict=True)
    return {f"probability_{name}": Edges.from_values(column) for name, column in columns}


class ClassDay(NamedTuple):
    """A day's rows, its profile, and that of the day's own baseline."""

    rows: Rows
    profile: list[ColumnProfile]
    baseline: list[ColumnProfile]


def class_days(
    n_days: int,
    n_classes: int,
    n_labelled: int,
    n_rows: int,
    *,
    sureness: float,
    seed: int,
    spread: float = 1.0,
) -> Iterator[ClassDay]:
    """Days that have the distribution of their baselines."""
    rng = np.random.default_rng(seed)
    for _ in range(n_days):
        known = draw_rows(rng, n_labelled, n_classes, sureness, spread)
        rows = draw_rows(rng, n_rows, n_classes, sureness, spread)
        edges = edges_of(known)
        yield ClassDay(rows, profile_of(rows, edges), profile_of(known, edges, label="y"))


def realised(rows: Rows) -> dict[str, float]:
    """What came true, from the rows. A metric that is not defined is left out."""
    predicted, labels = rows.predicted, rows.labels
    n_classes = rows.probabilities.shape[1]
    of_label = rows.probabilities[np.arange(len(labels)), labels]
    squares = np.square(rows.probabilities).sum(1)

    truth = {
        "accuracy": (predicted == labels).mean(),
        "log_loss": -np.log(of_label).mean(),
        "brier": (squares - 2 * of_label + 1).mean(),
        "roc_auc_macro": np.mean([_area(rows, place) for place in range(n_classes)]),
    }
    hits = np.bincount(labels[predicted == labels], minlength=n_classes)
    n_true, n_predicted = (np.bincount(one, minlength=n_classes) for one in (labels, predicted))

    with np.errstate(invalid="ignore"):
        of_classes = {
            "precision": hits / n_predicted,
            "recall": hits / n_true,
            "f1": 2 * hits / (n_true + n_predicted),
            "rows": n_true,
            "roc_auc": [_area(rows, place) for place in range(n_classes)],
        }

    for name, values in of_classes.items():
        truth |= {f"{name}[{one}]": value for one, value in zip(rows.names, values, strict=True)}
        truth.setdefault(f"{name}_macro", np.mean(values))
    return {name: float(value) for name, value in truth.items() if np.isfinite(value)}


def _area(rows: Rows, place: int) -> float:
    scores, is_class = rows.probabilities[:, place], rows.labels == place
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(1, len(scores) + 1)
    n_positive = is_class.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = ranks[is_class].sum() - n_positive * (n_positive + 1) / 2
        return float(pairs / (n_positive * (len(scores) - n_positive)))
