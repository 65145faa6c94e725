"""Finds the rows that a model refuses, so that one bad row does not cost the batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy
from nightscore.engine.bad_values import FLOAT32_MAX, KINDS, Cause, Kind, Mask, kind_mask
from nightscore.errors import ScoringError
from nightscore.inputs.casts import plain_type, to_mask
from nightscore.models.protocol import Answer

GOOD_ROW_TRIES = 64
"""Clean rows that are tried, one by one, until the model takes one."""
MAX_PROBED_STRINGS = 256
"""Distinct strings of a column that are tried one by one; each costs the call of a model on one
row."""
BISECTION_SLACK = 1_000
"""Rows found one by one beyond what the job allows, before the search is given up."""


@dataclass(slots=True)
class Outcome:
    """A batch's predictions and the rows that have none."""

    answer: Answer | None
    """Predictions of the scored rows, in order; None if there were none."""
    scored_mask: Mask
    """Which rows were scored."""
    rejected: dict[int, Cause] = field(default_factory=dict)
    """The causes of the other rows."""
    give_up_reason: str = ""
    """Why the search of refused rows was given up; empty: it was not."""


class _GivenUpError(Exception):
    """The search of refused rows costs more than it is worth."""


class Isolator:
    """Calls the model; when it raises, learns what it refuses.

    Nothing is assumed about models. A column is said to refuse nulls (NaN, infinities, numbers
    beyond float32) when a row that was fine is refused with that one value put in; and likewise a
    string (an unknown category). What is learnt holds for the whole shard and costs one vectorised
    mask. A row that is refused for another reason is found by bisection.
    """

    def __init__(
        self,
        predict: Callable[[pa.Table, int], Answer],
        max_rejected: int,
        categories: Mapping[str, Sequence[object]],
    ) -> None:
        """Learn nothing yet.

        Args:
            predict: The model, given rows and the remainder that the batch is padded to; raises
                for rows that it refuses.
            max_rejected: Rows that the job allows to be quarantined.
            categories: The known categories of each column that the model was fitted on by
                category.
        """
        self._predict = predict
        self._categories = categories

        self._refused: dict[tuple[str, Kind], str] = {}
        self._accepted: set[tuple[str, Kind]] = set()
        self._refused_strings: dict[str, dict[str, str]] = {}
        self._accepted_strings: dict[str, set[str]] = {}
        self._good: pa.Table | None = None

        self._budget = max_rejected + BISECTION_SLACK
        self._n_single = 0

    def score(
        self, features: pa.Table, rejected: dict[int, Cause], *, remainder: int = 0
    ) -> Outcome:
        """Predictions of the rows that are not rejected already and that the model does not refuse.

        Args:
            features: The model's columns.
            rejected: Rows that the job's policy has rejected.
            remainder: See `predict_padded`.
        """
        causes = dict(rejected)
        scored = np.ones(features.num_rows, np.bool_)
        scored[list(causes)] = False

        self._reject_known(features, scored, causes)

        answer, error = self._attempt(features, scored, remainder)
        if error is not None:
            self._learn(features, scored)
            self._reject_known(features, scored, causes)
            answer, error = self._attempt(features, scored, remainder)

        if error is not None:
            try:
                for row, message in self._bisect(features, np.flatnonzero(scored), error):
                    scored[row] = False
                    causes[row] = self._explain(features, row, message)
            except _GivenUpError as given_up:
                return Outcome(None, np.zeros_like(scored), causes, str(given_up))

            answer, error = self._attempt(features, scored, remainder)
            if error is not None:
                raise error

        return Outcome(answer, scored, causes)

    def _attempt(
        self, features: pa.Table, scored: Mask, remainder: int
    ) -> tuple[Answer | None, Exception | None]:
        """The model's answer to the rows that are to be scored, or what it raises."""
        if not scored.any():
            return None, None

        rows = features if scored.all() else features.filter(from_numpy(scored))
        try:
            answer = self._predict(rows, remainder)
        except (ScoringError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (a model may raise anything)
            return None, error

        if self._good is None:
            # A copy: a slice would keep the batch alive.
            self._good = rows.take(from_numpy(np.zeros(1, np.int64)))

        return answer, None

    def _reject_known(self, features: pa.Table, scored: Mask, causes: dict[int, Cause]) -> None:
        """Reject the rows with values that the model is known to refuse."""
        for (name, kind), message in self._refused.items():
            bad = kind_mask(features.column(name), kind)
            if bad is not None:
                for row in np.flatnonzero(bad & scored).tolist():
                    causes[row] = (kind, name, message)

                scored &= ~bad

        for name, messages in self._refused_strings.items():
            column = features.column(name)
            refused = pa.array(list(messages), plain_type(column.type))
            bad = to_mask(pc.is_in(column, refused))
            if bad is not None:
                for row in np.flatnonzero(bad & scored).tolist():
                    causes[row] = self._string_cause(name, column[row].as_py(), messages)

                scored &= ~bad

    def _string_cause(self, name: str, value: str, messages: Mapping[str, str]) -> Cause:
        categories = self._categories.get(name)
        is_unseen = categories is not None and value not in categories
        return "unseen_category" if is_unseen else "model_error", name, messages[value]

    def _learn(self, features: pa.Table, scored: Mask) -> None:
        """Learn which kinds of values and which strings the model refuses, column by column."""
        suspects = self._suspects(features, scored)
        clean = scored.copy()

        for bad in suspects.values():
            clean &= ~bad

        if not self._has_good(features, np.flatnonzero(clean)):
            return

        for (name, kind), bad in suspects.items():
            cell = features.column(name).slice(int(np.flatnonzero(bad)[0]), 1)
            message = self._refusal(name, cell)
            if message is None:
                self._accepted.add((name, kind))
            else:
                self._refused[name, kind] = message

        for name in features.column_names:
            if pa.types.is_string(plain_type(features.schema.field(name).type)):
                self._learn_strings(name, features.column(name))

    def _suspects(self, features: pa.Table, scored: Mask) -> dict[tuple[str, Kind], Mask]:
        """Where columns have values of kinds of which nothing is known yet."""
        suspects = {}
        for name in features.column_names:
            for kind in KINDS:
                if (name, kind) in self._refused or (name, kind) in self._accepted:
                    continue
                bad = kind_mask(features.column(name), kind)
                if bad is not None and (bad & scored).any():
                    suspects[name, kind] = bad & scored
        return suspects

    def _learn_strings(self, name: str, column: pa.ChunkedArray) -> None:
        accepted = self._accepted_strings.setdefault(name, set())
        refused = self._refused_strings.setdefault(name, {})

        unknown = [
            value
            for value in pc.unique(column).to_pylist()
            if value is not None and value not in accepted and value not in refused
        ]

        if len(unknown) > MAX_PROBED_STRINGS:
            return  # free text: bisection finds what there is to find

        for value in unknown:
            cell = pa.chunked_array([pa.array([value]).cast(column.type)])
            message = self._refusal(name, cell)
            if message is None:
                accepted.add(value)
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
        except Exception as error:  # noqa: BLE001 (a model may raise anything)
            return _first_line(error)
        return None

    def _has_good(self, features: pa.Table, clean: npt.NDArray[np.intp]) -> bool:
        """Whether a row is known that the model takes; it is looked for if need be."""
        if self._good is None:
            self._good = self._find_good(features, clean)
        if self._good is None:
            self._good = self._make_good(features)
        return self._good is not None

    def _find_good(self, features: pa.Table, rows: npt.NDArray[np.intp]) -> pa.Table | None:
        """One of the rows that the model takes."""
        for row in rows[:GOOD_ROW_TRIES].tolist():
            candidate = features.take(pa.array([row]))
            if self._is_accepted(candidate):
                return candidate
        return None

    def _make_good(self, features: pa.Table) -> pa.Table | None:
        """A row of plain values that the model takes, for a batch without a good row."""
        columns = []
        for column in features.columns:
            cell = _plain_cell(column)
            if cell is None:
                return None
            columns.append(cell)

        candidate = pa.table(columns, schema=features.schema)
        return candidate if self._is_accepted(candidate) else None

    def _is_accepted(self, candidate: pa.Table) -> bool:
        try:
            self._predict(candidate, 0)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 (a model may raise anything)
            return False
        return True

    def _bisect(
        self, features: pa.Table, rows: npt.NDArray[np.intp], error: Exception
    ) -> Iterator[tuple[int, str]]:
        """Rows that are refused on their own."""
        if len(rows) == 1:
            yield int(rows[0]), _first_line(error)
            self._spend(error)
            return

        half = len(rows) // 2

        for part in (rows[:half], rows[half:]):
            try:
                self._predict(features.take(pa.array(part)), 0)
            except (ScoringError, MemoryError):
                raise
            except Exception as part_error:  # noqa: BLE001 (a model may raise anything)
                yield from self._bisect(features, part, part_error)

    def _spend(self, error: Exception) -> None:
        """Count a row that was found on its own.

        Raises:
            _GivenUpError: There are too many.
        """
        self._budget -= 1
        self._n_single += 1

        is_hopeless = self._good is None and self._n_single >= BISECTION_SLACK
        if self._budget < 0 or is_hopeless:
            refused = "every row that was tried"
            if self._good is not None:
                refused = "far more rows than the job allows"
            raise _GivenUpError(f"the model refuses {refused}: {_first_line(error)}")

    def _explain(self, features: pa.Table, row: int, message: str) -> Cause:
        for name in features.column_names:
            cell = features.column(name).slice(row, 1)
            for kind in KINDS:
                if (name, kind) not in self._accepted and kind_mask(cell, kind) is not None:
                    return kind, name, message
        return "model_error", None, message


def _plain_cell(column: pa.ChunkedArray) -> pa.Array | None:
    """A column's first plain value, or 0 or '' where it has none; None if its type has neither."""
    plain = pc.drop_null(column)
    default: object = "" if pa.types.is_string(plain_type(column.type)) else 0

    if pa.types.is_floating(column.type):
        plain = plain.filter(pc.less(pc.abs(plain), FLOAT32_MAX))
        default = 0.0

    if not len(plain):
        try:
            plain = pa.chunked_array([pa.array([default]).cast(column.type)])
        except pa.ArrowException:
            return None

    return plain.slice(0, 1).combine_chunks()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {' '.join(lines)[:300]}" if lines else name
