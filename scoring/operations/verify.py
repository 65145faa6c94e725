"""Checks a published partition against its record.

The files, inputs and model must be those of the record. A sample of rows is scored again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightscore.engine.planning.environment import library_versions
from nightscore.engine.pool import Pool
from nightscore.errors import (
    InputError,
    LocationNotFoundError,
    PartitionNotFoundError,
    ScoringError,
)
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.history import find_writer
from nightscore.ledger.live import Live
from nightscore.ledger.manifest_files import find_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.operations.verify_sample import Finding, Sample, SampleRequest, score_sample
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import FileRecord, Manifest, ModelRecord
from nightscore.schemas.model_uri import exact_uri
from nightscore.schemas.partition import Partition, show_value
from nightscore.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was checked, and what differs from the record."""

    partition: str
    run_id: str
    n_files: int = 0
    """Files whose checksums were compared."""
    n_rows: int = 0
    """Rows that were scored again and compared bit for bit. 0 if the input or the model has
    changed, or a replay without the input has put its rows at the end."""
    note: str = ""
    """Why no rows were scored again, if that is no finding."""
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing differs. Another library version alone is a note."""
        return all(finding.kind == "library changed" for finding in self.findings)


def verify(
    job: ScoringJob,
    value: str | None,
    pool: Pool,
    cache: ModelCache,
    sample_rows: int,
    seed: int,
) -> Verification:
    """Compare a partition that readers see with its record.

    Args:
        job: The job.
        value: Partition value.
        pool: Workers.
        cache: Models of this host.
        sample_rows: Least number of rows to score again. They are neighbours.
        seed: Decides where the sample begins.

    Raises:
        PartitionNotFoundError: Nothing is published.
    """
    workspace = Workspace(job)
    place = f"{job.output.uri}/{workspace.folder(value)}"

    live = open_publisher(workspace).live(value)
    if live is None:
        raise PartitionNotFoundError(
            "Nothing is published for this partition.", place, next_step="run it first"
        )

    manifest = find_writer(workspace, value, live)
    if manifest is None:
        missing = Finding("no record", place, "a manifest", _show_unrecorded(live))
        return Verification(
            partition=show_value(value), run_id=live.run_id or "", findings=(missing,)
        )

    files, quarantined = manifest.output.files, manifest.quarantine.files
    damaged = [
        *_check_paths(live, files),
        *_check_files(workspace.predictions, files),
        *_check_files(workspace.state, quarantined),
    ]
    partition, changed_inputs = _check_inputs(workspace, value, manifest)
    model, changed_model = _check_model(job, manifest.model, cache)
    challenger, canary = None, manifest.canary
    if canary is not None:
        challenger, changed = _check_model(job, canary, cache)
        changed_model += changed

    findings = [*damaged, *changed_inputs, *changed_model, *_check_libraries(manifest)]

    sample = Sample(0, ())

    note = _why_only_files(job, manifest)
    is_comparable = not damaged and manifest.in_order and not note
    if canary is not None and challenger is None:
        is_comparable = False

    if partition is not None and model is not None and is_comparable:
        request = SampleRequest(model, partition, manifest, sample_rows, seed, challenger)
        sample = score_sample(workspace, request, pool, cache)

    return Verification(
        partition=show_value(value),
        run_id=manifest.run_id,
        n_files=len(files) + len(quarantined),
        n_rows=sample.n_rows,
        note=note,
        findings=(*findings, *sample.findings),
    )


def _why_only_files(job: ScoringJob, manifest: Manifest) -> str:
    """Why the rows of a challenger are not scored again. Empty: they are.

    The table of a canary's challenger has its arm alone, whose rows have other places than in the
    input. The champion's table has both arms, and is scored again by both models.
    """
    if job.champion is None or manifest.champion_run_id is None:
        return ""

    champion = Workspace(job.champion)
    folder = champion.folder(manifest.partition)
    beside = find_manifest(champion.state, folder, manifest.champion_run_id)

    if beside is None:
        return (
            f"no rows were scored again: the record of run {manifest.champion_run_id} of "
            f"{job.champion.name} is gone, which says whether they are those of a canary's arm"
        )
    if beside.canary is None:
        return ""

    command = job.champion.command("verify", show_value(manifest.partition))
    return (
        "no rows were scored again: these are those of a canary's arm; "
        f"`{command}` scores the rows of both models again"
    )


def _show_unrecorded(live: Live) -> str:
    if live.run_id:
        return f"none of run {live.run_id}"
    return f"files of no one run: {', '.join(live.paths[:6])}"


def _check_paths(live: Live, files: Sequence[FileRecord]) -> Iterator[Finding]:
    """Compare the files that readers see with the record: another writer may have added some."""
    recorded = {file.path for file in files}
    for path in sorted(set(live.paths) - recorded):
        yield Finding("output damaged", path, "no such file in the partition", "readers see it")

    for path in sorted(recorded - set(live.paths)):
        gone = "it is not in the partition any more"
        yield Finding("output damaged", path, "a file that readers see", gone)


def _check_files(store: Store, files: Sequence[FileRecord]) -> Iterator[Finding]:
    for file in files:
        try:
            checksum = store.sha256(file.path)
        except LocationNotFoundError:
            checksum = "the file is gone"
        if checksum != file.sha256:
            yield Finding("output damaged", file.path, f"sha256 {file.sha256}", checksum)


def _check_inputs(
    workspace: Workspace, value: str | None, manifest: Manifest
) -> tuple[Partition | None, list[Finding]]:
    """The partition, if it is the one that was scored, and how it differs if not."""
    try:
        partition, _ = find_partition(workspace, value)
    except InputError as error:
        problem = "; ".join((error.what, *error.problems))
        place = workspace.job.input.uri
        return None, [Finding("input changed", place, "the partition", problem)]

    scored = {
        file.path: _show_file(file.size_bytes, file.version) for file in manifest.inputs.files
    }
    current = {file.path: _show_file(file.size_bytes, file.version) for file in partition.files}
    findings = []
    for path in sorted(scored.keys() | current.keys()):
        before, now = scored.get(path, "no such file"), current.get(path, "the file is gone")
        if before != now:
            findings.append(Finding("input changed", path, before, now))

    return None if findings else partition, findings


def _show_file(size_bytes: int, version: str) -> str:
    return f"{size_bytes:,} bytes, {version}"


def _check_model(
    job: ScoringJob, recorded: ModelRecord | CanaryRecord, cache: ModelCache
) -> tuple[PinnedModel | None, list[Finding]]:
    """A model of the record, if it is still what it was, and how it differs if not."""
    uri = exact_uri(recorded.name, recorded.version)
    try:
        model = PinnedModel.resolve(job.model_copy(update={"model": uri}), cache)
    except ScoringError as error:
        problem = f"{error.what} {error.found}".strip()
        return None, [Finding("model changed", uri, recorded.digest, problem)]

    digest = model.cached.digest
    if digest != recorded.digest:
        return None, [Finding("model changed", uri, recorded.digest, digest)]

    return model, []


def _check_libraries(manifest: Manifest) -> list[Finding]:
    installed = library_versions(manifest.libraries)
    findings = []

    for name, version in sorted(manifest.libraries.items()):
        installed_version = installed.get(name, "not installed")
        if installed_version != version:
            findings.append(Finding("library changed", name, version, installed_version))

    return findings
