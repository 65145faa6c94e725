"""A long history, made of one real run: thousands of published partitions in seconds.

Records, input files, results, profiles and comparisons are those of the run, under other partition
values and run ids. Files with the same content are hard links, and nothing is forced to the disk.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from nightscore.inputs.partitions import find_partitions
from nightscore.ledger.layout import (
    drift_path,
    manifest_path,
    profile_path,
    sealed_history_path,
    sealed_path,
)
from nightscore.ledger.run_record import new_run_id
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.outputs.parquet_publisher import RUN_KEY
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import FileRecord, InputRecord, Manifest
from nightscore.schemas.partition import InputFile, Partition, encode_folder

FIRST_RUN = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Copy:
    """One published partition that is made."""

    folder: str
    manifest: Manifest

    @property
    def files(self) -> Sequence[FileRecord]:
        return self.manifest.output.files


def days_before(last: date, n_days: int) -> list[str]:
    """The dates before a date, oldest first."""
    return [f"{last - timedelta(days=n_days - i)}" for i in range(n_days)]


def copy_run(job: ScoringJob, run: Manifest, values: Sequence[str], cache: ModelCache) -> None:
    """Publish the results of a run on the local disk for other partitions too.

    Args:
        job: The run's.
        run: A published run.
        values: Partitions that are not there yet.
        cache: Models of this host.
    """
    workspace = Workspace(job)
    model = PinnedModel.resolve(job, cache)
    copies = list(_copies(workspace, model, run, values))

    if job.output.format == "delta":
        _add_to_table(workspace, run, copies)
    else:
        _seal(workspace, run, copies)


def _copies(
    workspace: Workspace, model: PinnedModel, run: Manifest, values: Sequence[str]
) -> Iterator[_Copy]:
    """Write input, record, profile and comparison of each partition."""
    job, state = workspace.job, Path(workspace.state.root)
    source = find_partitions(job, [run.partition])[run.partition]
    own_folder = workspace.folder(run.partition)

    for i, value in enumerate(values):
        folder = encode_folder(job.input.partition_key, value)
        started_at = FIRST_RUN + timedelta(minutes=i)
        run_id = new_run_id(started_at)

        files = []
        for file in source.files:
            path = file.path.replace(source.folder, folder, 1)
            _link(Path(workspace.inputs.locate(file.path)), Path(workspace.inputs.locate(path)))
            files.append(InputFile(path, file.size_bytes, file.version))

        partition = Partition(source.key, value, folder, tuple(files))
        output_files = [_renamed(file, run, run_id, folder) for file in run.output.files]
        manifest = run.model_copy(
            update={
                "run_id": run_id,
                "partition": value,
                "fingerprint": model.fingerprint(job, partition),
                "started_at": started_at,
                "finished_at": started_at + timedelta(seconds=2),
                "replaces": None,
                "inputs": run.inputs.model_copy(
                    update={
                        "files": tuple(
                            InputRecord(path=f.path, size_bytes=f.size_bytes, version=f.version)
                            for f in files
                        )
                    }
                ),
                "output": run.output.model_copy(update={"files": tuple(output_files)}),
                "location": workspace.state.locate_url(manifest_path(folder, run_id)),
            }
        )

        record = state / manifest_path(folder, run_id)
        record.parent.mkdir(parents=True)
        record.write_text(manifest.model_dump_json(indent=2))
        _age(record, manifest)

        for path_of in (profile_path, drift_path):
            own = state / path_of(own_folder, run.run_id)
            if own.exists():
                _link(own, state / path_of(folder, run_id))

        yield _Copy(folder, manifest)


def _renamed(file: FileRecord, run: Manifest, run_id: str, folder: str) -> FileRecord:
    name = file.path.rpartition("/")[2].replace(run.run_id, run_id)
    return file.model_copy(update={"path": f"{folder}/{name}"})


def _add_to_table(workspace: Workspace, run: Manifest, copies: Sequence[_Copy]) -> None:
    """Commit all partitions at once, and write a checkpoint."""
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

    root, key = Path(workspace.predictions.root), workspace.job.input.partition_key
    actions = []
    for copy in copies:
        for own, file in zip(run.output.files, copy.files, strict=True):
            _link(root / own.path, root / file.path)
            stats = f'{{"numRecords":{file.rows}}}'
            partition = {key: copy.manifest.partition}
            modified = int(copy.manifest.started_at.timestamp() * 1000)
            actions.append(AddAction(file.path, file.size_bytes, partition, modified, True, stats))

    table = DeltaTable(str(root))
    table.create_write_transaction(actions, "append", table.schema(), [key])
    DeltaTable(str(root)).create_checkpoint()


def _seal(workspace: Workspace, run: Manifest, copies: Sequence[_Copy]) -> None:
    """Write the sealed object of each partition, whose footer names its run."""
    root, state = Path(workspace.predictions.root), Path(workspace.state.root)
    own = pq.ParquetFile(root / sealed_path(workspace.folder(run.partition)))
    rows = own.read()
    metadata = dict(own.schema_arrow.metadata or {})

    for copy in copies:
        run_id = copy.manifest.run_id
        history = state / sealed_history_path(copy.folder, run_id)
        history.parent.mkdir(parents=True)
        named = rows.replace_schema_metadata(metadata | {RUN_KEY: run_id})
        pq.write_table(named, history)
        _age(history, copy.manifest)
        _link(history, root / sealed_path(copy.folder))


def _age(path: Path, run: Manifest) -> None:
    """The file is as old as the run."""
    assert run.finished_at is not None
    os.utime(path, (run.finished_at.timestamp(), run.finished_at.timestamp()))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without links, or too many of them
        shutil.copy2(source, target)
