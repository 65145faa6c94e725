"""Rows of a shard that cannot be scored, counted and written to the quarantine."""

import numpy as np

from nightscore.engine.bad_values import Cause
from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.row_origins import RowOrigins
from nightscore.inputs.batches import Batch
from nightscore.inputs.reader import read_rows
from nightscore.ledger.layout import state_store
from nightscore.outputs.quarantine import RowSource, quarantine_path, write_quarantine
from nightscore.schemas.manifest import FileRecord, QuarantineExample
from nightscore.storage.store import Store

MAX_EXAMPLES = 5
QUARANTINE_SLACK_ROWS = 10_000
"""Rows written beyond what the job allows, to be looked at. A run that fails need not copy its
whole input."""
QUARANTINE_FLUSH_ROWS = 100_000
"""Places and causes held at once: about 20 MB."""
MAX_READ_ROWS = 8_192
"""Rejected rows are read again, whole: all columns of so many at once."""


class RejectedRows:
    """Counts of rejected rows by reason and column, a few examples, and the quarantine's files."""

    def __init__(self, task: ShardTask, store: Store, origins: RowOrigins) -> None:
        """No row is rejected yet.

        Args:
            task: The shard's task.
            store: The input's store.
            origins: Where the rows stand in the input.
        """
        self.n_rows = 0
        self.by_reason: dict[str, int] = {}
        self.by_column: dict[str, int] = {}
        self.examples: list[QuarantineExample] = []
        self.files: list[FileRecord] = []

        self._task, self._store, self._origins = task, store, origins

        self._n_left = task.max_quarantined + QUARANTINE_SLACK_ROWS
        self._waiting: dict[str, dict[int, Cause]] = {}
        self._n_waiting = 0

    def add(self, batch: Batch, causes: dict[int, Cause]) -> None:
        """Count a batch's rejected rows, and hold them by their place in the files."""
        starts = np.cumsum([0, *(stretch.n_rows for stretch in batch.stretches)])

        for row, cause in sorted(causes.items()):
            index = int(np.searchsorted(starts, row, side="right")) - 1
            stretch = batch.stretches[index]
            place = row - int(starts[index])
            position = (
                stretch.first_row + place if stretch.rows is None else int(stretch.rows[place])
            )

            self._count(cause)

            if len(self.examples) < MAX_EXAMPLES:
                self._add_example(stretch.path, position, cause)

            if self._n_left > 0:
                self._n_left -= 1
                self._waiting.setdefault(stretch.path, {})[position] = cause
                self._n_waiting += 1

        if self._n_waiting >= QUARANTINE_FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        files = {piece.file.path: piece.file for piece in self._task.shard.pieces}

        for path, causes in self._waiting.items():
            positions = np.array(sorted(causes), np.int64)
            n_at_once = min(self._task.batch_rows, MAX_READ_ROWS)
            tables = read_rows(self._store, files[path], positions, n_at_once)
            source = RowSource(
                source_file=self._origins.locate(path, positions)[0],
                model_version=self._task.model_version,
                run_id=self._task.run_id,
                from_quarantine=self._task.from_quarantine,
            )

            self.files += write_quarantine(
                state_store(self._task.job),
                self._next_path(),
                ((table, self._origins.locate(path, there)[1]) for table, there in tables),
                [causes[position] for position in positions.tolist()],
                source,
            )

        self._waiting, self._n_waiting = {}, 0

    def _next_path(self) -> str:
        task = self._task
        return quarantine_path(
            task.folder, task.run_id, task.shard.index, task.part_attempt, len(self.files)
        )

    def _count(self, cause: Cause) -> None:
        reason, column, _ = cause
        self.n_rows += 1
        self.by_reason[reason] = self.by_reason.get(reason, 0) + 1
        if column is not None:
            name = f"{column}: {reason}"
            self.by_column[name] = self.by_column.get(name, 0) + 1

    def _add_example(self, path: str, position: int, cause: Cause) -> None:
        reason, column, message = cause
        source_file, source_rows = self._origins.locate(path, np.array([position]))
        self.examples.append(
            QuarantineExample(
                source_file=source_file,
                source_row=int(source_rows[0]),
                reason=reason,
                column=column,
                message=message,
            )
        )
