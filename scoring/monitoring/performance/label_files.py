"""Finds the files of a job's labels: Parquet files, or those of a Delta table's newest version."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.errors import CorruptFileError, InputChangedError, LabelError
from nightscore.inputs.dataset import list_dataset
from nightscore.inputs.footers import Footer, read_footers
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.labels import Labels
from nightscore.schemas.partition import InputFile
from nightscore.schemas.run_summary import digest_inputs
from nightscore.storage.store import Store

MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class LabelFiles:
    """The files of the labels, as they were listed."""

    uri: str
    store: Store
    files: tuple[InputFile, ...]
    folder_key: str | None
    """The column whose `<column>=<value>/` folders the files are in. None: the partition of a label
    stands in the file, or nowhere."""

    def of(self, value: str | None) -> tuple[InputFile, ...]:
        """The files that may have labels of a partition."""
        if self.folder_key is None:
            return self.files
        return tuple(file for file in self.files if self.partition_of(file) == value)

    def partition_of(self, file: InputFile) -> str | None:
        """The partition that the file's folders name."""
        return dict(file.hive)[self.folder_key or ""]

    def digests(self, values: Sequence[str | None]) -> dict[str | None, str]:
        """For each partition a digest of the files that may have labels of it."""
        if self.folder_key is None:
            return dict.fromkeys(values, digest_inputs(self.files))

        by_value: dict[str | None, list[InputFile]] = {}
        for file in self.files:
            by_value.setdefault(self.partition_of(file), []).append(file)
        return {value: digest_inputs(by_value.get(value, ())) for value in values}


def find_label_files(job: ScoringJob) -> LabelFiles:
    """List the files of a job's labels.

    Raises:
        LabelError: The job has no labels, or only some files are in folders of partitions.
        InputError: It is a table of a format that cannot be read, or its log is damaged.
        StorageError: The store failed.
    """
    labels = labels_of(job)
    store = Store(labels.uri, labels.storage_options)

    if store.has_files("_delta_log"):
        files = _table_files(store)
    else:
        store, files = list_dataset(labels.uri, labels.storage_options)

    return LabelFiles(labels.uri, store, files, _folder_key(labels, files))


def read_label_footers(files: LabelFiles) -> list[Footer]:
    """The footers of the files, in their order.

    Raises:
        CorruptFileError: Some are no readable Parquet; all of them are named.
        InputChangedError: A file is gone since it was listed.
    """
    try:
        return read_footers(files.store, files.files)
    except CorruptFileError as error:
        raise CorruptFileError(
            f"{len(error.problems)} of {len(files.files)} files of labels cannot be read as "
            "Parquet; nothing was evaluated.",
            files.uri,
            expected="complete Parquet files below labels.uri",
            problems=error.problems,
            next_step="write these files again, or move them away from labels.uri, where names "
            "that start with _ or . are skipped; then evaluate again",
        ) from error
    except InputChangedError as error:
        raise InputChangedError(
            "A file of labels is gone since it was listed; nothing was evaluated.",
            error.where,
            found=error.found,
            next_step="evaluate again once the writer of labels.uri is done",
        ) from error


def labels_of(job: ScoringJob) -> Labels:
    """The section of the job.

    Raises:
        LabelError: It has none.
    """
    if job.labels is None:
        raise LabelError(
            "The job does not say where its labels are.",
            job.given_as,
            expected="a section `labels` with uri and column",
            next_step=f"add it, such as `labels: {{uri: URI, column: COLUMN, partition: "
            f"{{column: {job.input.partition_key}}}}}`",
        )
    return job.labels


def _table_files(store: Store) -> tuple[InputFile, ...]:
    """The current files of a Delta table. Their partition values are those of its log."""
    from nightscore.outputs.delta_table import current_files

    _, current = current_files(store)
    listed = {entry.path: entry for entry in store.list_files()}

    files: list[InputFile] = []
    for path, values in sorted(current, key=lambda file: file[0]):
        entry = listed.get(path)
        size_bytes, version = (entry.size_bytes, entry.version) if entry else (0, "gone")
        files.append(InputFile(path, size_bytes, version, tuple(values.items())))
    return tuple(files)


def _folder_key(labels: Labels, files: Sequence[InputFile]) -> str | None:
    """The partition's column, if it names folders. They count, even if a file has it, too."""
    if labels.partition is None:
        return None

    key = labels.partition.column
    outside = [file.path for file in files if key not in dict(file.hive)]

    if len(outside) == len(files):
        return None

    if not outside:
        return key

    raise LabelError(
        f"{len(outside):,} of {len(files):,} files of labels are in no folder {key}=<value>/.",
        labels.uri,
        expected=f"all files below folders {key}=<value>/, or none of them",
        problems=outside[:MAX_NAMED],
        next_step="move these files into the folders of their partitions, or away",
    )
