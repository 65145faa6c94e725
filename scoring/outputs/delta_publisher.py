"""Publishes into a Delta table. Partitions that are ready at the same time share a commit."""

import posixpath
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from nightscore.errors import (
    ConflictError,
    ContractError,
    CredentialsError,
    ScoringError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.ledger.layout import run_id_of, sealed_path
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.commit_queue import CommitQueue, Submission
from nightscore.outputs.delta_table import (
    are_same,
    commit,
    create_table,
    list_files,
    live_of,
    missing_fields,
    to_delta_schema,
)
from nightscore.outputs.foreign import check_no_other_table
from nightscore.outputs.handle import TableHandle, n_attempts, translate_table_error
from nightscore.outputs.publisher import Publication, describe_run
from nightscore.outputs.writer import WrittenPart, find_parts
from nightscore.outputs.writer_features import (
    feature_problems,
    null_problems,
    ownership_problems,
    partition_problems,
    schema_problems,
    unfilled_columns,
)
from nightscore.schemas.manifest import Manifest
from nightscore.storage.protocol import Entry

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa

COMMIT_ATTEMPTS = 100
"""Commits of other partitions make a commit fail too, each at most once."""

FILES_ASKED_FOR = 4
"""To look for more files on an object store, their folders are listed."""

RETRY_PAUSE_S = 0.05
"""Grows to ten times this. Drawn at random, so that publishers do not collide again and again."""


class DeltaPublisher:
    """See `Publisher`."""

    def __init__(self, workspace: Workspace) -> None:
        """Open nothing yet."""
        self._job = workspace.job
        self._key = workspace.job.input.partition_key
        self._store = workspace.predictions
        self._handle = TableHandle(self._store, workspace.run_cache)
        place = ("commits", self._store.url, self._key)
        self._queue = workspace.run_cache.common(place, CommitQueue)
        self._is_proven = False
        """Nightscore has committed to this table before: the store was probed then."""

    def check(self) -> None:
        """See `Publisher`. A store is probed before nightscore's first commit to any table."""
        if not self._is_proven and self._store.needs_probe:
            self._store.sibling(".nightscore").check_exclusive()

    def check_fits(self, schema: "pa.Schema", value: str | None) -> tuple[str, ...]:
        """See `Publisher`. The commit checks again."""
        with self._handle.loaded() as table:
            if table is None:
                self._check_place()
                return ()
            self._check_table(table, schema, value)
            unfilled = unfilled_columns(table, to_delta_schema(schema, self._key))

        if not unfilled:
            return ()

        names = ", ".join(unfilled)
        return (f"the table has columns that this job does not write; they will be null: {names}",)

    def live(self, value: str | None) -> Live | None:
        """See `Publisher`."""
        self._is_proven = False
        with self._handle.loaded() as table:
            if table is None:
                return None
            files, version = self._list_files(table), str(table.version())

        self._is_proven = any(run_id_of(path) for _, path in files)
        return _live_among(files, value, version)

    def all_live(self, values: Collection[str | None] | None = None) -> dict[str | None, Live]:
        """See `Publisher`."""
        with self._handle.loaded() as table:
            if table is None:
                return {}
            files, version = self._list_files(table), str(table.version())

        paths: dict[str | None, list[str]] = {}
        for value, path in files:
            if values is None or value in values:
                paths.setdefault(value, []).append(path)
        return {value: live_of(encoded, version) for value, encoded in paths.items()}

    def publish(
        self, publication: Publication, planned: Live | None
    ) -> tuple[tuple[WrittenPart, ...], int | None]:
        """See `Publisher`. Other threads' publications into the table may share the commit."""
        return self._queue.commit(Submission(publication, planned), self._publish_all)

    def gone(self, live: Collection[Live]) -> set[str]:
        """See `Publisher`. The table's log still names them."""
        expected = {path for one in live if one.run_id is not None for path in one.paths}

        if self._store.is_local or len(expected) <= FILES_ASKED_FOR:
            return {path for path in expected if not self._store.exists(path)}

        listed = self._store.list_below({posixpath.dirname(path) for path in expected})
        return expected - {entry.path for entry in listed}

    def find_results(self, manifest: Manifest) -> tuple[WrittenPart, ...]:
        """See `Publisher`."""
        return find_parts(self._store, {file.path: file for file in manifest.output.files})

    def drop(self, manifest: Manifest) -> None:
        """See `Publisher`."""
        self._store.delete([file.path for file in manifest.output.files])

    def list_written(self, listed: Sequence[Entry] | None = None) -> list[Entry]:
        """See `Publisher`."""
        return [
            entry
            for entry in (self._store.list_files() if listed is None else listed)
            if not entry.path.startswith("_delta_log/") and run_id_of(entry.path) is not None
        ]

    def find_needed(
        self, live: Collection[Live], published: Mapping[str, Collection[str]]
    ) -> Callable[[str], bool]:
        """See `Publisher`. Of a shard that was scored twice, one file is not needed."""
        live_paths = {path for one in live for path in one.paths}
        return lambda path: path in live_paths or path in published.get(run_id_of(path) or "", ())

    def _publish_all(self, submissions: Sequence[Submission]) -> None:
        """Publish with as few commits as possible. What spoils one costs no other."""
        for group in _groups(submissions):
            try:
                self._publish_together(group)
            except ScoringError as error:
                still_open = list(filter(_is_open, group))
                if len(group) == 1 or isinstance(error, CredentialsError):
                    for submission in still_open:
                        submission.fail(error)
                    continue

                # If the commit has succeeded all the same, each finds its own files there.
                for submission in still_open:
                    self._publish_alone(submission)

    def _publish_alone(self, submission: Submission) -> None:
        try:
            self._publish_together([submission])
        except ScoringError as error:
            submission.fail(error)

    def _publish_together(self, submissions: Sequence[Submission]) -> None:
        """Publish some partitions in one commit; a conflict of one of them is that one's alone.

        A commit is the table's next version or none. One that fails is tried again as long as the
        partitions are still those that were planned against: other publishers take versions too.

        Raises:
            StorageError: The commit did not succeed, or nobody knows.
        """
        failure: StorageError | None = None
        n_failed = 0
        tried_version: int | None = None

        for attempt in range(COMMIT_ATTEMPTS):
            try:
                with self._handle.loaded() as table:
                    previous = tried_version
                    tried_version = None if table is None else table.version()
                    self._try(table, list(filter(_is_open, submissions)))

                if not any(map(_is_open, submissions)):
                    return

                continue
            except (CommitFailedError, DeltaError, OSError) as error:
                failure = self._translate(error)
                # A commit that fails although nobody else has taken the version fails for a
                # reason of its own.
                is_own = not isinstance(error, CommitFailedError) or tried_version == previous
                n_failed += is_own
                if isinstance(failure, CredentialsError) or n_failed >= n_attempts(error):
                    raise failure from error

            _pause(attempt)

        raise StorageUnavailableError(
            "The table's commit did not succeed.",
            self._store.url,
            expected=f"one of {COMMIT_ATTEMPTS} attempts to be accepted",
            found=failure.found if failure else "",
            next_step="check the store, then run again: readers still see the old predictions",
        ) from failure

    def _try(self, table: DeltaTable | None, submissions: Sequence[Submission]) -> None:
        """Commit once, and settle what is published or refused. None: a table is created first.

        Raises:
            CommitFailedError: Somebody else took the version.
        """
        if table is None:
            self._create_table(submissions)
            return  # look again: another run may have been first

        files = self._list_files(table)
        ready = [one for one in submissions if self._is_ready(table, files, one)]
        if not ready:
            return

        self._commit(table, [one.publication for one in ready])

        version = table.version() + 1  # `table` itself still has the version from before
        for submission in ready:
            submission.publish(version)

    def _create_table(self, submissions: Sequence[Submission]) -> None:
        for submission in submissions:
            if submission.planned is not None:
                submission.fail(self._conflict(submission, None))

        still_open = list(filter(_is_open, submissions))
        if still_open:
            create_table(self._store, still_open[0].publication, self._job.name)

    def _is_ready(
        self, table: DeltaTable, files: Sequence[tuple[str | None, str]], submission: Submission
    ) -> bool:
        """Whether a publication can be committed now. If not, it is settled."""
        publication = submission.publication
        try:
            if self._is_published(table, files, submission):
                submission.publish(table.version())
                return False

            self._check_table(table, publication.schema, publication.value, publication.parts)

            wanted = to_delta_schema(publication.schema, self._key)
            if new_fields := missing_fields(table, wanted):
                table.alter.add_columns(new_fields)

            publication.check()
        except ScoringError as error:
            submission.fail(error)
            return False
        return True

    def _is_published(
        self, table: DeltaTable, files: Sequence[tuple[str | None, str]], submission: Submission
    ) -> bool:
        """Whether an earlier attempt has published it: the answer to a commit may be lost.

        Raises:
            ConflictError: The partition is no longer the one that was planned against.
            StorageError: The partition has only some of this run's files.
        """
        publication = submission.publication
        current = _live_among(files, publication.value, str(table.version()))
        own_paths = {part.file.path for part in publication.parts}
        if current is not None and set(current.paths) == own_paths:
            return True

        if not are_same(current, submission.planned):
            self._check_unmixed(publication, current)
            raise self._conflict(submission, current)

        return False

    def _commit(self, table: DeltaTable, publications: Sequence[Publication]) -> None:
        commit(table, publications)

    def _list_files(self, table: DeltaTable) -> list[tuple[str | None, str]]:
        """Partition value and encoded path of each live file.

        Raises:
            ContractError: The table is partitioned otherwise, so a file's partition is unknown.
        """
        if problems := partition_problems(table, self._key):
            raise self._misfit([*problems, *ownership_problems(table), *feature_problems(table)])
        return list_files(table, self._key)

    def _check_table(
        self,
        table: DeltaTable,
        schema: "pa.Schema",
        value: str | None,
        parts: Sequence[WrittenPart] = (),
    ) -> None:
        """Raise ContractError unless the table accepts these columns, and what is in the files."""
        problems = [
            *schema_problems(table, to_delta_schema(schema, self._key), self._key, value),
            *ownership_problems(table),
            *feature_problems(table),
            *null_problems(table, parts, self._key),
        ]

        if problems:
            raise self._misfit(problems)

    def _check_place(self) -> None:
        """Raise StorageError if a new table would stand among files that it does not know."""
        folders = self._store.list_folders()

        check_no_other_table(self._store, folders)

        partitions = [folder for folder in folders if folder.startswith(f"{self._key}=")]
        sealed = [folder for folder in partitions if self._store.exists(sealed_path(folder))]

        if sealed:
            raise StorageError(
                "The output holds one object a partition; a Delta table beside them would be read "
                "twice.",
                self._store.url,
                expected="an empty folder or a Delta table",
                found=sealed_path(sealed[0]),
                next_step="use output.format: parquet, or another output.uri",
            )

    def _check_unmixed(self, publication: Publication, current: Live | None) -> None:
        """Raise StorageError if the partition has some files of this run beside others."""
        own_paths = {part.file.path for part in publication.parts}
        if current is None or own_paths.isdisjoint(current.paths):
            return

        raise StorageError(
            "The table holds this run's files together with others; none of them was touched.",
            f"{self._store.url}/{publication.folder}",
            expected="the files of one run",
            found=", ".join(current.paths[:6]),
            next_step="publish the partition again with --force, and look for another writer",
        )

    def _translate(self, error: Exception) -> StorageError:
        if isinstance(error, CommitFailedError):
            return _rejected(error, self._store.url)
        return translate_table_error(error, self._store.url)

    def _misfit(self, problems: Sequence[str]) -> ContractError:
        return ContractError(
            "The predictions do not fit the existing table; nothing was published.",
            self._store.url,
            problems=problems,
            next_step="write to another output.uri, move the old table away, or have its owner "
            "change the table",
        )

    def _conflict(self, submission: Submission, current: Live | None) -> ConflictError:
        return ConflictError(
            "Another run published this partition meanwhile; this run published nothing.",
            f"{self._store.url}/{submission.publication.folder}",
            expected=describe_run(
                submission.planned, "no predictions, as when this run was planned"
            ),
            found=describe_run(current, "no predictions"),
            next_step="look at that run; run again with --force only if its predictions should be "
            "replaced",
        )


def _live_among(
    files: Sequence[tuple[str | None, str]], value: str | None, version: str
) -> Live | None:
    """What is live of a partition, of the files of a table's version."""
    paths = [path for partition, path in files if partition == value]
    return live_of(paths, version) if paths else None


def _is_open(submission: Submission) -> bool:
    return submission.is_open


def _groups(submissions: Sequence[Submission]) -> list[list[Submission]]:
    """Those that can share a commit, in order.

    Each of several partitions is named by its value. The one without value has none, and cannot be
    among them.
    """
    groups: list[list[Submission]] = []
    names: set[str] = set()

    for submission in submissions:
        value = submission.publication.value
        if groups and value is not None and names and value not in names:
            groups[-1].append(submission)
        else:
            groups.append([submission])
            names = set()
        if value is not None:
            names.add(value)

    return groups


def _pause(attempt: int) -> None:
    share = random.uniform(0.2, 1.0)  # noqa: S311
    time.sleep(share * RETRY_PAUSE_S * min(attempt + 1, 10))


def _rejected(error: CommitFailedError, where: str) -> StorageError:
    """The error of a commit whose version nobody else has taken."""
    text = str(error)

    if "Failed to commit transaction" in text:  # the store said that there is such a version
        return StorageUnavailableError(
            "The store refuses the table's next version as taken, and shows no commit that has "
            "taken it.",
            where,
            found=text,
            next_step="run again: readers still see the old predictions; look for another writer "
            "that hangs",
        )

    return StorageError(
        "The table does not accept the commit; nothing was published.",
        where,
        found=text,
        next_step="ask the table's owner what it requires of its writers, or write to another "
        "output.uri",
    )
