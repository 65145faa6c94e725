"""Recognises folders of table formats, and refuses them.

Which of a table's files count is known to the table's log alone.
"""

import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from nightscore.errors import CredentialsError, InputError, InvalidJobError, LocationNotFoundError
from nightscore.inputs.files import shown
from nightscore.inputs.listing import Listing
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.job import ScoringJob
from nightscore.storage.store import Store

PARENTS_TRIED = 8
"""Folders above the input that are checked, the nearest first."""
LOOK_UP_THREADS = 16
DELTA, HUDI, ICEBERG, HIVE = (
    "a Delta table",
    "a Hudi table",
    "an Iceberg table",
    "a transactional Hive table",
)
LOG_FOLDERS = {"_delta_log": DELTA, ".hoodie": HUDI}
ICEBERG_FOLDER = "metadata"
ICEBERG_FILE = re.compile(r"\.metadata\.json(\.gz)?$")

MARKS = (
    ("_delta_log/", re.compile(r"(?:^|/)_delta_log/"), DELTA),
    (".hoodie", re.compile(r"(?:^|/)\.hoodie(?:/|_partition_metadata)"), HUDI),
    (".metadata.json", re.compile(r"(?:^|/)metadata/[^/]+\.metadata\.json(?:\.gz)?$"), ICEBERG),
    ("base_", re.compile(r"(?:^|/)base_\d{7,}(?:_v\d+)?/"), HIVE),
    ("delta_", re.compile(r"(?:^|/)(?:delete_)?delta_\d{7,}_\d{7,}(?:_\d+)?(?:_v\d+)?/"), HIVE),
)
"""A part of each path that shows a table, which is quick to look for; the pattern; the table."""


def check_root(workspace: Workspace) -> None:
    """Refuse an `input.uri` that is a table, is part of one, or leads into the job's own output.

    It is checked once for all runs that share the run cache. A folder that becomes a table
    meanwhile goes unnoticed.

    Raises:
        InputError: It is a table, or part of one.
        InvalidJobError: It is the job's own output.
    """
    job, store = workspace.job, workspace.inputs

    def look() -> tuple[bool, int]:
        check_no_table(store)
        if store.is_local and (real := os.path.realpath(store.root)) != store.root:
            _check_apart(job, [real])
        return True, 1

    key = ("input is no table", job.input.uri, job.output.uri)
    workspace.run_cache.read_once(key, bool, look)


def check_no_table(store: Store) -> None:
    """Refuse a folder that is a table, or is below one.

    It takes a few small requests for each folder, all at once.

    Raises:
        InputError: There is a table.
    """
    places = [store, *store.parents()[:PARENTS_TRIED]]
    if store.is_local:
        places += _with_parents([os.path.realpath(store.root)])

    _check_places(places, store)


def check_listing(listing: Listing, where: str) -> None:
    """Refuse folders that hold a table, or links that lead into one.

    Raises:
        InputError: There is a table.
    """
    for path in (*(entry.path for entry in listing.entries), *listing.problems):
        for part, pattern, kind in MARKS:
            if part in path and (match := pattern.search(path)):
                raise _refusal(kind, where, path[: match.end()])
    _check_places(_with_parents(listing.linked))


def check_links(job: ScoringJob, listing: Listing) -> None:
    """Refuse links that lead into the job's own output.

    Raises:
        InvalidJobError: One does.
    """
    _check_apart(job, listing.linked)


def _with_parents(folders: Iterable[str]) -> list[Store]:
    """Local folders, each with those above it, none of them twice."""
    places: dict[str, Store] = {}
    for folder in dict.fromkeys(folders):
        here = Store(folder)
        for place in (here, *here.parents()[:PARENTS_TRIED]):
            places[place.uri] = place
    return list(places.values())


def _check_apart(job: ScoringJob, local: Iterable[str]) -> None:
    """Refuse local folders that contain the job's output or are in it.

    There are no links in their paths.
    """
    output = Store(job.output.uri, job.output.storage_options)
    if not output.is_local:
        return

    target = os.path.realpath(output.root) + "/"

    for folder in local:
        if target.startswith(f"{folder}/") or f"{folder}/".startswith(target):
            raise InvalidJobError(
                "The input leads into the job's own output.",
                folder,
                expected="input.uri and output.uri that do not contain each other",
                found=f"a link, and output.uri {job.output.uri}",
                next_step="remove the link, or name another output.uri in the job file",
            )


def _check_places(places: Sequence[Store], source: Store | None = None) -> None:
    """Look for a table in each folder.

    A folder that may not be read counts as none, except for the source itself.
    """

    def look(place: Store) -> tuple[str, str] | None:
        try:
            return _table_in(place)
        except (CredentialsError, LocationNotFoundError):
            if place is source:
                raise
            return None

    if all(place.is_local for place in places):
        tables = [look(place) for place in places]
    else:
        with ThreadPoolExecutor(LOOK_UP_THREADS) as threads:
            tables = list(threads.map(look, places))

    for place, table in zip(places, tables, strict=True):
        if table is not None:
            raise _refusal(table[0], place.url, table[1])


def _table_in(place: Store) -> tuple[str, str] | None:
    """The kind of table whose folder this is, and the name that shows it."""
    for folder, kind in LOG_FOLDERS.items():
        if place.has_files(folder):
            return kind, f"{folder}/"
    if place.has_files(ICEBERG_FOLDER):
        for name in place.list_names(ICEBERG_FOLDER)[1]:
            if ICEBERG_FILE.search(name):
                return ICEBERG, f"{ICEBERG_FOLDER}/{name}"
    return None


def _refusal(kind: str, where: str, mark: str) -> InputError:
    next_step = (
        "have the table's current rows written as plain Parquet partitions, "
        "and name their folder as input.uri"
    )

    if kind == DELTA:
        next_step += (
            "; if a nightscore job writes it, "
            "set output.format: parquet and a new output.uri in that job"
        )

    return InputError(
        f"The input is {kind}, or part of one: "
        "its folder also has files whose rows were replaced or deleted.",
        where,
        expected="a folder in which every Parquet file counts",
        found=shown(mark),
        next_step=next_step,
    )
