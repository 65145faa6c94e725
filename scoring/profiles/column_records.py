"""Few numbers of each column of a run, for gates. They are merged by addition.

They count all rows, even if profiles count only every n-th.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.numeric import numeric_values, stored_values
from nightscore.inputs.casts import plain_type
from nightscore.profiles.bins import Floats
from nightscore.profiles.hashes import BLOCK_VALUES
from nightscore.schemas.manifest import ColumnRecord

COUNTS = ("rows", "missing", "nulled", "infinite", "finite")


def feature_records(
    features: pa.Table, nulled: Mapping[str, npt.NDArray[np.bool_]], missing: Mapping[str, int]
) -> list[ColumnRecord]:
    """The missing values of each feature of a batch, before rows are rejected.

    Args:
        features: The model's columns.
        nulled: For each column, the rows whose value did not cast and passes as missing.
        missing: Nulls and NaN of columns that were counted already. Reading a batch once more takes
            as long as counting it.
    """
    records = []
    for name, column in zip(features.column_names, features.columns, strict=True):
        n_missing = missing.get(name)
        if n_missing is None:
            n_missing = _missing(column)

        n_nulled = 0
        if name in nulled:
            n_nulled = int(nulled[name].sum())

        record = ColumnRecord(
            name=name,
            role="feature",
            rows=features.num_rows,
            missing=n_missing,
            nulled=n_nulled,
        )
        records.append(record)

    return records


def prediction_records(predictions: pa.Table) -> list[ColumnRecord]:
    """The records of the prediction columns of a batch."""
    columns = zip(predictions.column_names, predictions.columns, strict=True)
    return [_prediction_record(name, column) for name, column in columns]


def merge_records(records: Iterable[ColumnRecord]) -> tuple[ColumnRecord, ...]:
    """One record per column, in the order in which columns first appear."""
    merged: dict[tuple[str, str], ColumnRecord] = {}
    for record in records:
        key = (record.role, record.name)
        if key in merged:
            record = _merge(merged[key], record)
        merged[key] = record
    return tuple(merged.values())


def _missing(column: pa.ChunkedArray) -> int:
    if not pa.types.is_floating(column.type):
        return int(column.null_count)
    return sum(map(_missing_floats, column.chunks))


def _missing_floats(chunk: pa.Array) -> int:
    """Nulls and NaN.

    Arrow's `is_nan` and `sum` take five times as long. Turning nulls into NaN takes six times as
    long again, so it is done only if there is a NaN, which may be the content of a null.
    """
    n_odd = int(np.count_nonzero(np.isnan(stored_values(chunk))))
    if n_odd and chunk.null_count:
        return int(np.count_nonzero(np.isnan(numeric_values(chunk))))
    return n_odd + int(chunk.null_count)


def _prediction_record(name: str, column: pa.ChunkedArray) -> ColumnRecord:
    rows, missing = len(column), _missing(column)
    fields: Mapping[str, object] = {
        "name": name,
        "role": "prediction",
        "rows": rows,
        "missing": missing,
    }

    arrow_type = plain_type(column.type)
    if not (pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type)):
        return ColumnRecord.model_validate(fields)

    numbers = _numbers(column)
    infinite = {"infinite": rows - missing - numbers["finite"]}
    return ColumnRecord.model_validate({**fields, **numbers, **infinite})


def _numbers(column: pa.ChunkedArray) -> dict[str, Any]:
    """The fields that are computed from a column's finite values."""
    n_finite, low, high, total = 0, math.inf, -math.inf, 0.0

    with np.errstate(over="ignore", invalid="ignore"):
        for values in _finite_blocks(column):
            n_finite += len(values)
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            total += float(values.sum())

        if not n_finite:
            return {"finite": 0}

        mean, squares = total / n_finite, 0.0
        for values in _finite_blocks(column):
            squares += float(np.square(values - mean).sum())

    return {"finite": n_finite, "low": low, "high": high, **_finite(mean, squares)}


def _finite_blocks(column: pa.ChunkedArray) -> Iterator[Floats]:
    """The finite values of integers or floats, a few at a time.

    What is computed of a block stays in the processor's cache. Memory for all of a batch would be
    fresh pages each time, which takes ten times as long.
    """
    for chunk in column.cast(plain_type(column.type)).chunks:
        stored = numeric_values(chunk)

        for start in range(0, len(stored), BLOCK_VALUES):
            values = stored[start : start + BLOCK_VALUES].astype(np.float64, copy=False)
            is_finite = np.isfinite(values)

            if not is_finite.all():
                values = values[is_finite]
            if len(values):
                yield values


def _merge(one: ColumnRecord, other: ColumnRecord) -> ColumnRecord:
    """The record of two parts of a column.

    Source: Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances" (1979).
    """
    counts = {name: getattr(one, name) + getattr(other, name) for name in COUNTS}

    if not one.finite or not other.finite:
        with_numbers = one if one.finite else other
        return with_numbers.model_copy(update=counts)

    mean, squares = _merge_moments(one, other)
    bounds = {"low": min(one.low, other.low), "high": max(one.high, other.high)}

    return one.model_copy(update={**counts, **bounds, **_finite(mean, squares)})


def _merge_moments(one: ColumnRecord, other: ColumnRecord) -> tuple[float, float]:
    """The mean, and the sum of squares about it; infinite where either part's is beyond float64."""
    if one.mean is None or other.mean is None or one.squares is None or other.squares is None:
        return math.inf, math.inf

    distance = other.mean - one.mean
    share = other.finite / (one.finite + other.finite)
    mean = one.mean + distance * share
    squares = one.squares + other.squares + distance * distance * one.finite * share
    return mean, squares


def _finite(mean: float, squares: float) -> dict[str, float | None]:
    if math.isfinite(mean) and math.isfinite(squares):
        return {"mean": mean, "squares": squares}
    return {"mean": None, "squares": None}
