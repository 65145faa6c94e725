"""Comparisons that were made again after a run: one record beside the run's manifest, which stays as it is."""

import importlib.metadata
from collections.abc import Iterable

from nightscore.errors import LocationNotFoundError
from nightscore.ledger.layout import comparison_path, comparison_table_path
from nightscore.schemas.manifest import ComparisonRecord, DriftRecord, Manifest, read_comparison
from nightscore.schemas.partition import encode_folder
from nightscore.storage.store import Store


def newest_comparison(store: Store, manifest: Manifest) -> DriftRecord | None:
    """A run's columns as they were compared last: by the run, or again since. None: they never were.

    A record that cannot be read counts as none: it can be made again.
    """
    if manifest.drift is None:
        return None
    try:
        record = read_comparison(
            store.read_bytes(comparison_path(_folder(manifest), manifest.run_id))
        )
    except (LocationNotFoundError, ValueError):
        return manifest.drift
    return record.drift


def with_newest_comparison(store: Store, manifest: Manifest) -> Manifest:
    """The manifest with its newest comparison in place of the run's own."""
    return manifest.model_copy(update={"drift": newest_comparison(store, manifest)})


def with_newest_comparisons(store: Store, manifests: Iterable[Manifest]) -> list[Manifest]:
    """The same of several: the store is asked once which of them were compared again."""
    again = {entry.path for entry in store.list_files("comparisons")}
    return [
        with_newest_comparison(store, manifest)
        if comparison_path(_folder(manifest), manifest.run_id) in again
        else manifest
        for manifest in manifests
    ]


def write_comparison(
    store: Store, manifest: Manifest, drift: DriftRecord, table: bytes
) -> DriftRecord:
    """Write a comparison and its statistics beside the run's record, in place of an earlier one; the record.

    Raises:
        ScoringError: The store cannot be written to.
    """
    folder = _folder(manifest)
    located = drift.model_copy(update={"table": comparison_table_path(folder, manifest.run_id)})
    record = ComparisonRecord(
        run_id=manifest.run_id,
        job=manifest.job,
        partition_key=manifest.partition_key,
        partition=manifest.partition,
        engine=importlib.metadata.version("nightscore"),
        drift=located,
    )
    store.write_bytes(located.table, table)
    store.write_bytes(
        comparison_path(folder, manifest.run_id), record.model_dump_json(indent=2).encode()
    )
    return located


def _folder(manifest: Manifest) -> str:
    return encode_folder(manifest.partition_key, manifest.partition)
