"""The demo's flights and their labels in a stack's lake, day by day."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from nightscore.flows.stack.settings import Settings

UPLOAD_THREADS = 16


def add_days(settings: Settings, today: date) -> None:
    """Bring the flights up to tomorrow, and their labels up to yesterday.

    Days that are there are left as they are.
    """
    sample = settings.sample
    sample.add_days(today)
    sample.add_labels(today)

    if settings.store == "s3":
        _upload(settings, sample.features, settings.lake.features)
        _upload(settings, sample.labels, settings.lake.labels)


def _upload(settings: Settings, folder: Path, uri: str) -> None:
    """Copy to the bucket what it does not have."""
    from nightscore.storage.store import Store

    environment = settings.client_environment
    options = {
        "key": environment["LAKE_KEY"],
        "secret": environment["LAKE_SECRET"],
        "endpoint_url": environment["LAKE_ENDPOINT"],
    }
    source, bucket = Store(str(folder)), Store(uri, options)
    uploaded = {entry.path for entry in bucket.list_files()}
    missing = [entry.path for entry in source.list_files() if entry.path not in uploaded]

    def copy(path: str) -> None:
        bucket.write_bytes(path, source.read_bytes(path))

    with ThreadPoolExecutor(UPLOAD_THREADS) as threads:
        list(threads.map(copy, missing))
