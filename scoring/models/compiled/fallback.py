"""A compiled model beside the library's own, which takes what the compiled one does not."""

import warnings
from collections.abc import Collection
from typing import Protocol

import pyarrow as pa

from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.protocol import Answer, Predictor


class CompiledModel(Protocol):
    """A model in machine code."""

    tolerance: float
    """How far from the library's own it may be, relative; 0: equal to the bit."""

    def attempt(self, features: pa.Table, kinds: Collection[str]) -> Answer | None:
        """As `Predictor.predict`; None: there are values that the library refuses.

        Raises:
            UnsupportedError: A column is of a type that is left to the library.
            Exception: What a transformer of the model raises.
        """
        ...


class WithLibrary:
    """A `CompiledPredictor`: a batch with values that the library refuses is given to the library, whose words the
    user then reads."""

    def __init__(self, model: CompiledModel, own: Predictor) -> None:
        self._model, self._own = model, own
        self.tolerance = model.tolerance
        self.rows_by_library = 0
        self.trouble = ""

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if not features.num_rows:
            return self._own.predict(features, kinds)
        answer, trouble = None, ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer = self._model.attempt(features, kinds)
        except UnsupportedError:
            pass  # counted below
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (a transformer of the model may raise anything)
            trouble = f"{type(error).__name__}: {str(error)[:200]}"
        if answer is not None:
            return answer
        own = self._own.predict(features, kinds)  # raises, where it refuses them too
        self.rows_by_library += features.num_rows
        self.trouble = trouble or self.trouble
        return own
