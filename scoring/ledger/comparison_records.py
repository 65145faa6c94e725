"""Later comparisons of a run: one record beside the run's manifest, which stays as it is."""

from collections.abc import Iterable

from nightscore.errors import LocationNotFoundError
from nightscore.ledger.layout import comparison_path, comparison_table_path
from nightscore.process import installed_version
from nightscore.schemas.manifest import ComparisonRecord, DriftRecord, Manifest, read_record
from nightscore.schemas.partition import encode_folder
from nightscore.storage.store import Store


def newest_comparison(store: Store, manifest: Manifest) -> DriftRecord | None:
    """The newest comparison of a run's columns: the run's own, or a later one. None: there is none.

    A record that cannot be read counts as none: it can be made again.
    """
    if manifest.drift is None:
        return None

    path = comparison_path(_folder(manifest), manifest.run_id)
    try:
        return read_record(store.read_bytes(path), ComparisonRecord).drift
    except (LocationNotFoundError, ValueError):
        return manifest.drift


def with_newest_comparison(store: Store, manifest: Manifest) -> Manifest:
    """The manifest with its newest comparison in place of the run's own."""
    return manifest.model_copy(update={"drift": newest_comparison(store, manifest)})


def with_newest_comparisons(store: Store, manifests: Iterable[Manifest]) -> list[Manifest]:
    """The same for several manifests. One listing tells which of them have a later comparison."""
    listed = {entry.path for entry in store.list_files("comparisons")}

    newest = []
    for manifest in manifests:
        if comparison_path(_folder(manifest), manifest.run_id) in listed:
            manifest = with_newest_comparison(store, manifest)
        newest.append(manifest)
    return newest


def locate_comparison(manifest: Manifest, drift: DriftRecord) -> DriftRecord:
    """A later comparison of a run, with the path that its table will have."""
    path = comparison_table_path(_folder(manifest), manifest.run_id)
    return drift.model_copy(update={"table": path})


def write_comparison(store: Store, manifest: Manifest, located: DriftRecord, table: bytes) -> None:
    """Write a comparison and its statistics beside the run's record, in place of an earlier one.

    Raises:
        ScoringError: The store cannot be written to.
    """
    record = ComparisonRecord(
        run_id=manifest.run_id,
        job=manifest.job,
        partition_key=manifest.partition_key,
        partition=manifest.partition,
        engine=installed_version("nightscore"),
        drift=located,
    )

    store.write_bytes(located.table, table)
    content = record.model_dump_json(indent=2).encode()
    store.write_bytes(comparison_path(_folder(manifest), manifest.run_id), content)


def _folder(manifest: Manifest) -> str:
    return encode_folder(manifest.partition_key, manifest.partition)
