"""Few numbers of each column of a run, merged by addition: what gates look at."""

import functools
import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.numeric import numeric_values, stored_values
from nightscore.inputs.casts import plain_type
from nightscore.profiles.numbers import finite_values
from nightscore.schemas.manifest import ColumnRecord

COUNTS = ("rows", "missing", "nulled", "infinite", "finite")


def feature_records(
    features: pa.Table, nulled: Mapping[str, npt.NDArray[np.bool_]], missing: Mapping[str, int]
) -> list[ColumnRecord]:
    """Missing values of each feature of a batch, before any row is set apart.

    Args:
        features: The model's columns.
        nulled: Column to the rows whose value did not cast and passes as missing.
        missing: Nulls and NaN of columns that were counted already: reading a batch again takes as long as counting.
    """
    return [
        ColumnRecord(
            name=name,
            role="feature",
            rows=features.num_rows,
            missing=missing[name] if name in missing else _missing(column),
            nulled=int(nulled[name].sum()) if name in nulled else 0,
        )
        for name, column in zip(features.column_names, features.columns, strict=True)
    ]


def prediction_records(predictions: pa.Table) -> list[ColumnRecord]:
    """Each prediction column of a batch."""
    return [
        _prediction_record(name, column)
        for name, column in zip(predictions.column_names, predictions.columns, strict=True)
    ]


def merge_records(records: Iterable[ColumnRecord]) -> tuple[ColumnRecord, ...]:
    """One record a column, in the order of their first appearance."""
    found: dict[tuple[str, str], list[ColumnRecord]] = {}
    for record in records:
        found.setdefault((record.role, record.name), []).append(record)
    return tuple(functools.reduce(_merge, group) for group in found.values())


def _missing(column: pa.ChunkedArray) -> int:
    if not pa.types.is_floating(column.type):
        return int(column.null_count)
    return sum(map(_missing_floats, column.chunks))


def _missing_floats(chunk: pa.Array) -> int:
    """Nulls and NaN.

    Arrow's `is_nan` and `sum` take five times as long. Nulls are made NaN only where there is a NaN already, be it in
    the place of a null: that takes another six times as long.
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
    kind = plain_type(column.type)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return ColumnRecord.model_validate(fields)

    finite = finite_values([column])
    numbers: dict[str, object] = {
        "infinite": rows - missing - len(finite),
        "finite": len(finite),
    }
    if len(finite):
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(finite.mean())
            squares = float(np.square(finite - mean).sum())
        numbers |= {"low": float(finite.min()), "high": float(finite.max())}
        numbers |= _finite(mean, squares)
    return ColumnRecord.model_validate({**fields, **numbers})


def _merge(one: ColumnRecord, other: ColumnRecord) -> ColumnRecord:
    """Of two parts.

    Source: Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
    """
    counts = {name: getattr(one, name) + getattr(other, name) for name in COUNTS}
    if not one.finite or not other.finite:
        there = one if one.finite else other
        return there.model_copy(update=counts)
    mean = squares = math.inf
    if (
        one.mean is not None
        and other.mean is not None
        and one.squares is not None
        and other.squares is not None
    ):
        distance, share = other.mean - one.mean, other.finite / counts["finite"]
        mean = one.mean + distance * share
        squares = one.squares + other.squares + distance * distance * one.finite * share
    bounds = {"low": min(one.low, other.low), "high": max(one.high, other.high)}
    return one.model_copy(update={**counts, **bounds, **_finite(mean, squares)})


def _finite(mean: float, squares: float) -> dict[str, float | None]:
    is_there = math.isfinite(mean) and math.isfinite(squares)
    return {"mean": mean if is_there else None, "squares": squares if is_there else None}
