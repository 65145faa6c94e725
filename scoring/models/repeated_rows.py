"""Equal rows of a batch are predicted once, where a model's library is slow and many are equal.

Models of a few categories see the same row again and again; most others never do. Whether it pays
is measured on the first rows of a process.
"""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy
from nightscore.arrow.numeric import is_numeric, stored_values
from nightscore.models.protocol import Answer, Predictor

HEAD_ROWS = 4_096
"""First rows of a batch, in which equal ones are looked for before anything else is done."""
CHECK_ROWS = 1_024
"""First rows of a batch that are predicted both ways, and timed."""
MOST_DISTINCT = 0.5
"""Share of a batch's rows that may be distinct. The distinct rows, and what the model makes of
them, then take no more memory than what it makes of the whole batch."""
LEAST_GAIN = 2.0
"""Time that a prediction saves for a row, as a multiple of what it takes to find equal ones."""
VECTOR_ROWS = 64
"""Vector kernels treat the last few rows of a matrix apart: distinct rows are filled up to a
multiple of this."""
_FACTOR, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)
"""Of a multiplicative hash (Knuth, The Art of Computer Programming, vol. 3, 6.4): 2^64 divided by
the golden ratio. Rows with equal hashes are compared."""


class RepeatFindings:
    """What a process has found out about the repeated rows of its model, for all its threads."""

    def __init__(self) -> None:
        """Nothing was measured yet."""
        self.pays: bool | None = None
        self.why_each_row = ""
        """Why each row is predicted by itself."""

    def settle(self, why_each_row: str = "") -> None:
        """Keep what was found. Threads that have measured at the same time found much the same."""
        self.why_each_row = why_each_row
        self.pays = not why_each_row


