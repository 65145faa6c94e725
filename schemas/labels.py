"""Where a job's labels are: what came true of the rows that it has scored."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, Strict, field_validator, model_validator

from nightscore.schemas.base_record import Record
from nightscore.schemas.field_types import ColumnNames, Location, StorageOptions
from nightscore.schemas.gates import ColumnName
from nightscore.schemas.problem import Problem, ProblemsError
from nightscore.schemas.short_forms import Accepts, read_section
from nightscore.schemas.uri import check_uri

DURATION = r"^(\d{1,6})\s*([mhdw])$"
"""`90m`, `12h`, `7d` or `2w`."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

ClassValue = Annotated[bool, Strict()] | Annotated[int, Strict()] | Annotated[float, Strict()] | str


class LabelPartition(Record):
    """How a label says to which partition it belongs."""

    column: ColumnName
    """The column, or the `<column>=<value>/` folder of the files, that has the partition's value.
    Folders count, even if a file has the column, too. Dates are compared as
    `input.partition_format` writes them, in the time zone of their column, if it has one."""


class Labels(Record):
    """Labels: a Parquet file, all Parquet files below a folder, or a Delta table.

    A label that is null is not known yet. The same label twice is counted once. Two different
    labels of one row are an error, unless `known_at` tells which is the newer one.
    """

    uri: Location
    """A file, a folder or a Delta table, which is read through its log. `~`, `${ENV_NAME}` and
    `${NIGHTSCORE_JOB_FOLDER}` are replaced as in the input."""
    storage_options: StorageOptions
    """Options of the store, as for the input."""
    key: ColumnNames = ()
    """The labels' columns that identify a row. If all are names of `keys.columns`, they are joined
    by name: a part of the keys will do, if it identifies a row within its partition. Other names
    are joined in the order of `keys.columns`. Empty: `keys.columns`."""
    partition: Annotated[
        LabelPartition | None,
        BeforeValidator(
            read_section("column"), json_schema_input_type=LabelPartition | ColumnName | None
        ),
        Accepts("the name of a column, or a mapping with the key column"),
    ] = None
    """The partition that a label belongs to. null: a row must not be published in more than one
    partition, unless `match` says which of them is meant."""
    column: ColumnName
    """The column with the labels: a class, true or false, or a number."""
    positive: ClassValue | None = None
    """The label of the positive class, where the labels' classes are not those of the model."""
    known_at: ColumnName | None = None
    """The column that says when a label became known: the newest label of a row counts. Without it,
    a row must not have two different labels."""
    acted_on: ColumnName | None = None
    """A column of flags. true: somebody acted on the prediction, which changed the outcome. Such
    rows are counted apart."""
    matured_after: Annotated[
        str, Field(pattern=DURATION), Accepts("a time such as 90m, 12h, 7d or 2w")
    ] = "0d"
    """Age at which a partition has all the labels that it will have. Until then its metrics are
    marked as early. The age counts from the partition's date, of a week or month from its first
    day; without a date from when its run began."""
    match: Literal["partition", "latest_before"] = "partition"
    """`latest_before`: a label belongs to the latest partition that has the row and whose date is
    not after `observed_at`."""
    observed_at: ColumnName | None = None
    """The column with the time that a label is of, for `match: latest_before`."""

    @property
    def time_to_mature(self) -> timedelta:
        """Age at which a partition has all its labels."""
        match = re.fullmatch(DURATION, self.matured_after)
        assert match is not None  # noqa: S101 (the field has this pattern)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})

    def key_pairs(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """The labels' key columns, each with the job's own.

        Args:
            keys: The job's `keys.columns`.
        """
        if not self.key:
            return [(name, name) for name in keys]
        if set(self.key) <= set(keys):
            return [(name, name) for name in self.key]
        return list(zip(self.key, keys, strict=True))

    @field_validator("uri")
    @classmethod
    def _has_no_secret(cls, uri: str) -> str:
        return check_uri(uri)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        problems = [*self._match_problems(), *self._name_problems()]
        if problems:
            raise ProblemsError(problems)
        return self

    def _match_problems(self) -> Iterator[Problem]:
        is_by_time = self.match == "latest_before"
        if is_by_time and self.observed_at is None:
            text = "latest_before needs observed_at, the column with the time that a label is of"
            yield Problem(("match",), text, (("observed_at",),))
        if is_by_time and self.partition is not None:
            text = "latest_before finds the partition by time; leave partition out, or match"
            yield Problem(("match",), text, (("partition",),))
        if not is_by_time and self.observed_at is not None:
            text = "has no effect without match: latest_before"
            yield Problem(("observed_at",), text, (("match",),))

    def _name_problems(self) -> Iterator[Problem]:
        counts = Counter(self.key)
        repeated = sorted(name for name, n_times in counts.items() if n_times > 1)
        if repeated:
            yield Problem(("key",), f"names a column twice: {', '.join(repeated)}")

        for field in ("known_at", "acted_on", "observed_at", "partition"):
            if self._column_of(field) == self.column:
                text = f"{self.column} is the column with the labels; name another one"
                yield Problem((field,), text, (("column",),))
        if self.column in self.key:
            text = f"{self.column} is one of the key columns; name the column with the labels"
            yield Problem(("column",), text, (("key",),))

    def _column_of(self, field: str) -> str | None:
        value = getattr(self, field)
        return value.column if isinstance(value, LabelPartition) else value


def label_problems(labels: Labels, keys: Sequence[str], output_uri: str) -> Iterator[Problem]:
    """What is wrong with the labels beside the rest of a job.

    Args:
        labels: The section.
        keys: The job's `keys.columns`.
        output_uri: Where the predictions go.
    """
    columns = ("keys", "columns")
    if not keys:
        yield Problem(
            ("labels",),
            "labels are joined by key, and the job has no keys; write keys: [...]",
            (columns,),
        )
        return

    by_name = set(labels.key) <= set(keys)
    if not by_name and len(labels.key) != len(keys):
        yield Problem(
            ("labels", "key"),
            f"expected the job's keys, {', '.join(keys)}, a part of them, or as many columns as "
            f"they are; found {', '.join(labels.key)}",
            (columns,),
        )

    if labels.column in keys and not labels.key:
        yield Problem(
            ("labels", "column"),
            f"{labels.column} is one of the job's keys; name the column with the labels",
            (columns,),
        )

    if labels.uri.rstrip("/") == output_uri.rstrip("/"):
        yield Problem(
            ("labels", "uri"),
            f"labels.uri and output.uri are the same place: {output_uri}",
            (("output", "uri"),),
        )
