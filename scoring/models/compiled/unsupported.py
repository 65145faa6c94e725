"""Models that have no compiled form: their library predicts by itself."""

from collections.abc import Mapping

MAX_CODES = 1 << 16
"""Of one feature: they are numbers of 16 bits."""
MAX_SET_CODES = 1 << 26
"""Of all sets together; each has a bit for each code."""


class UnsupportedError(Exception):
    """Why there is no compiled form."""


def check_codes(n_codes: Mapping[int, int], n_sets: int) -> None:
    """Leave categories to the library that take long to lay out: a file names a great one in few bytes.

    Args:
        n_codes: Of each feature that is split by category.
        n_sets: Nodes that ask for categories.

    Raises:
        UnsupportedError: There are too many.
    """
    most = max(n_codes.values(), default=0)
    if most > MAX_CODES or most * n_sets > MAX_SET_CODES:
        raise UnsupportedError("it has so many categories that the library itself is faster")
