"""What a loaded model is to the engine, whatever its flavor."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a partition that is unchanged needs neither
    import numpy.typing as npt
    import pyarrow as pa

Answer = Mapping[str, "npt.NDArray[Any]"]
"""An array of shape (n_rows, n_columns) for each kind of output.

Kinds are `prediction`, `probability`, `decision` and `raw`.
"""


class Predictor(Protocol):
    """Takes Arrow columns and returns what the model predicts. One thread uses it at a time."""

    def predict(self, features: "pa.Table", kinds: Collection[str]) -> Answer:
        """The outputs of `kinds` for each row, in order.

        Args:
            features: The contract's features in the model's order. A table without rows gives empty
                arrays of the right types.
            kinds: What is wanted besides `prediction`.

        Raises:
            Exception: Whatever the model raises for rows that it refuses.
        """
        ...


class CompiledPredictor(Predictor, Protocol):
    """Gives the library's predictions, faster."""

    tolerance: float
    """How far it may be from the library's predictions, relative; 0: equal to the bit."""
    rows_by_library: int
    """Rows of batches that it has left to the library so far."""
    trouble: str
    """Its last error on a batch that the library then predicted; empty: none."""
