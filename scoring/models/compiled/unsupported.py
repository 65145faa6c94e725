"""Models that have no compiled form: their library predicts."""

from collections.abc import Mapping

MAX_CODES = 1 << 16
"""Category codes of one feature. They are numbers of 16 bits."""
MAX_SET_CODES = 1 << 26
"""Codes of all sets of categories together. Each set has a bit for each code."""


class UnsupportedError(Exception):
    """Why there is no compiled form."""


def check_codes(n_codes: Mapping[int, int], n_sets: int) -> None:
    """Refuse categories that take long to lay out: a file states a great one in few bytes.

    Args:
        n_codes: The number of codes of each feature that is split by category.
        n_sets: Nodes that ask for categories.

    Raises:
        UnsupportedError: There are too many.
    """
    most = max(n_codes.values(), default=0)
    if most > MAX_CODES or most * n_sets > MAX_SET_CODES:
        raise UnsupportedError("it has so many categories that the library itself is faster")
