"""A compiled model beside the library, which takes what the compiled one does not."""

import warnings
from collections.abc import Collection
from typing import Protocol

import pyarrow as pa

from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.protocol import Answer, Predictor


class CompiledModel(Protocol):
    """A model in machine code."""

    tolerance: float
    """Greatest relative difference from the library; 0: equal to the bit."""

    def attempt(self, features: pa.Table, kinds: Collection[str]) -> Answer | None:
        """Predict as `Predictor.predict` does.

        Returns:
            The answer, or None: there are values that the library refuses.

        Raises:
            UnsupportedError: A column has a type that is left to the library.
            Exception: A transformer of the model raises it.
        """
        ...


class WithLibrary:
    """A `CompiledPredictor` that gives the library what the compiled model does not take.

    The library refuses values in its own words, which the user then reads.
    """

    def __init__(self, model: CompiledModel, library: Predictor) -> None:
        """Combine a compiled model and the library's own predictor of it."""
        self._model, self._library = model, library
        self.tolerance = model.tolerance
        self.rows_by_library = 0
        self.trouble = ""

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if not features.num_rows:
            return self._library.predict(features, kinds)

        answer, trouble = self._attempt(features, kinds)
        if answer is not None:
            return answer

        # It raises if it refuses them too.
        answer = self._library.predict(features, kinds)
        self.rows_by_library += features.num_rows
        self.trouble = trouble or self.trouble

        return answer

    def _attempt(self, features: pa.Table, kinds: Collection[str]) -> tuple[Answer | None, str]:
        """The compiled model's answer, or None and the error that is worth reporting."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._model.attempt(features, kinds), ""
        except UnsupportedError:
            return None, ""
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (a transformer of the model may raise anything)
            return None, f"{type(error).__name__}: {str(error)[:200]}"
