"""A model's answer as a column of the predictions, in the type that was agreed on before.

The type is never what a batch happens to hold: a batch without missing values and the next one with
some have the same. What would change a value on its way is an error.
"""

import numbers
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy, from_texts
from nightscore.errors import ModelAnswerError
from nightscore.models.protocol import Answer
from nightscore.schemas.contract import OutputColumn

EXACT_INTEGERS = float(1 << 53)
"""Up to here every integer is a float64."""

_PYTHON_TYPES: tuple[tuple[Callable[[pa.DataType], bool], type | tuple[type, ...]], ...] = (
    (pa.types.is_string, str),
    (pa.types.is_binary, bytes),
    (pa.types.is_timestamp, datetime),
    (pa.types.is_boolean, (bool, np.bool_)),
    (lambda _: True, numbers.Real),  # which decimals are not
)
"""What the objects of a column may be."""


def prediction_array(output: OutputColumn, answer: Answer | None) -> pa.Array:
    """One column of an answer; no rows where there was none.

    Missing values are null: None, pandas' NA and NaT, and NaN where the column holds no floating
    numbers.

    Raises:
        ModelAnswerError: The model predicts another type than it was described with, or a value
            that the type cannot hold.
    """
    if answer is None:
        return pa.nulls(0, output.type)

    # A copy: an estimator may answer with a view of the buffer that the next batch overwrites.
    values = np.array(answer[output.kind][:, output.index], copy=True)

    if values.dtype.kind == "M":
        return _from_times(values, output)
    if values.dtype.kind not in "biuf":
        return _from_objects(values.tolist(), output)
    if values.dtype.kind == "f" and pa.types.is_integer(output.type):
        return _from_whole_floats(values, output)

    array = from_numpy(values)
    if not _fits(array.type, output.type):
        raise _other_type(output, str(array.type))

    try:
        return array.cast(output.type)
    except pa.ArrowInvalid as error:
        raise _unfit_value(output, str(error)) from error


def _fits(answered: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether numbers of one type become the other without loss."""
    if answered == wanted:
        return True
    if not (pa.types.is_floating(wanted) or pa.types.is_integer(wanted)):
        return False
    is_narrower = answered.bit_width <= wanted.bit_width
    if pa.types.is_floating(wanted):
        is_number = pa.types.is_integer(answered) or pa.types.is_boolean(answered)
        return bool(is_number or (pa.types.is_floating(answered) and is_narrower))
    return bool(pa.types.is_boolean(answered) or (pa.types.is_integer(answered) and is_narrower))


def _from_times(values: npt.NDArray[Any], output: OutputColumn) -> pa.Array:
    if not pa.types.is_timestamp(output.type):
        raise _other_type(output, str(values.dtype))

    microseconds = values.astype("datetime64[us]")
    is_missing = np.isnat(values)
    is_exact = (microseconds.astype(values.dtype) == values) | is_missing
    if not is_exact.all():
        raise _unfit_value(output, values[~is_exact][0])

    validity = pa.py_buffer(np.packbits(~is_missing, bitorder="little"))
    return pa.Array.from_buffers(
        output.type, len(values), [validity, pa.py_buffer(microseconds.view(np.int64))]
    )


def _from_whole_floats(values: npt.NDArray[Any], output: OutputColumn) -> pa.Array:
    """Pandas makes floats of integers as soon as one is missing."""
    is_missing = np.isnan(values)

    is_whole = (np.abs(values) <= EXACT_INTEGERS) & (np.trunc(values) == values)
    if not (is_whole | is_missing).all():
        raise _unfit_value(output, values[~is_whole & ~is_missing][0])

    integers = np.where(is_missing, 0, values).astype(np.int64)
    validity = pa.py_buffer(np.packbits(~is_missing, bitorder="little"))
    array = pa.Array.from_buffers(pa.int64(), len(values), [validity, pa.py_buffer(integers)])
    try:
        return array.cast(output.type)
    except pa.ArrowInvalid as error:
        raise _unfit_value(output, str(error)) from error


def _from_objects(values: list[Any], output: OutputColumn) -> pa.Array:
    values = [None if _is_missing(value, output.type) else value for value in values]

    wanted = next(python_type for is_one, python_type in _PYTHON_TYPES if is_one(output.type))
    others = [value for value in values if not (value is None or isinstance(value, wanted))]
    if others:
        raise _other_type(output, type(others[0]).__name__)
    if pa.types.is_string(output.type):
        return from_texts(values)

    zoned = [value for value in values if getattr(value, "tzinfo", None) is not None]
    if zoned:
        raise _other_type(output, f"times with the zone {zoned[0].tzinfo}")
    if (changed := _changed_value(values, output.type)) is not None:
        raise _unfit_value(output, changed)

    try:
        return pa.array(values, output.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _unfit_value(output, str(error)) from error


def _changed_value(values: list[Any], arrow_type: pa.DataType) -> Any:
    """The first value that Arrow would round or cut off without a word; None: there is none."""
    if pa.types.is_integer(arrow_type):
        return next(
            (value for value in values if isinstance(value, numbers.Real) and value != value // 1),
            None,
        )

    if pa.types.is_timestamp(arrow_type):
        return next((value for value in values if getattr(value, "nanosecond", 0)), None)

    if pa.types.is_float32(arrow_type):
        floats = (value for value in values if isinstance(value, float))
        return next(
            (value for value in floats if value == value and float(np.float32(value)) != value),
            None,
        )

    return None


def _is_missing(value: Any, arrow_type: pa.DataType) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    is_nan = isinstance(value, float) and value != value
    return is_nan and not pa.types.is_floating(arrow_type)


def _other_type(output: OutputColumn, answered: str) -> ModelAnswerError:
    return ModelAnswerError(
        "The model predicts another type than it was described with.",
        expected=f"{output.name}: {output.type}",
        found=answered,
        next_step="log the model with a signature that states its outputs",
    )


def _unfit_value(output: OutputColumn, value: object) -> ModelAnswerError:
    return ModelAnswerError(
        "The model predicts a value that the type it was described with cannot hold.",
        expected=f"{output.name}: {output.type}",
        found=str(value),
        next_step="log the model with a signature that states its outputs",
    )
