"""Finds the rows that a model refuses, so that one bad row does not cost the batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy
from nightscore.engine.value_kinds import FLOAT32_MAX, KINDS, Cause, Kind, kind_mask
from nightscore.errors import ScoringError
from nightscore.inputs.casts import plain_type, to_mask
from nightscore.models.protocol import Answer

GOOD_ROW_TRIES = 64
"""Clean rows that are tried, one by one, in the search of one that the model takes."""
MAX_PROBED_STRINGS = 256
"""Distinct strings of a column that are tried one by one; each costs the call of a model on one row."""
BISECTION_SLACK = 1_000
"""Rows found one by one beyond what the job allows before the search is given up."""


@dataclass(slots=True)
class Outcome:
    """A batch's predictions and the rows that have none."""

    answer: Answer | None
    """For the rows that were kept, in order; None if there were none."""
    kept: npt.NDArray[np.bool_]
    rejected: dict[int, Cause] = field(default_factory=dict)
    gave_up: str = ""
    """Why the search of refused rows was given up; empty: it was not."""


class _GivenUpError(Exception):
    """The search of refused rows costs more than it is worth."""


class Isolator:
    """Calls the model; when it raises, learns what it refuses.

    Nothing is assumed about models: a column is said to refuse nulls (NaN, infinities, numbers beyond float32) when
    a row that was fine is refused with that one value put in, and likewise a string (an unknown category). What is
    learnt holds for the whole shard and costs one vectorised mask; a row refused for another reason is found by
    bisection.
    """

    def __init__(
        self,
        predict: Callable[[pa.Table, int], Answer],
        max_rejected: int,
        categories: Mapping[str, Sequence[object]],
    ) -> None:
        """Learn nothing yet.

        Args:
            predict: The model, told to which rest the batch's length is filled up; raises for rows that it refuses.
            max_rejected: Rows that the job allows to be quarantined.
            categories: Of each column that the model was fitted on by category, those that it knows.
        """
        self._predict = predict
        self._categories = categories
        self._refused: dict[tuple[str, Kind], str] = {}
        self._taken: set[tuple[str, Kind]] = set()
        self._refused_strings: dict[str, dict[str, str]] = {}
        self._taken_strings: dict[str, set[str]] = {}
        self._good: pa.Table | None = None
        self._budget = max_rejected + BISECTION_SLACK
        self._n_single = 0

    def score(self, features: pa.Table, rejected: dict[int, Cause], *, rest: int = 0) -> Outcome:
        """Predictions of all rows but those that are rejected already and those that the model refuses."""
        found = dict(rejected)
        kept = np.ones(features.num_rows, np.bool_)
        kept[list(found)] = False
        self._mask(features, kept, found)
        answer, error = self._attempt(features, kept, rest)
        if error is not None:
            self._learn(features, kept)
            self._mask(features, kept, found)
            answer, error = self._attempt(features, kept, rest)
        if error is not None:
            try:
                for row, message in self._bisect(features, np.flatnonzero(kept), error):
                    kept[row] = False
                    found[row] = self._explain(features, row, message)
            except _GivenUpError as given_up:
                return Outcome(None, np.zeros_like(kept), found, str(given_up))
            answer, error = self._attempt(features, kept, rest)
            if error is not None:
                raise error
        return Outcome(answer, kept, found)

    def _attempt(
        self, features: pa.Table, kept: npt.NDArray[np.bool_], rest: int
    ) -> tuple[Answer | None, Exception | None]:
        if not kept.any():
            return None, None
        part = features if kept.all() else features.filter(from_numpy(kept))
        try:
            answer = self._predict(part, rest)
        except (ScoringError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (a model may raise anything)
            return None, error
        if self._good is None:
            self._good = part.take(
                from_numpy(np.zeros(1, np.int64))
            )  # a copy: a slice would keep the batch alive
        return answer, None

    def _mask(
        self, features: pa.Table, kept: npt.NDArray[np.bool_], found: dict[int, Cause]
    ) -> None:
        for (column, kind), message in self._refused.items():
            bad = kind_mask(features.column(column), kind)
            if bad is not None:
                for row in np.flatnonzero(bad & kept).tolist():
                    found[row] = (kind, column, message)
                kept &= ~bad
        for column, messages in self._refused_strings.items():
            strings = features.column(column)
            bad = to_mask(pc.is_in(strings, pa.array(list(messages), plain_type(strings.type))))
            if bad is not None:
                known = self._categories.get(column)
                for row in np.flatnonzero(bad & kept).tolist():
                    value = strings[row].as_py()
                    is_unseen = known is not None and value not in known
                    found[row] = (
                        "unseen_category" if is_unseen else "model_error",
                        column,
                        messages[value],
                    )
                kept &= ~bad

    def _learn(self, features: pa.Table, kept: npt.NDArray[np.bool_]) -> None:
        suspects = self._suspects(features, kept)
        clean = kept.copy()
        for bad in suspects.values():
            clean &= ~bad
        if self._good is None:
            self._good = self._find_good(features, np.flatnonzero(clean)) or self._make_good(
                features
            )
        if self._good is None:
            return
        for (name, kind), bad in suspects.items():
            message = self._refusal(
                name, features.column(name).slice(int(np.flatnonzero(bad)[0]), 1)
            )
            if message is None:
                self._taken.add((name, kind))
            else:
                self._refused[name, kind] = message
        for name in features.column_names:
            if pa.types.is_string(plain_type(features.schema.field(name).type)):
                self._learn_strings(name, features.column(name))

    def _suspects(
        self, features: pa.Table, kept: npt.NDArray[np.bool_]
    ) -> dict[tuple[str, Kind], npt.NDArray[np.bool_]]:
        found = {}
        for name in features.column_names:
            for kind in KINDS:
                if (name, kind) in self._refused or (name, kind) in self._taken:
                    continue
                bad = kind_mask(features.column(name), kind)
                if bad is not None and (bad & kept).any():
                    found[name, kind] = bad & kept
        return found

    def _learn_strings(self, name: str, column: pa.ChunkedArray) -> None:
        taken = self._taken_strings.setdefault(name, set())
        refused = self._refused_strings.setdefault(name, {})
        values = [
            v
            for v in pc.unique(column).to_pylist()
            if v is not None and v not in taken and v not in refused
        ]
        if len(values) > MAX_PROBED_STRINGS:
            return  # free text: bisection finds what there is to find
        for value in values:
            message = self._refusal(name, pa.chunked_array([pa.array([value]).cast(column.type)]))
            if message is None:
                taken.add(value)
            else:
                refused[value] = message

    def _refusal(self, name: str, cell: pa.ChunkedArray) -> str | None:
        """What the model says to the good row with one cell replaced; None if it takes it."""
        assert self._good is not None  # noqa: S101
        index = self._good.column_names.index(name)
        try:
            self._predict(self._good.set_column(index, self._good.schema.field(index), cell), 0)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001
            return _first_line(error)
        return None

    def _find_good(self, features: pa.Table, rows: npt.NDArray[np.intp]) -> pa.Table | None:
        for row in rows[:GOOD_ROW_TRIES].tolist():
            candidate = features.take(pa.array([row]))
            if self._is_taken(candidate):
                return candidate
        return None

    def _make_good(self, features: pa.Table) -> pa.Table | None:
        """A row of each column's first plain value (0 or '' where it has none), for a batch without a good row."""
        columns = []
        for column in features.columns:
            plain = pc.drop_null(column)
            if pa.types.is_floating(column.type):
                plain = plain.filter(pc.less(pc.abs(plain), FLOAT32_MAX))
                plain = (
                    plain if len(plain) else pa.chunked_array([pa.array([0.0]).cast(column.type)])
                )
            if not len(plain):
                empty: Any = "" if pa.types.is_string(plain_type(column.type)) else 0
                try:
                    plain = pa.chunked_array([pa.array([empty]).cast(column.type)])
                except pa.ArrowException:
                    return None
            columns.append(plain.slice(0, 1).combine_chunks())
        candidate = pa.table(columns, schema=features.schema)
        return candidate if self._is_taken(candidate) else None

    def _is_taken(self, candidate: pa.Table) -> bool:
        try:
            self._predict(candidate, 0)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001
            return False
        return True

    def _bisect(
        self, features: pa.Table, rows: npt.NDArray[np.intp], error: Exception
    ) -> Iterator[tuple[int, str]]:
        """Rows that are refused on their own."""
        if len(rows) == 1:
            yield int(rows[0]), _first_line(error)
            self._budget -= 1
            self._n_single += 1
            if self._budget < 0 or (self._good is None and self._n_single >= BISECTION_SLACK):
                what = (
                    "far more rows than the job allows"
                    if self._good is not None
                    else "every row that was tried"
                )
                raise _GivenUpError(f"the model refuses {what}: {_first_line(error)}")
            return
        half = len(rows) // 2
        for part in (rows[:half], rows[half:]):
            try:
                self._predict(features.take(pa.array(part)), 0)
            except (ScoringError, MemoryError):
                raise
            except Exception as inner:  # noqa: BLE001
                yield from self._bisect(features, part, inner)

    def _explain(self, features: pa.Table, row: int, message: str) -> Cause:
        for name in features.column_names:
            cell = features.column(name).slice(row, 1)
            for kind in KINDS:
                if (name, kind) not in self._taken and kind_mask(cell, kind) is not None:
                    return kind, name, message
        return "model_error", None, message


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {' '.join(lines)[:300]}" if lines else type(error).__name__
