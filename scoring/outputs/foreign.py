"""Recognises what somebody else keeps at the output's place: readers would see it mixed with predictions."""

from collections.abc import Collection

from nightscore.errors import StorageError
from nightscore.storage.store import Store


def check_no_other_table(store: Store, folders: Collection[str]) -> None:
    """Look for tables of other formats.

    Args:
        store: The output.
        folders: Names of the folders directly below it.

    Raises:
        StorageError: There is one.
    """
    found = "a Hudi table (.hoodie)" if ".hoodie" in folders else ""
    if "metadata" in folders and any(
        e.path.endswith(".metadata.json") for e in store.list_files("metadata")
    ):
        found = "an Iceberg table (metadata/*.metadata.json)"
    if found:
        raise StorageError(
            "The output is a table of another format; predictions in its folder would be mixed with its files.",
            store.url,
            expected="an empty folder, or what nightscore has written",
            found=found,
            next_step="write to another output.uri",
        )


def check_own_files(store: Store, folder: str, own: str) -> None:
    """Look for other files beside a partition's one object.

    Args:
        store: The output.
        folder: Of the partition.
        own: The object's path.

    Raises:
        StorageError: There are some; readers that glob would take their rows for predictions.
    """
    others = [e.path for e in store.list_files(folder) if e.path != own and _is_data(e.path)]
    if others:
        raise StorageError(
            "The partition's folder has files that nightscore did not write; nothing was published.",
            store.locate_url(folder),
            expected=f"{own} and nothing else",
            found=f"{len(others):,} others: {', '.join(others[:5])}",
            next_step="move them away, or write to another output.uri",
        )


def _is_data(path: str) -> bool:
    """Readers skip names that begin with `_` or `.`."""
    return not path.rsplit("/", 1)[-1].startswith(("_", "."))