class OncePredictor:
    """Predicts equal rows once. Each row has the prediction that it would have by itself."""

    def __init__(self, predictor: Predictor, findings: RepeatFindings) -> None:
        """Wrap a predictor.

        Args:
            predictor: Predicts each row by itself, whatever other rows there are.
            findings: Of this process.
        """
        self._predictor, self._findings = predictor, findings
        self.n_repeated = 0
        """Rows that were not predicted, since an equal one was."""

    @property
    def why_each_row(self) -> str:
        """Why each row is predicted by itself. Empty: it is not, or nobody has measured yet."""
        return self._findings.why_each_row

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if self._findings.pays is False or features.num_rows < CHECK_ROWS + 2 * VECTOR_ROWS:
            return self._predictor.predict(features, kinds)
        if self._findings.pays is None:
            return self._try(features, kinds)
        return self._predict_once(features, kinds)

    def _try(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """Measure whether it pays, and compare."""
        head = features.slice(0, HEAD_ROWS)
        started = time.perf_counter()
        distinct = find_distinct(head)
        find_s = (time.perf_counter() - started) / head.num_rows

        if distinct is None:
            return self._give_up("a column has values that are not compared", features, kinds)

        share = len(distinct.first) / head.num_rows
        if share > MOST_DISTINCT:
            why = f"{share:.0%} of the first {head.num_rows:,} rows are distinct"
            return self._give_up(why, features, kinds)

        expected, row_s = self._predict_first(features, kinds)
        if (1 - share) * row_s < LEAST_GAIN * find_s:
            why = (
                f"the model takes {row_s * 1e6:.2g} microseconds for a row, and looking for equal "
                f"ones {find_s * 1e6:.2g}"
            )
            return self._give_up(why, features, kinds)

        answer = self._predict_once(features, kinds)
        for kind, values in expected.items():
            if not _are_same(values, answer[kind][:CHECK_ROWS]):
                self.n_repeated = 0
                why = (
                    f"without equal rows, the model gives another {kind} in the first "
                    f"{CHECK_ROWS:,} rows of a batch"
                )
                return self._give_up(why, features, kinds)

        self._findings.settle()
        return answer

    def _give_up(self, why: str, features: pa.Table, kinds: Collection[str]) -> Answer:
        """Predict each row, from now on."""
        self._findings.settle(why)
        return self._predictor.predict(features, kinds)

    def _predict_first(self, features: pa.Table, kinds: Collection[str]) -> tuple[Answer, float]:
        """The answer for each of the first rows, and the seconds that one takes."""
        first_rows = features.slice(0, CHECK_ROWS)
        # The first call imports and makes things, which is not the predictor's speed.
        self._predictor.predict(first_rows.slice(0, 1), kinds)

        started = time.perf_counter()
        answer = self._predictor.predict(first_rows, kinds)
        row_s = (time.perf_counter() - started) / CHECK_ROWS

        # An answer may be a view of a buffer that the next call overwrites.
        return {kind: np.array(values) for kind, values in answer.items()}, row_s

    def _predict_once(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """The answer for all rows, from distinct ones.

        The last rows of a batch that is no multiple of `VECTOR_ROWS` are predicted as they stand:
        the partition's last batch ends as the whole partition would.
        """
        n_rows = features.num_rows
        n_beyond = n_rows % VECTOR_ROWS
        n_last = VECTOR_ROWS + n_beyond if n_beyond else 0
        body = features.slice(0, n_rows - n_last)

        distinct = find_distinct(body)
        if distinct is None:
            return self._predictor.predict(features, kinds)

        n_distinct = len(distinct.first)
        if n_distinct > MOST_DISTINCT * n_rows:
            if n_rows >= HEAD_ROWS:  # fewer rows have fewer that are equal
                self._findings.settle(f"{n_distinct:,} of a batch's {n_rows:,} rows are distinct")
            return self._predictor.predict(features, kinds)

        chosen = distinct.filled_up()
        answer = self._predictor.predict(body.take(from_numpy(chosen)), kinds)
        if any(len(values) != len(chosen) for values in answer.values()):
            # Whoever asks for all rows says what is wrong.
            return self._predictor.predict(features, kinds)

        spread = {kind: values[distinct.place] for kind, values in answer.items()}
        self.n_repeated += body.num_rows - n_distinct
        if not n_last:
            return spread

        last = self._predictor.predict(features.slice(n_rows - n_last), kinds)
        return {kind: np.concatenate([values, last[kind]]) for kind, values in spread.items()}


@dataclass(frozen=True, slots=True)
class DistinctRows:
    """The rows of a table that differ from all before them."""

    first: npt.NDArray[np.int64]
    """Their positions, ascending."""
    place: npt.NDArray[np.int64]
    """For each row of the table, which of them is equal to it."""

    def filled_up(self) -> npt.NDArray[np.int64]:
        """Their positions, and the last one again up to a multiple of `VECTOR_ROWS`."""
        n_missing = -len(self.first) % VECTOR_ROWS
        return np.concatenate([self.first, np.repeat(self.first[-1:], n_missing)])


def find_distinct(rows: pa.Table) -> DistinctRows | None:
    """The distinct rows of a table that has some.

    Rows are equal if their bytes are: null as null, numbers by their bits, dictionaries by codes.
    None: a column has another type, or two different rows the same hash.
    """
    words: list[npt.NDArray[np.uint64]] = []
    for column in rows.columns:
        try:
            words += _words(column)
        except (pa.ArrowException, TypeError):
            return None

    hashes = np.zeros(rows.num_rows, np.uint64)
    for word in words:
        hashes = (hashes ^ word) * _FACTOR
        hashes ^= hashes >> _SHIFT

    distinct = _group(hashes)
    for word in words:
        if not np.array_equal(word[distinct.first][distinct.place], word):
            return None

    return distinct


def _group(hashes: npt.NDArray[np.uint64]) -> DistinctRows:
    """Rows with equal hashes together.

    `numpy.unique` would import masked arrays.
    """
    order = np.argsort(hashes, kind="stable")
    sorted_hashes = hashes[order]
    is_first = np.ones(len(hashes), np.bool_)
    is_first[1:] = sorted_hashes[1:] != sorted_hashes[:-1]

    # By their hashes, then by their positions.
    first = order[is_first]
    ascending = np.argsort(first)
    ranks = np.empty_like(ascending)
    ranks[ascending] = np.arange(len(first))

    place = np.empty(len(hashes), np.int64)
    place[order] = ranks[np.cumsum(is_first) - 1]

    return DistinctRows(first[ascending], place)


def _words(column: pa.ChunkedArray) -> Iterator[npt.NDArray[np.uint64]]:
    """A column's values as they are compared, and which are not null where some are.

    Raises:
        TypeError: It has another type.
    """
    array = _encoded(column.combine_chunks())
    values = stored_values(array)
    bits = values.view(f"u{values.dtype.itemsize}").astype(np.uint64)

    if array.null_count:
        is_valid = stored_values(pc.cast(array.is_valid(), pa.uint8())).astype(np.uint64)
        yield is_valid
        bits *= is_valid  # what stands below a null is arbitrary

    yield bits


def _encoded(array: pa.Array) -> pa.Array:
    """Numbers that differ where values do."""
    types = pa.types
    if types.is_dictionary(array.type):
        return array.indices
    if types.is_string(array.type) or types.is_large_string(array.type):
        return array.dictionary_encode().indices
    if types.is_boolean(array.type):
        return pc.cast(array, pa.uint8())
    if types.is_temporal(array.type) and array.type.bit_width in (32, 64):
        return array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
    if is_numeric(array.type):
        return array

    raise TypeError(f"values of type {array.type}")


def _are_same(expected: npt.NDArray[Any], actual: npt.NDArray[Any]) -> bool:
    """Whether two answers are equal to the bit. Labels may be texts, which are objects."""
    if expected.dtype != actual.dtype or expected.shape != actual.shape:
        return False
    if expected.dtype.hasobject:
        return np.array_equal(expected, actual)
    return expected.tobytes() == actual.tobytes()
