"""Reads what was published for a partition: keys, what was predicted, and segments."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from nightscore.arrow.parsing.files import read_facts, read_tables
from nightscore.errors import LabelError
from nightscore.ledger.live import Live
from nightscore.monitoring.performance.champion_columns import champion_columns
from nightscore.monitoring.performance.column_kinds import without_offset
from nightscore.monitoring.performance.label_rows import READ_ROWS, key_names
from nightscore.schemas.contract import CHAMPION_PREFIX
from nightscore.schemas.evaluation import Task
from nightscore.schemas.job import ScoringJob
from nightscore.storage.store import Store

if TYPE_CHECKING:
    import polars as pl

SCORE, PREDICTED = "score", "predicted"
"""Names of columns: the probability or the predicted number; the predicted class as a text."""
PROBABILITY = "probability"


@dataclass(frozen=True, slots=True)
class PredictionColumns:
    """Which columns of the published predictions are needed, and what they are."""

    task: Task
    schema: pa.Schema
    classes: tuple[str, ...]
    """Names of the classes, if each has a probability."""
    segments: tuple[str, ...]
    """Columns of `drift.segments` that the predictions carry."""

    @classmethod
    def of(cls, job: ScoringJob, schema: pa.Schema) -> "PredictionColumns":
        """The columns of a job's predictions.

        Raises:
            LabelError: The model has several outputs, or its answer is of a type without metrics.
        """
        probabilities = [name for name in schema.names if name.startswith(f"{PROBABILITY}_")]
        if "prediction" not in schema.names:
            raise LabelError(
                "Only models with one prediction a row can be evaluated.",
                job.output.uri,
                expected="a column prediction",
                found=", ".join(schema.names),
                next_step="evaluate each output in a job of its own",
            )

        segments = tuple(name for name in job.drift.segments if name in schema.names)
        task: Task = "classes"

        if PROBABILITY in schema.names:
            task = "binary"
        elif not probabilities and pa.types.is_floating(schema.field("prediction").type):
            task = "regression"

        prefix = len(PROBABILITY) + 1
        return cls(task, schema, tuple(name[prefix:] for name in probabilities), segments)

    @property
    def champion(self) -> list[str]:
        """The champion's columns in a challenger's table: its predictions of the same rows."""
        return champion_columns(self.schema, self.needed, self.task)

    @property
    def needed(self) -> list[str]:
        """The columns of what was predicted, as the predictions have them."""
        names = ["prediction"]
        if self.task == "binary":
            names.append(PROBABILITY)
        return names + [f"{PROBABILITY}_{name}" for name in self.classes]


@dataclass(frozen=True)
class PredictionRows:
    """The published predictions of one partition. Nothing is read before it is needed."""

    job: ScoringJob
    store: Store
    live: Live

    @cached_property
    def columns(self) -> PredictionColumns:
        """What the columns are, from the first file."""
        schema = read_facts(self.store, self.live.paths[0]).schema
        return PredictionColumns.of(self.job, schema)

    def key_types(self, names: Sequence[str]) -> dict[str, pa.DataType]:
        """Types of key columns.

        Raises:
            LabelError: The predictions lack some of them, or have them twice.
        """
        found = self.columns.schema.names
        problems = [
            f"{name}: {_times(found.count(name))}" for name in names if found.count(name) != 1
        ]
        if problems:
            raise LabelError(
                "The published predictions do not have each key that labels are joined by once.",
                self.store.locate_url(self.live.paths[0]),
                expected=", ".join(names),
                found=", ".join(found),
                problems=problems,
                next_step="score the partition again under the present job, or name as keys what "
                "is published",
            )

        return {name: self.columns.schema.field(name).type for name in names}

    def keys(self, names: Sequence[str], types: "Sequence[pl.DataType]") -> "pl.DataFrame":
        """The keys alone, as `key_0` and so on."""
        return self._read(list(names), _as_keys(names, types))

    def read(
        self,
        names: Sequence[str],
        types: "Sequence[pl.DataType]",
        *,
        with_champion: bool = False,
    ) -> "pl.DataFrame":
        """Keys, what was predicted, and segments as `segment_0` and so on.

        A binary model has `score` and `predicted`, a regression `score`; several classes have
        `predicted` and their probabilities as `probability_0` and so on.

        Args:
            names: Of the key columns.
            types: As which they are joined.
            with_champion: Of a challenger's table the same of the champion, as `champion_score` and
                so on.
        """
        columns = self.columns
        of_champion = columns.champion if with_champion else []
        wanted = dict.fromkeys([*names, *columns.needed, *columns.segments, *of_champion])
        expressions = [
            *_as_keys(names, types),
            *_as_predicted(columns, columns.needed),
            *_as_segments(columns),
            *_as_predicted(columns, of_champion, CHAMPION_PREFIX),
        ]

        return self._read(list(wanted), expressions)

    def _read(self, columns: Sequence[str], expressions: "Sequence[pl.Expr]") -> "pl.DataFrame":
        import polars as pl

        return pl.concat(batch.select(expressions) for batch in self._batches(columns))

    def _batches(self, columns: Sequence[str]) -> "Iterator[pl.DataFrame]":
        # A file without rows has no batch.
        schema = pa.schema([self.columns.schema.field(name) for name in columns])
        yield _as_frame(schema.empty_table())

        for path in self.live.paths:
            for table in read_tables(self.store, path, columns, READ_ROWS):
                yield _as_frame(table)


def _as_frame(table: pa.Table) -> "pl.DataFrame":
    import polars as pl

    columns = list(map(without_offset, table.columns))
    return pl.DataFrame(pl.from_arrow(pa.table(columns, table.column_names)))


def _times(n_columns: int) -> str:
    return "not published" if not n_columns else f"published in {n_columns} columns"


def class_text(column: "pl.Expr", dtype: "pl.DataType") -> "pl.Expr":
    """The name of a class, as columns of probabilities have it: 1 for 1.0 and for true.

    NaN is no class, so its name is null.
    """
    import polars as pl

    if dtype == pl.Boolean:
        return column.cast(pl.Int64).cast(pl.String)
    if not dtype.is_float():
        return column.cast(pl.String)

    as_whole = column.cast(pl.Int64, strict=False)
    is_whole = (as_whole == column).fill_null(False)
    other = column.fill_nan(None).cast(pl.String)
    return pl.when(is_whole).then(as_whole.cast(pl.String)).otherwise(other)


def _as_keys(names: Sequence[str], types: "Sequence[pl.DataType]") -> "list[pl.Expr]":
    import polars as pl

    renamed = zip(key_names(len(names)), names, types, strict=True)
    return [pl.col(name).cast(dtype).alias(key) for key, name, dtype in renamed]


def _as_predicted(
    columns: PredictionColumns, names: Sequence[str], prefix: str = ""
) -> "list[pl.Expr]":
    """What a model predicted.

    Args:
        columns: Of the table.
        names: Those of the model: its prediction first, then its probabilities. Empty: none.
        prefix: What the new names begin with.
    """
    import polars as pl

    if not names:
        return []

    first = names[0]
    if columns.task == "regression":
        return [pl.col(first).cast(pl.Float64).alias(f"{prefix}{SCORE}")]

    prediction = pa.schema([columns.schema.field(first)]).empty_table()
    dtype = pl.DataFrame(pl.from_arrow(prediction)).schema[first]
    text = class_text(pl.col(first), dtype).cast(pl.Categorical)
    predicted = text.alias(f"{prefix}{PREDICTED}")

    if columns.task == "binary":
        score = pl.col(f"{prefix}{PROBABILITY}").cast(pl.Float64)
        return [predicted, score.alias(f"{prefix}{SCORE}")]

    probabilities = [
        pl.col(name).cast(pl.Float64).alias(f"{prefix}{PROBABILITY}_{index}")
        for index, name in enumerate(names[1:])
    ]

    return [predicted, *probabilities]


def _as_segments(columns: PredictionColumns) -> "list[pl.Expr]":
    import polars as pl

    return [
        pl.col(name).cast(pl.String).cast(pl.Categorical).alias(f"segment_{index}")
        for index, name in enumerate(columns.segments)
    ]
