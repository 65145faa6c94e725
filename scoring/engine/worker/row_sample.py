"""The sample of a shard's scored rows, collected while it is scored, within bounded memory."""

import numpy as np
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.arrow.row_hashes import row_hashes
from nightscore.engine.shard import ShardTask
from nightscore.engine.worker.row_isolation import Outcome
from nightscore.inputs.batches import Batch
from nightscore.ledger.layout import state_store
from nightscore.outputs.samples import (
    KEY_HASH,
    least_places,
    least_rows,
    make_rows,
    sample_path,
    write_sample,
)
from nightscore.profiles.class_codes import class_numbers
from nightscore.profiles.profile import kind_of
from nightscore.profiles.profile_spec import BINARY_SCORE, score_column
from nightscore.schemas.manifest import FileRecord

POSITION = ("source_file", "source_row")
"""Tells rows apart where there are no keys: only the data of a baseline may lack them."""


class RowSample:
    """The rows of a shard whose keys have the least hashes, with features and score.

    At most twice the wanted rows are held, and those of one batch.
    """

    def __init__(self, task: ShardTask) -> None:
        """Nothing is collected yet, and nothing ever is if no sample is wanted, or of any use."""
        self._task, self._contract = task, task.contract
        self._n_wanted = task.job.estimate.sample_rows
        self._score = self._score_name() if self._n_wanted else ""
        self._keys = POSITION if task.contract.has_position else task.job.keys.columns

        self._tables: list[pa.Table] = []
        self._n_held = 0
        self._limit: np.uint64 | None = None

    def add(self, batch: Batch, outcome: Outcome, output: pa.Table) -> None:
        """Add the rows of a batch that may be in the sample.

        Args:
            batch: Before the rows that were not scored are left out.
            outcome: Which rows were scored.
            output: The scored rows as they are written, with keys and predictions.
        """
        if not self._score:
            return

        hashes = row_hashes([output.column(name) for name in self._keys])
        places = least_places(hashes, self._n_wanted, self._limit)
        wanted = from_numpy(places)
        wanted_of_batch = from_numpy(np.flatnonzero(outcome.scored_mask)[places])

        rows = make_rows(
            hashes[places],
            batch.features.take(wanted_of_batch),
            output.column(self._score).take(wanted),
            self._labels(output, wanted),
        )

        self._tables.append(rows)
        self._n_held += rows.num_rows

        if self._n_held > 2 * self._n_wanted:
            self._shrink()

    def _labels(self, output: pa.Table, wanted: pa.Array) -> pa.ChunkedArray | None:
        """True outcomes as numbers; None: they are not known, as of a run."""
        spec = self._task.profile_spec
        if not spec.label:
            return None

        labels = output.column(spec.label).take(wanted)
        return class_numbers(labels, spec.label_classes) if spec.label_classes else labels

    def write(self) -> tuple[FileRecord, ...]:
        """Write the sample; no file if there are no rows."""
        rows = least_rows(self._tables, self._n_wanted)
        if rows is None or not rows.num_rows:
            return ()

        task = self._task
        path = sample_path(task.folder, task.run_id, task.shard.index, task.part_attempt)
        return (write_sample(state_store(task.job), path, rows),)

    def _score_name(self) -> str:
        """The prediction column of the score; empty: no estimate is adjusted by these rows.

        Only those of binary models are: nobody's rows are stored for nothing.
        """
        kinds = {column.name: kind_of(column.type) for column in self._contract.predictions}
        score = score_column(kinds)
        return score if score == BINARY_SCORE else ""

    def _shrink(self) -> None:
        rows = least_rows(self._tables, self._n_wanted)
        if rows is None:
            return

        self._tables, self._n_held = [rows], rows.num_rows
        self._limit = np.uint64(rows.column(KEY_HASH)[-1].as_py())
