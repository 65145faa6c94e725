"""From Arrow columns to what LightGBM's and XGBoost's trees compare."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.numeric import is_numeric
from nightscore.models.categories import coded, look_up
from nightscore.models.compiled.columns import ColumnReader
from nightscore.models.compiled.sums import Looked, Numbers
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.native.machine_code import Kernels

LIGHTGBM_ZERO = float(np.float32(1e-35))
"""LightGBM's `kZeroThreshold`: what is not greater in size is 0."""


@dataclass(frozen=True, slots=True)
class FeatureRules:
    """What a library makes of a value before its trees see it."""

    library: Literal["lightgbm", "xgboost"]
    n_codes: Mapping[int, int]
    """Of features that are split by category: how many codes there are. The last one is of missing values; XGBoost's
    last but one is of all others that no node names."""
    zero_missing: tuple[int, ...] = ()
    """Features whose zeros are missing."""
    used: tuple[int, ...] = ()
    """Features that anything depends on."""

    @property
    def refuses_unknown(self) -> bool:
        """A value that is none of a column's categories is an error, as in XGBoost; in LightGBM it is missing."""
        return self.library == "xgboost"


class BoosterEncoder:
    """The features of a booster's trees, from a table in the model's order."""

    def __init__(
        self, rules: FeatureRules, categories: Mapping[str, tuple[Any, ...]], kernels: Kernels
    ) -> None:
        """Of columns with categories, by name, take the codes of training."""
        self._rules, self._categories, self._used = rules, categories, frozenset(rules.used)
        self._reader = ColumnReader(kernels)

    def encode(self, table: pa.Table) -> Iterator[tuple[int, Iterator[Numbers | Looked]]]:
        """Features, by number, and the chunks of their values; each is gone when the next one is asked for.

        Raises:
            UnsupportedError: A column is of a type that is left to the library.
            UnknownCategoryError: A value is none of the categories, where that is refused.
            ValueError: A column holds another kind of values than its categories are.
        """
        for i, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
            self._check_type(name, column.type)
            if i in self._used:
                yield i, self._chunks(i, name, column)

    def _check_type(self, name: str, kind: pa.DataType) -> None:
        categories = self._categories.get(name)
        if categories is not None:
            look_up(pa.array([], kind), categories)
        elif not is_numeric(kind):
            raise UnsupportedError(f"a column is {kind}, and the model knows no categories of it")

    def _chunks(
        self, feature: int, name: str, column: pa.ChunkedArray
    ) -> Iterator[Numbers | Looked]:
        categories = self._categories.get(name)
        for chunk in column.chunks:
            if categories is not None:
                indices, known = look_up(chunk, categories)
                known = coded(
                    name, chunk, indices, known, refuses_unknown=self._rules.refuses_unknown
                )
                if len(indices):
                    yield Looked(indices, self._prepared(feature, known))
            elif feature in self._rules.n_codes:
                codes = self._prepared(feature, self._reader.read(chunk))
                yield Looked(
                    codes.astype(np.int32),
                    np.arange(self._rules.n_codes[feature], dtype=np.float64),
                )
            else:
                yield Numbers(self._prepared(feature, self._reader.read(chunk)))

    def _prepared(self, feature: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Codes of a feature that is split by category; else the values."""
        n_codes = self._rules.n_codes.get(feature)
        if n_codes is None:
            if feature in self._rules.zero_missing:
                return np.where(np.abs(values) <= LIGHTGBM_ZERO, np.nan, values)
            return values
        missing = n_codes - 1
        if self._rules.library == "lightgbm":
            # Cut off towards 0, so that -0.5 is category 0; what no node names goes where missing ones go.
            values = values.astype(np.float64, copy=False)
            return np.where((values > -1) & (values < missing), np.trunc(values), missing)
        with np.errstate(over="ignore"):
            values = values.astype(np.float32, copy=False)
        known = (values >= 0) & (values < missing - 1)
        return np.where(known, np.trunc(values), np.where(np.isnan(values), missing, missing - 1))
