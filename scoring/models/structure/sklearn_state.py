"""Whether sparse matrices, splines and random generators fit what C reads of them.

Loops in C index with numbers of the model, and take sizes of one array for those of another.
"""

from typing import Any

import numpy as np

MT19937_WORDS = 624
PHILOX_WORDS = 4


def sparse_problems(path: str, matrix: Any) -> list[str]:
    """What is wrong with a sparse matrix of SciPy: its numbers must be within its shape."""
    try:
        if matrix.format in ("csr", "csc", "bsr"):
            matrix.check_format(full_check=True)
        elif matrix.format == "coo":
            matrix._check()
        elif matrix.format == "dia":
            return _diagonal_problems(path, matrix)
        elif matrix.format == "lil":
            return _list_problems(path, matrix)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        return [f"{path}: a sparse matrix whose parts do not fit: {error}"]

    return []


def _diagonal_problems(path: str, matrix: Any) -> list[str]:
    if matrix.data.shape[:1] == matrix.offsets.shape:
        return []
    n_offsets, n_diagonals = len(matrix.offsets), len(matrix.data)
    return [f"{path}: {n_offsets} offsets, expected {n_diagonals}, one for each diagonal"]


def _list_problems(path: str, matrix: Any) -> list[str]:
    n_rows, n_columns = matrix.shape
    if matrix.rows.shape != (n_rows,) or matrix.data.shape != (n_rows,):
        return [f"{path}: a sparse matrix of {len(matrix.rows)} lists, expected {n_rows}"]

    has_same_lengths = [len(row) for row in matrix.rows] == [len(row) for row in matrix.data]
    columns = np.array([column for row in matrix.rows for column in row], dtype=np.int64)
    if not has_same_lengths or ((columns < 0) | (columns >= n_columns)).any():
        return [f"{path}: a sparse matrix with columns outside of 0 to {n_columns - 1}"]
    return []


def spline_problems(path: str, spline: Any) -> list[str]:
    """What is wrong with a B-spline of SciPy: it needs as many coefficients as knots ask for."""
    knots, degree, coefficients = (
        np.asarray(getattr(spline, name, None)) for name in ("t", "k", "c")
    )
    has_knots = knots.ndim == 1 and knots.dtype.kind == "f"
    has_degree = not degree.ndim and degree.dtype.kind in "iu"

    if not has_knots or not has_degree:
        return [f"{path}: expected knots and a degree of a spline"]

    n_bases = len(knots) - int(degree) - 1
    if degree < 0 or n_bases < degree + 1 or coefficients.ndim < 1 or len(coefficients) < n_bases:
        return [f"{path}: {len(knots)} knots and degree {degree}, expected {n_bases} coefficients"]
    if not np.isfinite(knots).all() or (np.diff(knots) < 0).any():
        return [f"{path}: expected knots in order, all of them finite"]

    return []


def generator_problems(path: str, generator: Any) -> list[str]:
    """What is wrong with a bit generator of NumPy: the place in its words where C continues."""
    state = generator.state
    place, n_words = 0, MT19937_WORDS
    if state["bit_generator"] == "MT19937":
        place = state["state"]["pos"]
    if state["bit_generator"] == "Philox":
        place, n_words = state["buffer_pos"], PHILOX_WORDS
    if 0 <= place <= n_words:
        return []
    return [f"{path}: place {place} of a random generator, expected 0 to {n_words}"]
