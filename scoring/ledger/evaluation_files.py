"""Evaluations of a job: one record each, which is never changed.

They are numbered within a partition. Those of runs that were no longer published are apart, since
a partition's newest evaluation is of what readers saw. The name of a record has a digest of what
was compared, so that of two commands that do the same work one record stays.
"""

import contextlib
import gzip
import json
import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nightscore.errors import ConflictError, LocationNotFoundError, ScoringError
from nightscore.ledger.layout import (
    LABELS_INDEX,
    RUN_ID,
    evaluation_path,
    metrics_table_path,
)
from nightscore.ledger.manifest_files import map_records
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.manifest import Manifest, read_record
from nightscore.schemas.partition import decode_folder, encode_folder, order_of
from nightscore.storage.store import Store

_NAME = re.compile(
    rf"evaluations/([^/]+)/(replaced/)?({RUN_ID.pattern})-(\d{{6}})-([0-9a-f]+)\.json"
)
INDEX_VERSION = 1
"""Raised when digests of labels are made in another way."""


@dataclass(frozen=True, slots=True, order=True)
class EvaluationFile:
    """The record of an evaluation, as its name describes it."""

    number: int
    work: str
    run_id: str
    folder: str
    is_replaced: bool = False
    """The run's results had been replaced when they were evaluated."""

    @property
    def path(self) -> str:
        """Below the state folder."""
        return evaluation_path(
            self.folder, self.run_id, self.number, self.work, is_replaced=self.is_replaced
        )


def list_evaluations(store: Store) -> dict[str, list[EvaluationFile]]:
    """The evaluations of what was published of each partition, by its folder, oldest first."""
    by_folder = {}
    for folder, files in list_all_evaluations(store).items():
        of_published = [file for file in files if not file.is_replaced]
        if of_published:
            by_folder[folder] = of_published

    return by_folder


def list_all_evaluations(store: Store) -> dict[str, list[EvaluationFile]]:
    """The same, with those of runs that had been replaced when they were evaluated."""
    by_folder: dict[str, list[EvaluationFile]] = {}
    for entry in store.list_files("evaluations"):
        match = _NAME.fullmatch(entry.path)
        if match is not None:
            folder, replaced, run_id, number, work = match.groups()
            file = EvaluationFile(int(number), work, run_id, folder, bool(replaced))
            by_folder.setdefault(folder, []).append(file)

    return {folder: sorted(files) for folder, files in by_folder.items()}


def read_evaluations(store: Store, files: Sequence[EvaluationFile]) -> list[EvaluationRecord]:
    """The records that can be read, in this order."""
    records = map_records(store, lambda file: _read(store, file.path), files)
    return [record for record in records if record is not None]


def write_evaluation(
    store: Store, record: EvaluationRecord, rows: bytes, table: bytes
) -> EvaluationRecord:
    """Write the rows of an evaluation and its table, then its record, which completes it.

    Args:
        store: The state folder.
        record: Its `rows` and `table` are set here.
        rows: A Parquet file of scores and labels.
        table: A Parquet file of its metrics.

    Returns:
        The record, or that of another command which has done the same work meanwhile.
    """
    folder = encode_folder(record.partition_key, record.partition)
    file = EvaluationFile(record.number, record.work, record.run_id, folder, record.is_replaced)
    path = file.path
    rows_path = path.removesuffix(".json") + ".parquet"
    table_path = metrics_table_path(path)
    located = record.model_copy(update={"rows": rows_path, "table": table_path})
    content = located.model_dump_json(indent=2).encode()

    store.write_bytes(rows_path, rows)
    store.write_bytes(table_path, table)

    try:
        if store.capabilities.can_create:
            store.create(path, content)
        else:
            store.write_bytes(path, content)
    except ConflictError:
        return _read(store, path) or located

    return located


