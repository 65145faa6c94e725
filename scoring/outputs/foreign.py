"""Finds what others keep at the output's place. Readers would see it mixed with predictions."""

from collections.abc import Collection

from nightscore.errors import StorageError
from nightscore.schemas.text import counted
from nightscore.storage.store import Store

ICEBERG_FOLDER, HUDI_FOLDER = "metadata", ".hoodie"
TABLE_FOLDERS = (ICEBERG_FOLDER, HUDI_FOLDER)
"""One of these is in the folder of a table of another format."""


def check_no_other_table(store: Store, folders: Collection[str]) -> None:
    """Look for tables of other formats.

    Args:
        store: The output.
        folders: Names of folders directly below it, with those of `TABLE_FOLDERS` that exist.

    Raises:
        StorageError: There is one.
    """
    table = _find_table(store, folders)

    if table is None:
        return

    raise StorageError(
        "The output is a table of another format; predictions in its folder would be mixed with "
        "its files.",
        store.url,
        expected="an empty folder, or what nightscore has written",
        found=table,
        next_step="write to another output.uri",
    )


def check_own_files(store: Store, folder: str, own_path: str) -> None:
    """Look for other files beside a partition's one object.

    Args:
        store: The output.
        folder: The partition's.
        own_path: The object's path.

    Raises:
        StorageError: There are some. Readers that glob would take their rows for predictions.
    """
    paths = [entry.path for entry in store.list_files(folder)]
    others = [path for path in paths if path != own_path and _is_data(path)]

    if not others:
        return

    raise StorageError(
        "The partition's folder has files that nightscore did not write; nothing was published.",
        store.locate_url(folder),
        expected=f"{own_path} and nothing else",
        found=f"{counted(len(others), 'other file')}: {', '.join(others[:5])}",
        next_step="move them away, or write to another output.uri",
    )


def _find_table(store: Store, folders: Collection[str]) -> str | None:
    if ICEBERG_FOLDER in folders:
        paths = [entry.path for entry in store.list_files(ICEBERG_FOLDER)]
        if any(path.endswith(".metadata.json") for path in paths):
            return "an Iceberg table (metadata/*.metadata.json)"
    return "a Hudi table (.hoodie)" if HUDI_FOLDER in folders else None


def _is_data(path: str) -> bool:
    """Readers skip names that begin with `_` or `.`."""
    return not path.rsplit("/", 1)[-1].startswith(("_", "."))
