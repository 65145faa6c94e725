"""A model's predictor for one shard: the compiled one, once it gives the library's own answers.

They are compared at the start of each shard of a host's first run with the model and these versions
of the libraries.
"""

import time
from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.models.compiled.flat import CompiledForm
from nightscore.models.protocol import Answer, CompiledPredictor, Predictor
from nightscore.models.repeated_rows import OncePredictor, RepeatFindings
from nightscore.schemas.manifest import PredictorRecord

CHECK_ROWS = 1_024
"""First rows of a shard that are compared: 8 ms of scikit-learn's time for 200 boosted trees."""


class OpenModel(Protocol):
    """One copy of a model, as `loading.LoadedModel` is."""

    form: CompiledForm | None
    checked: PredictorRecord | None
    """How the compiled form compared with the library; None: they were not compared yet."""
    fallback_reason: str
    """Why the library predicts; empty: the compiled form does."""
    repeats: RepeatFindings | None
    """Of equal rows; None: each row is predicted, since code of the model's own may look at all."""

    def library_predictor(self) -> Predictor:
        """The library's own predictor, with buffers of its own."""
        ...

    def compiled_predictor(self, library: Predictor) -> CompiledPredictor:
        """The compiled predictor, with buffers of its own."""
        ...

    def note(self, record: PredictorRecord) -> None:
        """Store how the compiled form compared, for later processes."""
        ...


class LibraryOnDemand:
    """The library's own predictor, loaded when it is first needed. Most workers never need it."""

    def __init__(self, model: OpenModel) -> None:
        """Name the model."""
        self._model = model
        self._library: Predictor | None = None

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if self._library is None:
            self._library = self._model.library_predictor()
        return self._library.predict(features, kinds)


class CheckedPredictor:
    """Compares first rows with the library. After any difference the library predicts."""

    def __init__(
        self,
        model: OpenModel,
        types: Mapping[str, pa.DataType],
        *,
        is_unchecked: bool = False,
        predicts_each_row: bool = False,
    ) -> None:
        """Make a predictor for one thread.

        Args:
            model: The model of this process.
            types: The type of each feature as the library gets it.
            is_unchecked: Compare even if they were compared before. A run some of whose shards were
                compared is a first run for its other shards.
            predicts_each_row: Equal rows are predicted each by itself.
        """
        self._model = model
        self._library: Predictor
        self._active: Predictor
        self._compiled: CompiledPredictor | None = None
        self._once: OncePredictor | None = None

        if model.form is None:
            self._active = self._library = Decoded(model.library_predictor(), types)
            if model.repeats is not None and not predicts_each_row:
                self._active = self._once = OncePredictor(self._library, model.repeats)
            self._record = PredictorRecord(engine="library", why=model.fallback_reason)
            return

        self._library = Decoded(LibraryOnDemand(model), types)
        self._active = self._compiled = model.compiled_predictor(self._library)
        self._record = PredictorRecord(engine="compiled")

        if model.checked is not None and not is_unchecked:
            self._record = model.checked

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if self._compiled is not None and not self._record.checked_rows:
            self._check(self._compiled, features.slice(0, CHECK_ROWS), kinds)
        return self._active.predict(features, kinds)

    @property
    def record(self) -> PredictorRecord:
        """What has predicted so far."""
        if self._once is not None:
            found = {
                "rows_repeated": self._once.n_repeated,
                "why_each_row": self._once.why_each_row,
            }
            return self._record.model_copy(update=found)

        if self._compiled is None or self._active is not self._compiled:
            return self._record

        update = {
            "rows_by_library": self._compiled.rows_by_library,
            "trouble": self._compiled.trouble,
        }
        return self._record.model_copy(update=update)

    def _check(self, compiled: CompiledPredictor, rows: pa.Table, kinds: Collection[str]) -> None:
        answer, library_s = _timed(self._library, rows, kinds)
        # It may be a view of a buffer that the next call overwrites.
        expected = {kind: np.array(values) for kind, values in answer.items()}
        actual, compiled_s = _timed(compiled, rows, kinds)

        is_exact = compiled.tolerance == 0.0
        worst = 0.0
        for kind, values in expected.items():
            worst = max(worst, difference(values, actual[kind], is_exact=is_exact))

        update: dict[str, object] = {
            "checked_rows": rows.num_rows,
            "difference": worst,
            "library_s": library_s,
            "compiled_s": compiled_s,
        }

        if worst > compiled.tolerance:
            self._active = self._library
            why = (
                f"the compiled predictor's answers differ by {worst:.1e} (relative) in the first "
                f"{rows.num_rows:,} rows of a shard, at most {compiled.tolerance:g} is allowed"
            )
            update |= {"engine": "library", "has_differed": True, "why": why}

        self._record = self._record.model_copy(update=update)
        self._model.note(self._record)


class Decoded:
    """Gives a predictor texts where a batch has dictionaries of them."""

    def __init__(self, predictor: Predictor, types: Mapping[str, pa.DataType]) -> None:
        """Wrap a predictor.

        Args:
            predictor: What predicts.
            types: The type of each feature as the predictor gets it.
        """
        self._predictor, self._types = predictor, types

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        for i, field in enumerate(features.schema):
            wanted = self._types.get(field.name, field.type)
            if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(wanted):
                features = features.set_column(i, field.name, features.column(i).cast(wanted))
        return self._predictor.predict(features, kinds)


def difference(
    expected: npt.NDArray[np.generic], actual: npt.NDArray[np.generic], *, is_exact: bool = True
) -> float:
    """The greatest difference, relative to the greater of the two values.

    It is infinite where anything but a number differs.

    Args:
        expected: The library's answer.
        actual: The compiled predictor's answer.
        is_exact: Whether sums must be rounded alike. If not, differences are relative to the mean
            size of the column's values if that is greater: a sum of great numbers that comes out
            near 0 keeps the error of the great ones.
    """
    if expected.shape != actual.shape or expected.dtype.kind != actual.dtype.kind:
        return float("inf")
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(expected, actual) else float("inf")

    a, b = expected.astype(np.float64), actual.astype(np.float64)
    differs = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not differs.any():
        return 0.0

    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(a), np.abs(b))
        if not is_exact:
            size = np.maximum(size, np.abs(a).mean(axis=0))
        relative = (np.abs(a - b) / size)[differs]

    return float("inf") if np.isnan(relative).any() else float(relative.max())


def _timed(predictor: Predictor, rows: pa.Table, kinds: Collection[str]) -> tuple[Answer, float]:
    """An answer, and the CPU seconds that it took."""
    # The first call imports and makes things, which is not the predictor's speed.
    predictor.predict(rows.slice(0, 1), kinds)

    started = time.thread_time()
    answer = predictor.predict(rows, kinds)
    return answer, time.thread_time() - started