def _read(store: Store, path: str) -> EvaluationRecord | None:
    try:
        return read_record(store.read_bytes(path), EvaluationRecord)
    except (LocationNotFoundError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class KnownLabels:
    """Digests of a partition's labels, and of the files that they were in."""

    files: str
    content: str


def recall_labels(store: Store) -> dict[str, KnownLabels]:
    """What is remembered of the labels of each partition, by its folder.

    It only saves work: if it is lost or damaged, labels are read once more.
    """
    try:
        version, known = json.loads(gzip.decompress(store.read_bytes(LABELS_INDEX)))
        if version != INDEX_VERSION:
            return {}
        return {folder: KnownLabels(*digests) for folder, digests in known.items()}
    except (LocationNotFoundError, OSError, EOFError, zlib.error, ValueError, TypeError):
        return {}


def remember_labels(store: Store, known: Mapping[str, KnownLabels]) -> None:
    """Keep what `recall_labels` returns. Of several commands the last one wins."""
    digests = {folder: [one.files, one.content] for folder, one in known.items()}
    text = json.dumps([INDEX_VERSION, digests]).encode()
    with contextlib.suppress(ScoringError):
        store.write_bytes(LABELS_INDEX, gzip.compress(text, 1, mtime=0))


def evaluated_runs(
    workspace: Workspace, values: Iterable[str | None]
) -> dict[str, list[EvaluationFile]]:
    """All evaluations of these partitions by their run, oldest first."""
    by_folder = list_all_evaluations(workspace.state)
    by_run: dict[str, list[EvaluationFile]] = {}

    for folder in {workspace.folder(value) for value in values}:
        for file in by_folder.get(folder, []):
            by_run.setdefault(file.run_id, []).append(file)

    return by_run


def newest_of(workspace: Workspace, values: Iterable[str | None]) -> list[EvaluationFile]:
    """The newest evaluation of each run of these partitions that has one."""
    return sorted(files[-1] for files in evaluated_runs(workspace, values).values())


def evaluations_of(
    workspace: Workspace, runs: Collection[Manifest], moment: datetime | None = None
) -> dict[str, EvaluationRecord]:
    """The newest evaluation of the results of each of these runs that has one.

    Args:
        workspace: The job's.
        runs: Of any partitions.
        moment: Take the newest one that was made up to then, in UTC; None: the newest of all.

    Returns:
        By the run whose files the results are: of a rollback, `result_id`.
    """
    by_run = evaluated_runs(workspace, [run.partition for run in runs])

    files: list[EvaluationFile] = []
    for run_id in {run.result_id for run in runs} & by_run.keys():
        files += by_run[run_id] if moment is not None else by_run[run_id][-1:]

    newest = {}
    for record in read_evaluations(workspace.state, files):
        if moment is None or record.made_at <= moment:
            newest[record.run_id] = record  # of a run, the oldest comes first

    return newest


def latest_evaluations(workspace: Workspace, n_partitions: int) -> list[EvaluationRecord]:
    """The newest evaluation of each of the latest partitions that have any, in their order.

    Args:
        workspace: The job's.
        n_partitions: How many at most.
    """
    by_folder = list_evaluations(workspace.state)
    latest = in_order(by_folder, workspace.job.input.partition_format)[-n_partitions:]
    return read_evaluations(workspace.state, [by_folder[folder][-1] for folder in latest])


def in_order(folders: Iterable[str], pattern: str) -> list[str]:
    """Folders of partitions in the order of their values.

    Args:
        folders: As `list_evaluations` names them.
        pattern: The job's `input.partition_format`.
    """

    def place_of(folder: str) -> tuple[int, Any, str]:
        _, value = decode_folder(folder) or ("", folder)
        return order_of(value, pattern)

    return sorted(folders, key=place_of)


def newest_evaluations(store: Store, moment: datetime | None) -> list[EvaluationRecord]:
    """The newest evaluation of each partition that was made up to a moment.

    Args:
        store: The state folder.
        moment: In UTC; None: now.
    """
    by_folder = list_evaluations(store)
    if moment is None:
        return read_evaluations(store, [files[-1] for files in by_folder.values()])

    everything = [file for files in by_folder.values() for file in files]
    newest: dict[str | None, EvaluationRecord] = {}

    for record in read_evaluations(store, everything):
        known = newest.get(record.partition)
        # Two commands that saw different labels may give one number: the last one counts.
        is_newer = known is None or record.number >= known.number

        if record.made_at <= moment and is_newer:
            newest[record.partition] = record

    return list(newest.values())
