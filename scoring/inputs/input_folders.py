"""What is directly below an input: which folders hold which partition."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from nightscore.inputs.files import is_hidden, is_named_parquet
from nightscore.inputs.layouts import is_other_layout, no_partitions
from nightscore.inputs.tables import check_root
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import NULL_VALUE, decode_folder, order_of
from nightscore.schemas.text import is_utf8
from nightscore.storage.store import Store

SHOWN_NAMES = 5

logger = logging.getLogger("nightscore")


@dataclass(frozen=True, slots=True)
class InputFolders:
    """The names directly below a job's input, from one listing.

    A partition may have several folders, since a value can be percent-encoded in several ways.
    """

    job: ScoringJob
    folders: Sequence[str]
    files: Sequence[str]

    def partitions(self) -> dict[str | None, list[str]]:
        """The folders of each partition, in the order of partitions.

        Raises:
            PartitionNotFoundError: The input has another layout.
        """
        known = folders_by_value(self.job, self.folders, self.files)
        self._check_layout(known)
        return self._in_order(known)

    def partitions_of(self, values: Collection[str | None]) -> dict[str | None, list[str]]:
        """The folders of those of the values that exist, in the order of partitions.

        Names that cannot be one of them are not looked into: there may be thousands.

        Raises:
            PartitionNotFoundError: The input has another layout.
        """
        known = folders_of(self.job, values, self.folders, self.files)
        if not known:
            self._check_layout(folders_by_value(self.job, self.folders, self.files))
        return self._in_order(known)

    def newest_besides(self, values: Collection[str | None], n_others: int) -> list[str | None]:
        """So many of the newest partitions that are none of the values, newest first."""
        known = folders_by_value(self.job, self.folders, self.files)
        others = [value for value in known if value not in values]
        pattern = self.job.input.partition_format
        others.sort(key=lambda value: order_of(value, pattern), reverse=True)
        return others[:n_others]

    def warn_of_strays(self) -> None:
        """Warn of what is directly below the input and belongs to no partition."""
        stray = [name for name in self.files if is_named_parquet(name) and not is_hidden(name)]
        self._warn("Files directly below %s belong to no partition and are not read: %s", stray)

        unnamed = [name for name in self.folders if not is_utf8(name)]
        text = "Folders directly below %s whose names are not UTF-8 are no partitions: %s"
        self._warn(text, unnamed)

    def _check_layout(self, known: Collection[str | None]) -> None:
        if not known and is_other_layout(self.folders, self.files):
            raise no_partitions(self.job, self.folders, self.files)

    def _in_order(self, known: dict[str | None, list[str]]) -> dict[str | None, list[str]]:
        self.warn_of_strays()
        pattern = self.job.input.partition_format
        return dict(sorted(known.items(), key=lambda item: order_of(item[0], pattern)))

    def _warn(self, text: str, names: Sequence[str]) -> None:
        if not names:
            return

        shown = ", ".join(ascii(name) for name in names[:SHOWN_NAMES])
        n_others = len(names) - SHOWN_NAMES
        others = f" and {n_others:,} more" if n_others > 0 else ""
        logger.warning(text, self.job.input.uri, shown + others)


def list_input(job: ScoringJob) -> InputFolders:
    """List the names directly below a job's input.

    Raises:
        InputError: The input is a table.
        LocationNotFoundError: There is no such place.
    """
    check_root(Workspace(job))
    store = Store(job.input.uri, job.input.storage_options)
    folders, files = store.list_names()

    if not folders and not files:
        store.check_reachable()

    return InputFolders(job, folders, files)


def folders_by_value(
    job: ScoringJob, folders: Iterable[str], files: Iterable[str]
) -> dict[str | None, list[str]]:
    """The folders of each partition value, in no order.

    Args:
        job: Names the input and the key of its partitions.
        folders: Names of folders directly below the input.
        files: Names of files there. A link to nothing is one: such a partition cannot be read.
    """
    known: dict[str | None, list[str]] = {}

    for name in sorted([*folders, *_broken_links(job, files)]):
        decoded = decode_folder(name)
        if decoded is None or is_hidden(name) or not is_utf8(name):
            continue

        key, value = decoded
        if key == job.input.partition_key:
            known.setdefault(value, []).append(name)

    return known


def folders_of(
    job: ScoringJob,
    values: Collection[str | None],
    folders: Iterable[str],
    files: Iterable[str],
) -> dict[str | None, list[str]]:
    """The folders of those of the values that exist, in no order. See `folders_by_value`."""
    key = job.input.partition_key
    plain = {f"{key}={NULL_VALUE if value is None else value}" for value in values}

    def may_hold(name: str) -> bool:
        return name in plain or "%" in name

    known = folders_by_value(job, filter(may_hold, folders), filter(may_hold, files))
    return {value: names for value, names in known.items() if value in values}


def _broken_links(job: ScoringJob, files: Iterable[str]) -> Iterator[str]:
    store = Store(job.input.uri, job.input.storage_options)
    if not store.is_local:
        return

    for name in files:
        path = store.locate(name)
        if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114
            yield name
