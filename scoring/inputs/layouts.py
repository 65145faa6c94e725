"""Explains an input without partitions: what it contains instead, and which layout is read."""

import posixpath
import re
from collections.abc import Sequence

from nightscore.errors import PartitionNotFoundError
from nightscore.inputs.files import is_hidden, is_named_parquet, shown
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import decode_folder
from nightscore.storage.store import Store

MAX_LEVELS = 4
MAX_NAMED = 5
NUMBER = re.compile(r"\d+")


def is_other_layout(folders: Sequence[str], files: Sequence[str]) -> bool:
    """Whether the names directly below an input show another layout than that of partitions."""
    for name in _visible(folders):
        if decode_folder(name) or NUMBER.fullmatch(name):
            return True
    return any(is_named_parquet(name) for name in _visible(files))


def no_partitions(
    job: ScoringJob, folders: Sequence[str], files: Sequence[str]
) -> PartitionNotFoundError:
    """The error for an input without any partition.

    Args:
        job: The job.
        folders: Names of folders directly below its input.
        files: Names of files there.
    """
    key = job.input.partition_key
    visible_folders = _visible(folders)
    example = []
    if visible_folders:
        store = Store(job.input.uri, job.input.storage_options)
        example = _descend(store, visible_folders[0])

    folder = f"{posixpath.join(job.input.uri, key)}=<value>/"
    return PartitionNotFoundError(
        f"The input has no partition: there is no folder {key}=<value>/ directly below input.uri.",
        job.input.uri,
        expected=f"{folder}, with Parquet files in it or in folders below",
        found=_describe(visible_folders, _visible(files), example),
        next_step=_advice(job, example),
    )


def _visible(names: Sequence[str]) -> list[str]:
    return [name for name in names if not is_hidden(name)]


def _descend(store: Store, name: str) -> list[str]:
    """The folder, the first one in it, and so on."""
    parts = [name]

    while len(parts) < MAX_LEVELS:
        subfolders = _visible(store.list_folders("/".join(parts)))
        if not subfolders:
            break
        parts.append(subfolders[0])

    return parts


def _describe(folders: Sequence[str], files: Sequence[str], example: Sequence[str]) -> str:
    """What is directly below the input, in place of partitions."""
    parts = []

    if folders:
        names = ", ".join(f"{shown(name)}/" for name in folders[:MAX_NAMED])
        parts.append(f"{_count(len(folders), 'other folder')}: {names}")

    if len(example) > 1:
        parts.append(f"in them such as {shown('/'.join(example))}/")

    if files:
        names = ", ".join(shown(name) for name in files[:MAX_NAMED])
        parts.append(f"{_count(len(files), 'file')}: {names}")

    return "; ".join(parts) or "nothing"


def _count(n: int, noun: str) -> str:
    if n == 1:
        return f"{n:,} {noun}"
    return f"{n:,} {noun}s"


def _advice(job: ScoringJob, example: Sequence[str]) -> str:
    """What to do about the folders that exist."""
    wanted = f"have the files written to {job.input.partition_key}=<value>/"
    keys = []
    for name in example:
        key_and_value = decode_folder(name)
        if key_and_value is not None:
            keys.append(key_and_value[0])

    if not keys or len(keys) < len(example):
        return f"{wanted}, or correct input.uri; folders without a key are not read as partitions"

    outermost = f"set input.partition_key: {keys[0]} for one partition a {keys[0]}"
    if len(keys) == 1:
        return f"{outermost}, or {wanted}"

    above = posixpath.join(job.input.uri, *example[:-1])
    return (
        f"a partition is one folder, not several nested ones: {wanted}; or {outermost}; "
        f"or set input.uri: {above} with input.partition_key: {keys[-1]}"
    )
