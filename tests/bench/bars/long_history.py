"""A job with thousands of published partitions, made of one real run.

Its files are linked or copied under other days and run ids; each record has the fingerprint of its
own day, so that every command sees a published, unchanged partition.
"""

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deltalake import DeltaTable

from nightscore.inputs.jobfile import load_job
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.run_record import new_run_id
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.storage.run_cache import RunCache

SEALED = "predictions.parquet"
"""Name of a partition's object in the format `parquet`."""
FIRST_RUN = datetime(2023, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Published:
    """A run's day, id and fingerprint: what its files differ in from those of another run."""

    day: str
    run_id: str
    fingerprint: str

    def rewrite(self, text: str, other: "Published") -> str:
        """A text about this run as one about another."""
        text = text.replace(self.run_id, other.run_id).replace(self.day, other.day)
        return text.replace(self.fingerprint, other.fingerprint)


def link_inputs(features: Path, days: list[str]) -> None:
    """Give each day the files of the first."""
    first, *others = days
    sources = sorted((features / f"ds={first}").iterdir())
    for day in others:
        place = features / f"ds={day}"
        place.mkdir()
        for path in sources:
            os.link(path, place / path.name)


def extend_history(job: Path, cache: Path, output: Path, days: list[str]) -> None:
    """Have each of the days published as the first one is.

    Args:
        job: Its job file; the first day has been published by its only run.
        cache: Of models.
        output: Its output folder.
        days: All of them have inputs.
    """
    state = output.with_name(f"{output.name}.nightscore")
    (record,) = (state / "runs").rglob("*.json")
    manifest = json.loads(record.read_text())
    first = Published(days[0], record.stem, manifest["fingerprint"])
    others = list(_other_runs(job, cache, days[1:]))

    for folder in (state, output):
        files = [path for path in folder.rglob("*") if _is_of(path, first)]
        for path, other in itertools.product(files, others):
            _copy_as(path, folder, first, other)
    _commit_all(output, first, others)


def _other_runs(job: Path, cache: Path, days: list[str]) -> Iterator[Published]:
    spec = load_job(str(job))
    model = PinnedModel.resolve(spec, ModelCache(cache))
    workspace = Workspace(spec, RunCache())
    for i, day in enumerate(days):
        partition, _ = find_partition(workspace, day)
        run_id = new_run_id(FIRST_RUN + timedelta(days=i))
        yield Published(day, run_id, model.fingerprint(spec, partition))


def _is_of(path: Path, run: Published) -> bool:
    """Whether a run has written the file. The id of a sealed object's run is in its footer."""
    return path.is_file() and (run.run_id in path.name or path.name == SEALED)


def _copy_as(path: Path, folder: Path, first: Published, other: Published) -> None:
    target = folder / first.rewrite(str(path.relative_to(folder)), other)
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        target.write_text(first.rewrite(path.read_text(), other))
    elif path.name == SEALED:
        # All ids have the same length.
        content = path.read_bytes()
        target.write_bytes(content.replace(first.run_id.encode(), other.run_id.encode()))
    else:
        os.link(path, target)


def _commit_all(output: Path, first: Published, others: list[Published]) -> None:
    """One more commit of a Delta table, which adds the files of all other runs, and a checkpoint.

    Tables that nightscore has created have one every twenty commits: a commit of 10,000 files that
    is in none takes twice as long to open.
    """
    log = output / "_delta_log"
    if not log.is_dir():
        return
    commits = sorted(log.glob("*.json"))
    lines = commits[-1].read_text().splitlines()
    adds = [line for line in lines if line.startswith('{"add"')]
    added = [first.rewrite(line, other) for other in others for line in adds]
    info = [line for line in lines if line.startswith('{"commitInfo"')]
    (log / f"{len(commits):020d}.json").write_text("\n".join([*added, *info]) + "\n")
    DeltaTable(str(output)).create_checkpoint()
