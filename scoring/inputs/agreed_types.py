"""Finds the type that holds a column's values of all files."""

import pyarrow as pa

from nightscore.inputs.casts import plain_type
from nightscore.schemas.contract import InputColumn


class AgreedTypes:
    """Columns by name, each with a type that holds the values of all files seen so far."""

    def __init__(self, *, mixes_numbers: bool) -> None:
        """No columns.

        Args:
            mixes_numbers: Integers in one file and floating numbers in another become float64.
                The values are then checked one by one.
        """
        self.columns: dict[str, InputColumn] = {}
        self._mixes_numbers = mixes_numbers

    def add(self, name: str, arrow_type: pa.DataType, wanted: str = "") -> str:
        """Agree on a type with further files. A null column agrees with any type.

        Args:
            name: Of the column.
            arrow_type: In these files.
            wanted: The type that the model states; empty for other columns.

        Returns:
            The problem; empty: there is none.
        """
        known = self.columns.get(name)
        if known is None or pa.types.is_null(known.type):
            self.columns[name] = InputColumn(name, arrow_type, wanted)
            return ""

        if pa.types.is_null(arrow_type) or arrow_type == known.type:
            return ""

        agreed = _wider(known.type, arrow_type)
        if agreed is None and self._mixes_numbers:
            agreed = _floating(known.type, arrow_type)

        if agreed is None:
            return f"{name}: has the type {arrow_type} here and {known.type} in other files"

        self.columns[name] = InputColumn(name, agreed, wanted)
        return ""


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both without loss, or None."""
    if one == other:
        return one
    if plain_type(one) == plain_type(other):
        return plain_type(one)
    are_signed = pa.types.is_signed_integer(one) and pa.types.is_signed_integer(other)
    are_floating = pa.types.is_floating(one) and pa.types.is_floating(other)
    if are_signed or are_floating:
        return max(one, other, key=lambda arrow_type: arrow_type.bit_width)
    return None


def _floating(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """float64 for integers on one side and floating numbers on the other."""
    if _is_number(one) and _is_number(other):
        return pa.float64()
    return None


def _is_number(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type))
