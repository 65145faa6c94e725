"""Kinds of values that a model may refuse, and where a column has them."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.inputs.casts import to_mask

Kind = Literal["null", "nan", "infinite", "overflow"]
KINDS: tuple[Kind, ...] = ("null", "nan", "infinite", "overflow")
FLOAT32_MAX = float(np.finfo(np.float32).max)

Mask = npt.NDArray[np.bool_]
"""One truth value for each row."""
Cause = tuple[str, str | None, str]
"""Reason code, column, message."""


def kind_mask(column: pa.ChunkedArray, kind: Kind) -> Mask | None:
    """Where a column has values of a kind; None: nowhere."""
    if kind == "null":
        return to_mask(pc.is_null(column)) if column.null_count else None

    if not pa.types.is_floating(column.type):
        return None

    if kind == "nan":
        bad = pc.is_nan(column)
    elif kind == "infinite":
        bad = pc.is_inf(column)
    elif column.type == pa.float64():
        bad = pc.and_(pc.greater(pc.abs(column), FLOAT32_MAX), pc.is_finite(column))
    else:
        return None

    return to_mask(pc.fill_null(bad, False))
