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
from nightscore.models.compiled.sums import IndexedNumbers, Numbers
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.native.machine_code import Kernels

LIGHTGBM_ZERO = float(np.float32(1e-35))
"""LightGBM's `kZeroThreshold`: what is not greater in size is 0."""


@dataclass(frozen=True, slots=True)
class FeatureRules:
    """What a library makes of a value before its trees see it."""

    library: Literal["lightgbm", "xgboost"]
    n_codes: Mapping[int, int]
    """The number of codes of each feature that is split by category.

    The last code is that of missing values. XGBoost's last but one is that of all values that no
    node names.
    """
    zero_missing: tuple[int, ...] = ()
    """Features whose zeros are missing."""
    used: tuple[int, ...] = ()
    """Features that anything depends on."""

    @property
    def refuses_unknown(self) -> bool:
        """Whether a value outside a column's categories is an error, as in XGBoost.

        In LightGBM it is missing.
        """
        return self.library == "xgboost"


class BoosterEncoder:
    """The features of a booster's trees, from a table in the model's order."""

    def __init__(
        self, rules: FeatureRules, categories: Mapping[str, tuple[Any, ...]], kernels: Kernels
    ) -> None:
        """Prepare to encode.

        Args:
            rules: The library's rules.
            categories: For each column of categories, those of training, in the order of their
                codes.
            kernels: The machine code.
        """
        self._rules, self._categories, self._used = rules, categories, frozenset(rules.used)
        self._reader = ColumnReader(kernels)

    def encode(self, table: pa.Table) -> Iterator[tuple[int, Iterator[Numbers | IndexedNumbers]]]:
        """Features, by number, and the chunks of their values.

        A chunk is overwritten when the next one is read.

        Raises:
            UnsupportedError: A column has a type that is left to the library.
            UnknownCategoryError: A value is none of the categories, where that is refused.
            ValueError: A column holds another kind of values than its categories are.
        """
        for i, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
            self._check_type(name, column.type)
            if i in self._used:
                yield i, self._chunks(i, name, column)

    def _check_type(self, name: str, arrow_type: pa.DataType) -> None:
        categories = self._categories.get(name)
        if categories is not None:
            look_up(pa.array([], arrow_type), categories)
        elif not is_numeric(arrow_type):
            raise UnsupportedError(
                f"a column is of type {arrow_type}, and the model knows no categories of it"
            )

    def _chunks(
        self, feature: int, name: str, column: pa.ChunkedArray
    ) -> Iterator[Numbers | IndexedNumbers]:
        categories = self._categories.get(name)

        for chunk in column.chunks:
            if categories is not None:
                yield from self._category_codes(feature, name, chunk, categories)
                continue

            values = self._prepared(feature, self._reader.read(chunk))

            if feature in self._rules.n_codes:
                codes = np.arange(self._rules.n_codes[feature], dtype=np.float64)
                yield IndexedNumbers(values.astype(np.int32), codes)
            else:
                yield Numbers(values)

    def _category_codes(
        self, feature: int, name: str, chunk: pa.Array, categories: tuple[Any, ...]
    ) -> Iterator[IndexedNumbers]:
        refuses_unknown = self._rules.refuses_unknown
        indices, known = look_up(chunk, categories)
        known = coded(name, chunk, indices, known, refuses_unknown=refuses_unknown)
        if len(indices):
            yield IndexedNumbers(indices, self._prepared(feature, known))

    def _prepared(self, feature: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The codes of a feature that is split by category; else the values."""
        n_codes = self._rules.n_codes.get(feature)
        if n_codes is not None:
            missing = n_codes - 1
            if self._rules.library == "lightgbm":
                return _lightgbm_codes(values, missing)
            return _xgboost_codes(values, missing)

        if feature in self._rules.zero_missing:
            return np.where(np.abs(values) <= LIGHTGBM_ZERO, np.nan, values)

        return values


def _lightgbm_codes(values: npt.NDArray[Any], missing: int) -> npt.NDArray[Any]:
    """Codes are cut off towards 0, so that -0.5 is category 0.

    What no node names goes where missing values go.
    """
    values = values.astype(np.float64, copy=False)
    is_known = (values > -1) & (values < missing)
    return np.where(is_known, np.trunc(values), missing)


def _xgboost_codes(values: npt.NDArray[Any], missing: int) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        values = values.astype(np.float32, copy=False)
    is_known = (values >= 0) & (values < missing - 1)
    unknown = np.where(np.isnan(values), missing, missing - 1)
    return np.where(is_known, np.trunc(values), unknown)
