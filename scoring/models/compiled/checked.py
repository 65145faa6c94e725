"""A model's predictor for one shard: the compiled one once it was found to give the library's own answers.

That is found at the start of each shard of a host's first run with the model and these versions of the libraries.
"""

import time
from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.models.compiled.flat import CompiledForm
from nightscore.models.protocol import Answer, CompiledPredictor, Predictor
from nightscore.schemas.manifest import PredictorRecord

CHECK_ROWS = 1_024
"""Of each shard: 8 ms of scikit-learn's time for 200 trees of boosting."""


class OpenModel(Protocol):
    """One copy of a model, as `loading.LoadedModel` is."""

    form: CompiledForm | None
    checked: PredictorRecord | None
    """How the compiled form has compared with the library's own; None: nobody has looked yet."""
    why: str
    """Why the library's own predicts; empty: the compiled form does."""

    def own(self) -> Predictor:
        """The library's own predictor, with buffers of its own."""
        ...

    def compiled(self, own: Predictor) -> CompiledPredictor:
        """The compiled predictor, with buffers of its own."""
        ...

    def note(self, record: PredictorRecord) -> None:
        """Keep, for the processes to come, how the compiled form has compared."""
        ...


class LibraryOnDemand:
    """The library's own predictor, loaded when it is first needed: most workers never need it."""

    def __init__(self, model: OpenModel) -> None:
        self._model = model
        self._own: Predictor | None = None

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if self._own is None:
            self._own = self._model.own()
        return self._own.predict(features, kinds)


class CheckedPredictor:
    """Compares the first rows that the library takes; on any difference it predicts with the library's own."""

    def __init__(
        self, model: OpenModel, types: Mapping[str, pa.DataType], *, is_unchecked: bool = False
    ) -> None:
        """Make a predictor for one thread.

        Args:
            model: Of this process.
            types: Of each feature as the library is given it.
            is_unchecked: Compare, whatever was compared before: a run of which some shards have been is a first run
                for the others.
        """
        self._model = model
        self._own: Predictor
        self._active: Predictor
        self._compiled: CompiledPredictor | None = None
        if model.form is None:
            self._active = self._own = Decoded(model.own(), types)
            self._record = PredictorRecord(engine="library", why=model.why)
            return
        self._own = Decoded(LibraryOnDemand(model), types)
        self._active = self._compiled = model.compiled(self._own)
        self._record = (None if is_unchecked else model.checked) or PredictorRecord(
            engine="compiled"
        )

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        if self._compiled is not None and not self._record.checked_rows:
            self._check(self._compiled, features.slice(0, CHECK_ROWS), kinds)
        return self._active.predict(features, kinds)

    @property
    def record(self) -> PredictorRecord:
        """What has predicted so far."""
        if self._compiled is None or self._active is not self._compiled:
            return self._record
        left, trouble = self._compiled.rows_by_library, self._compiled.trouble
        return self._record.model_copy(update={"rows_by_library": left, "trouble": trouble})

    def _check(self, compiled: CompiledPredictor, rows: pa.Table, kinds: Collection[str]) -> None:
        own, library_s = _timed(self._own, rows, kinds)
        # A view of a buffer that the next call overwrites, for all that is known.
        own = {kind: np.array(values) for kind, values in own.items()}
        found, compiled_s = _timed(compiled, rows, kinds)
        is_exact = compiled.tolerance == 0.0
        worst = max(difference(own[kind], found[kind], is_exact=is_exact) for kind in own)
        measured = {
            "checked_rows": rows.num_rows,
            "difference": worst,
            "library_s": library_s,
            "compiled_s": compiled_s,
        }
        if worst > compiled.tolerance:
            self._active = self._own
            measured |= {
                "engine": "library",
                "has_differed": True,
                "why": f"the compiled predictor's answers differ by {worst:.1e} (relative) in the first "
                f"{rows.num_rows:,} rows of a shard, at most {compiled.tolerance:g} is allowed",
            }
        self._record = self._record.model_copy(update=measured)
        self._model.note(self._record)


class Decoded:
    """A predictor that is given texts, where a batch has them as dictionaries."""

    def __init__(self, own: Predictor, types: Mapping[str, pa.DataType]) -> None:
        self._own, self._types = own, types

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`."""
        for i, field in enumerate(features.schema):
            wanted = self._types.get(field.name, field.type)
            if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(wanted):
                features = features.set_column(i, field.name, features.column(i).cast(wanted))
        return self._own.predict(features, kinds)


def difference(
    own: npt.NDArray[np.generic], found: npt.NDArray[np.generic], *, is_exact: bool = True
) -> float:
    """The greatest one, relative to the greater of the two values; infinite where anything but a number differs.

    Where sums may be rounded otherwise, relative to the mean size of the column's values if that is greater still: a
    sum of great numbers that comes out near 0 keeps the error of the great ones.
    """
    if own.shape != found.shape or own.dtype.kind != found.dtype.kind:
        return float("inf")
    if own.dtype.kind != "f":
        return 0.0 if np.array_equal(own, found) else float("inf")
    a, b = own.astype(np.float64), found.astype(np.float64)
    apart = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not apart.any():
        return 0.0
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(a), np.abs(b))
        if not is_exact:
            size = np.maximum(size, np.abs(a).mean(axis=0))
        relative = (np.abs(a - b) / size)[apart]
    return float("inf") if np.isnan(relative).any() else float(relative.max())


def _timed(predictor: Predictor, rows: pa.Table, kinds: Collection[str]) -> tuple[Answer, float]:
    predictor.predict(
        rows.slice(0, 1), kinds
    )  # what is imported or made at the first call is not its speed
    started = time.thread_time()
    answer = predictor.predict(rows, kinds)
    return answer, time.thread_time() - started
