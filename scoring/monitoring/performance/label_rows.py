"""Reads the needed columns of a job's labels, cast to the types that they are joined by."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from nightscore.arrow.parsing.files import read_tables
from nightscore.errors import LabelError
from nightscore.monitoring.performance.column_kinds import (
    ColumnKind,
    common_number,
    common_type,
    kind_of,
    without_offset,
)
from nightscore.monitoring.performance.label_files import LabelFiles, read_label_footers
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.labels import Labels
from nightscore.schemas.partition import InputFile
from nightscore.schemas.text import counted

if TYPE_CHECKING:
    import polars as pl

READ_ROWS = 131_072
"""Rows decoded at a time."""

LABEL, KNOWN_AT, ACTED_ON, OBSERVED_AT, PARTITION = (
    "label",
    "known_at",
    "acted_on",
    "observed_at",
    "partition",
)
"""Names of the columns of labels, beside `key_0`, `key_1` and so on."""

TIME_KINDS = ("dates", "times", "nulls")
ALLOWED = {
    LABEL: ("integers", "decimals", "numbers", "text", "flags", "nulls"),
    KNOWN_AT: TIME_KINDS,
    OBSERVED_AT: TIME_KINDS,
    ACTED_ON: ("flags", "nulls"),
    PARTITION: ("text", "dates", "times", "integers", "nulls"),
}
WORDS = {
    LABEL: "a class, a flag or a number",
    KNOWN_AT: "dates or times",
    OBSERVED_AT: "dates or times",
    ACTED_ON: "true or false",
    PARTITION: "texts, dates, times or whole numbers",
}


def key_names(n_keys: int) -> list[str]:
    """What the key columns of labels and predictions are called while they are joined."""
    return [f"key_{index}" for index in range(n_keys)]


class LabelRows:
    """The rows of the labels, read when they are asked for."""

    def __init__(
        self,
        job: ScoringJob,
        labels: Labels,
        files: LabelFiles,
        key_types: Mapping[str, pa.DataType],
    ) -> None:
        """Read the footers, and check the columns and their types.

        Args:
            job: Whose labels.
            labels: Its section.
            files: As they were listed.
            key_types: Types of the key columns in the predictions, by the job's names.

        Raises:
            LabelError: Columns are missing or have types that cannot be joined; all are named.
            CorruptFileError: Some files are no readable Parquet; all of them are named.
            InputChangedError: A file is gone since it was listed.
        """
        self._job, self._labels, self._files = job, labels, files

        self._pairs = labels.key_pairs(job.keys.columns)
        self.keys = key_names(len(self._pairs))

        self._footers = {footer.file.path: footer for footer in read_label_footers(files)}

        self._kinds_by_source: dict[str, dict[str, ColumnKind]] = {}
        self._sources = self._name_columns()
        self._check_columns()
        self._types = self._choose_types(key_types)

    @property
    def key_types(self) -> "dict[str, pl.DataType]":
        """The types that keys are joined by."""
        return {name: self._types[name] for name in self.keys}

    def check_keys(self, key_types: Mapping[str, pa.DataType]) -> None:
        """Check that the predictions of another partition are joined by the same types.

        Raises:
            LabelError: They are not.
        """
        problems: list[str] = []
        for name, (own, joined) in zip(self.keys, self._pairs, strict=True):
            dtype, problem = self._join_type(own, joined, key_types[joined])
            if problem or dtype != self._types[name]:
                problems.append(problem or f"{joined}: is {key_types[joined]} in this partition")
        self._raise_if(problems, "Some keys have types that cannot be joined.")

    def empty(self) -> "pl.DataFrame":
        """No rows, of the columns that `read` gives."""
        import polars as pl

        types = {name: self._types[name] for name in self._sources}
        for name in (KNOWN_AT, OBSERVED_AT):
            if name in types:
                types[name] = pl.Datetime("us")
        if PARTITION in types:
            types[PARTITION] = pl.String()
        return pl.DataFrame(schema=types)

    @property
    def n_rows(self) -> int:
        """Rows of all files, from their footers."""
        return sum(footer.n_rows for footer in self._footers.values())

    def n_rows_of(self, file: InputFile) -> int:
        """Rows of a file."""
        return self._footers[file.path].n_rows

    def read(self, files: Sequence[InputFile]) -> "Iterator[pl.DataFrame]":
        """The rows of some files, batch by batch: keys, label, and what else the job names.

        Keys are called `key_0` and so on. A label that is NaN is null.

        Raises:
            CorruptFileError: A file cannot be decoded.
        """
        import polars as pl

        columns = list(self._sources.values())
        distinct = list(dict.fromkeys(columns))

        for file in files:
            for table in read_tables(self._files.store, file.path, distinct, READ_ROWS):
                named = {
                    name: without_offset(table.column(source), is_local=name == PARTITION)
                    for name, source in self._sources.items()
                }
                batch = pl.DataFrame(pl.from_arrow(pa.table(named)))
                yield batch.select(map(self._expression, self._sources))

    def _expression(self, name: str) -> "pl.Expr":
        """One column as its own type."""
        import polars as pl

        wanted, column = self._types[name], pl.col(name)
        if name == PARTITION:
            return self._as_partition(column)
        if name in (KNOWN_AT, OBSERVED_AT):
            return _as_utc(column, getattr(wanted, "time_zone", None))
        if name == LABEL and wanted.is_float():
            return column.cast(wanted).fill_nan(None)
        return column.cast(wanted)

    def _as_partition(self, column: "pl.Expr") -> "pl.Expr":
        """The partition's value as a text, as folders of the input have it."""
        import polars as pl

        if self._types[PARTITION].is_temporal():
            return column.dt.strftime(self._job.input.partition_format)
        return column.cast(pl.String)

    def _name_columns(self) -> dict[str, str]:
        """What each column is called here, and in the files."""
        labels = self._labels
        sources = dict(zip(self.keys, (own for own, _ in self._pairs), strict=True))
        sources[LABEL] = labels.column

        others = {
            KNOWN_AT: labels.known_at,
            ACTED_ON: labels.acted_on,
            OBSERVED_AT: labels.observed_at,
        }
        sources |= {name: source for name, source in others.items() if source is not None}

        if labels.partition is not None and self._files.folder_key is None:
            sources[PARTITION] = labels.partition.column

        return sources

    def _check_columns(self) -> None:
        paths: dict[str, list[str]] = {}
        wanted = sorted(set(self._sources.values()))

        for path, footer in self._footers.items():
            names = footer.schema.names
            missing = [name for name in wanted if name not in names]
            repeated = [name for name in wanted if names.count(name) > 1]

            if missing:
                lack = f"has no {', '.join(missing)}; it has {', '.join(names)}"
                paths.setdefault(lack + _in_folders(missing, footer.file), []).append(path)
            if repeated:
                paths.setdefault(f"has several columns {', '.join(repeated)}", []).append(path)

        problems = [f"{_first_and_number(alike)}: {wrong}" for wrong, alike in paths.items()]
        self._raise_if(
            problems, "Some files of labels do not have each column that the job names once."
        )

    def _choose_types(self, key_types: Mapping[str, pa.DataType]) -> "dict[str, pl.DataType]":
        problems: list[str] = []
        types: dict[str, pl.DataType] = {}

        for name, source in self._sources.items():
            kinds = self._kinds(source)
            shown = ", ".join(sorted(kinds))

            allowed = ALLOWED.get(name)
            if allowed is not None and any(kind.kind not in allowed for kind in kinds.values()):
                problems.append(f"{source}: expected {WORDS[name]}; found {shown}")
                continue

            choose = common_number if name == LABEL else common_type
            shared = choose(kinds.values())
            if shared is None:
                problems.append(f"{source}: has types that cannot be compared: {shown}")
                continue

            types[name] = shared

        for name, (own, joined) in zip(self.keys, self._pairs, strict=True):
            if name in types:
                types[name], problem = self._join_type(own, joined, key_types[joined])
                problems += [problem] if problem else []

        self._raise_if(problems, "Some columns of the labels have types that cannot be used.")
        return types

    def _join_type(
        self, own: str, joined: str, predicted: pa.DataType
    ) -> "tuple[pl.DataType, str]":
        """The type that a key is joined by, or why it cannot be."""
        import polars as pl

        kinds = self._kinds(own)
        shared = common_type([*kinds.values(), kind_of(predicted)])

        if shared is not None:
            return shared, ""

        shown = ", ".join(sorted(kinds))

        return pl.Null(), (
            f"{own}: is {shown} in the labels, and {joined} is {predicted} in the predictions"
        )

    def _kinds(self, source: str) -> dict[str, ColumnKind]:
        """The kinds of a column, each once, by the type's name."""
        if source not in self._kinds_by_source:
            # Each partition asks again, and there may be thousands of files.
            types = {footer.schema.field(source).type for footer in self._footers.values()}
            kinds = map(kind_of, types)
            self._kinds_by_source[source] = {kind.shown: kind for kind in kinds}
        return self._kinds_by_source[source]

    def _raise_if(self, problems: Collection[str], what: str) -> None:
        if problems:
            raise LabelError(
                what,
                self._labels.uri,
                problems=list(problems),
                next_step="correct the section `labels` of the job file, or write the labels with "
                "these columns and types",
            )


def _in_folders(missing: Sequence[str], file: InputFile) -> str:
    """What to say of columns that are names of folders: only the partition is read from there."""
    named = [name for name in missing if name in dict(file.hive)]
    if not named:
        return ""
    return f"; {', '.join(named)} only names its folder: write the column into the file, too"


def _first_and_number(paths: Sequence[str]) -> str:
    """The first path, and how many files are like it."""
    if len(paths) == 1:
        return paths[0]
    return f"{paths[0]} and {counted(len(paths) - 1, 'other file')} like it"


def _as_utc(column: "pl.Expr", zone: str | None) -> "pl.Expr":
    """Times in UTC without a time zone. Those that had none are meant as UTC."""
    import polars as pl

    return column.cast(pl.Datetime("us", zone)).dt.replace_time_zone(None)
