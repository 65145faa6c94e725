"""What a loaded model is to the engine, whatever its flavor."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy.typing as npt
import pyarrow as pa

Answer = Mapping[str, npt.NDArray[Any]]
"""Kind of output (`prediction`, `probability`, `decision`, `raw`) to an array of shape (n_rows, n_columns)."""


class Predictor(Protocol):
    """Takes Arrow columns, gives what the model gives. One thread uses it at a time."""

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """The outputs of `kinds` for each row, in order.

        Args:
            features: The contract's features in the model's order; no rows give empty arrays of the right types.
            kinds: What is wanted besides `prediction`.

        Raises:
            Exception: Whatever the model raises for rows that it refuses.
        """
        ...


class CompiledPredictor(Predictor, Protocol):
    """Gives the library's own predictions, faster."""

    tolerance: float
    """How far from the library's own it may be, relative; 0: equal to the bit."""
    rows_by_library: int
    """Rows of batches that it has left to the library's own so far."""
    trouble: str
    """Its last error on a batch that the library's own then took; empty: none."""
