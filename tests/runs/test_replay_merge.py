"""Replayed rows stand where they would stand if they had been scored at first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.errors import ReconciliationError
from nightscore.outputs.quarantine import RowSource, quarantine_path, write_quarantine
from nightscore.outputs.writer import PartWriter, WrittenPart
from nightscore.runs.execution import Execution
from nightscore.runs.replay_merge import merge_with_published
from nightscore.runs.replay_plan import ReplayPlan
from nightscore.schemas.contract import Contract, InputColumn
from nightscore.schemas.manifest import (
    ColumnRecord,
    Counts,
    DriftRecord,
    FileRecord,
    QuarantineRecord,
)
from tests.runs.conftest import result, run_plan

IDS = pa.schema([("id", pa.int64())])
CONTRACT = Contract(
    features=(), passthrough=(InputColumn("id", pa.int64()),), predictions=(), has_position=False
)
FIRST_ROWS = {"a.parquet": 0, "b.parquet": 5}
"""Ten rows with the ids 0 to 9 in two files."""


@dataclass
class Replay:
    """A replay of quarantined rows: those that are scored by now, and those that are not."""

    execution: Execution
    published: list[int]
    """Ids of the rows that the base run has scored, in order."""
    scored: dict[str, list[int]]
    """Input file to positions of rows in it that this replay has scored."""
    refused: dict[str, list[int]]
    """The same for rows that are quarantined again."""
    first_rows: dict[str, int] | None
    n_rows: int = 10

    def merge(self) -> list[int]:
        """The ids in the merged file, in order."""
        execution = self.execution
        base = execution.record.manifest.model_copy(
            update={
                "run_id": "base",
                "counts": Counts(
                    rows_in=self.n_rows,
                    rows_scored=len(self.published),
                    rows_quarantined=self.n_rows - len(self.published),
                ),
                "columns": (ColumnRecord(name="a", role="feature", rows=self.n_rows, missing=3),),
                "drift": DriftRecord(verdict="ok"),
            }
        )
        replayed_ids = []
        for name, positions in self.scored.items():
            replayed_ids += [FIRST_ROWS[name] + position for position in positions]

        n_refused = sum(map(len, self.refused.values()))
        part = self._write_part("new.parquet", replayed_ids)
        execution.results.scored.append(result(0, part=part))
        execution.record.update(
            counts=Counts(
                rows_in=len(replayed_ids) + n_refused,
                rows_scored=len(replayed_ids),
                rows_quarantined=n_refused,
            ),
            quarantine=QuarantineRecord(files=tuple(self._quarantine(1, self.refused))),
            columns=(
                ColumnRecord(name="a", role="feature", rows=2, missing=2),
                ColumnRecord(name="prediction", role="prediction", rows=2),
            ),
        )
        both = {
            name: [*self.scored.get(name, ()), *self.refused.get(name, ())] for name in FIRST_ROWS
        }
        merged = merge_with_published(
            execution,
            ReplayPlan(
                base=base,
                published=(self._write_part("old.parquet", self.published),),
                quarantined=tuple(self._quarantine(0, both)),  # type: ignore[arg-type]
                first_rows=self.first_rows,
                run=run_plan(execution, contract=CONTRACT),
            ),
        )
        table = pq.read_table(execution.workspace.parts.open_input(merged.file.path))
        assert [file.path for file in execution.record.manifest.output.files] == [merged.file.path]
        assert merged.file.path in execution.extra_files, "removed if the replay fails after this"
        ids: list[int] = table.column("id").to_pylist()
        return ids

    def _write_part(self, path: str, ids: list[int]) -> WrittenPart:
        schema = CONTRACT.output_schema()
        columns: list[Any] = [pa.array(ids, pa.int64())]
        columns += [pa.array(["x"] * len(ids), field.type) for field in schema.remove(0)]
        with PartWriter(self.execution.workspace.parts, path, schema, keep_types=True) as writer:
            writer.write(pa.table(columns, schema=schema))
            return writer.close()

    def _quarantine(self, attempt: int, rows: dict[str, list[int]]) -> list[FileRecord]:
        """Write the rows as a run does: one file for each input file."""
        files: list[FileRecord] = []
        for index, (name, unsorted) in enumerate(rows.items()):
            positions = sorted(unsorted)
            table = pa.table([[FIRST_ROWS[name] + place for place in positions]], schema=IDS)
            files += write_quarantine(
                self.execution.workspace.state,
                quarantine_path(self.execution.folder, "run", 0, attempt, index),
                [(table, np.array(positions, np.int64))],
                [("null", "a", "it is missing")] * len(positions),
                RowSource(source_file=name, model_version="1", run_id="run"),
            )
        return files


@pytest.fixture
def replay(execution: Execution) -> Callable[..., Replay]:
    """Of ten rows, those with the ids 2, 5 and 7 were quarantined."""

    def make(**fields: Any) -> Replay:
        known: dict[str, Any] = {
            "published": [0, 1, 3, 4, 6, 8, 9],
            "scored": {"a.parquet": [2], "b.parquet": [0, 2]},
            "refused": {},
            "first_rows": FIRST_ROWS,
        }
        return Replay(execution, **(known | fields))

    return make


def test_rows_stand_in_the_order_of_the_input(replay: Callable[..., Replay]) -> None:
    assert replay().merge() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_rows_that_are_refused_again_leave_no_gap(
    replay: Callable[..., Replay], execution: Execution
) -> None:
    replayed = replay(scored={"b.parquet": [0]}, refused={"a.parquet": [2], "b.parquet": [2]})
    assert replayed.merge() == [0, 1, 3, 4, 5, 6, 8, 9]
    counts = execution.record.manifest.counts
    assert (counts.rows_in, counts.rows_scored, counts.rows_quarantined) == (10, 8, 2)


def test_without_the_input_rows_go_to_the_end(replay: Callable[..., Replay]) -> None:
    replayed = replay(first_rows=None, scored={"b.parquet": [0, 2], "a.parquet": [2]})
    ids = replayed.merge()
    assert ids[:7] == [0, 1, 3, 4, 6, 8, 9]
    assert sorted(ids[7:]) == [2, 5, 7]


def test_without_the_input_one_position_in_two_files_is_two_rows(
    replay: Callable[..., Replay], execution: Execution
) -> None:
    replayed = replay(
        published=[0, 1, 3, 4, 5, 6, 8, 9],
        scored={"a.parquet": [2]},
        refused={"b.parquet": [2]},
        first_rows=None,
    )
    assert replayed.merge() == [0, 1, 3, 4, 5, 6, 8, 9, 2]
    assert execution.record.manifest.counts.rows_quarantined == 1


def test_the_record_counts_the_whole_partition(
    replay: Callable[..., Replay], execution: Execution
) -> None:
    replay().merge()
    manifest = execution.record.manifest
    counts = manifest.counts
    assert (counts.rows_in, counts.rows_scored, counts.rows_quarantined) == (10, 10, 0)
    assert manifest.drift == DriftRecord(verdict="ok"), "of the run that profiled all rows"

    by_name = {column.name: column for column in manifest.columns}
    assert by_name["a"].rows == 10, (
        "the base run has read all features, and these are not counted twice"
    )
    assert by_name["a"].missing == 3
    assert by_name["prediction"].rows == 2


def test_a_row_without_a_place_is_a_defect(
    replay: Callable[..., Replay], execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = replay()
    monkeypatch.setattr(execution.pool, "call", lambda *_: pytest.fail("it merged"))
    monkeypatch.setattr(Replay, "_quarantine", lambda *_: [])
    with pytest.raises(ReconciliationError) as caught:
        replayed.merge()
    assert caught.value.expected == "a place in the partition for each of 3 scored rows"
    assert caught.value.found.startswith("0 places")


@pytest.mark.parametrize("n_rows", [9, 11])
def test_rows_that_do_not_add_up_are_not_published(
    replay: Callable[..., Replay], n_rows: int
) -> None:
    with pytest.raises(ReconciliationError, match="do not add up; nothing was published") as caught:
        replay(n_rows=n_rows).merge()
    assert caught.value.expected.startswith(f"{n_rows} rows = scored + quarantined")
