"""Guesses which columns a model takes that names none."""

from collections.abc import Collection

import pyarrow as pa

from nightscore.inputs.casts import plain_type
from nightscore.operations.project.records import Guess


def guess_features(
    schema: pa.Schema, n_features: int, set_apart: Collection[str]
) -> tuple[list[str], Guess]:
    """The model's columns, in its order; none if it is not clear which they are.

    Args:
        schema: Of a file of the data.
        n_features: How many columns the model takes.
        set_apart: Columns that are something else.
    """
    rest = [field for field in schema if field.name not in set_apart]
    numbers = [field for field in rest if _is_number(field.type)]

    for fields, what in ((rest, "columns besides the keys"), (numbers, "numbers besides the keys")):
        if len(fields) == n_features:
            names = [field.name for field in fields]
            reason = f"the data have {n_features} {what}; check their order"
            return names, Guess("features", ", ".join(names), reason)

    reason = f"the data have {len(rest)} columns besides the keys; name them under `features`"
    return [], Guess("features", "unknown", reason)


def _is_number(arrow_type: pa.DataType) -> bool:
    plain = plain_type(arrow_type)
    return bool(
        pa.types.is_integer(plain) or pa.types.is_floating(plain) or pa.types.is_boolean(plain)
    )
