"""Proves that a store can be written to, and that it keeps the promises that outputs rely on."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from nightscore.storage.store import Store


def check_writable(store: Store) -> None:
    """Write a hidden file and remove it. Readers skip its name. Nothing is left.

    Raises:
        CredentialsError, StorageError: The store refuses it.
    """
    probe = f"_probe-{uuid.uuid4().hex}"

    with _without_new_folders(store):
        store.write_bytes(probe, b"")
        store.delete([probe])


def check_creates(store: Store) -> None:
    """Prove that of two writers of one file, the store lets one succeed. Nothing is left.

    A store without conditional writes is only written to.

    Raises:
        CredentialsError, StorageError: The store refuses to write, or lets both succeed.
    """
    if not store.capabilities.can_create:
        check_writable(store)
        return

    with _without_new_folders(store):
        store.check_exclusive()


@contextlib.contextmanager
def _without_new_folders(store: Store) -> Iterator[None]:
    """Remove the local folders that a probe has made, unless somebody else has used them since."""
    new_folders: list[Path] = []
    if store.is_local:
        root = Path(store.root)
        new_folders = [folder for folder in (root, *root.parents) if not folder.exists()]

    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it was never made, or has files by now
            for folder in new_folders:
                folder.rmdir()
