"""LightGBM's and XGBoost's models in machine code, from what their files say."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.contract import ModelFacts
from scoring.models.categories import coded, look_up
from scoring.models.compiled.columns import ColumnReader
from scoring.models.compiled.fallback import WithLibrary
from scoring.models.compiled.from_sklearn import TreeModel, UnsupportedError
from scoring.models.compiled.layout import Forest, depth
from scoring.models.compiled.machine_code import CODE_FOLDER, load_kernels
from scoring.models.compiled.sums import ForestSum, Looked, Numbers
from scoring.models.features import is_numeric
from scoring.models.predictor import CompiledPredictor, Predictor

WORD_NS, NODE_NS, LEVEL_NS = 2.6, 3.3, 170.0
"""What 64 rows take: a word of a categorical node's set, any other node, and, of XGBoost's own walk, a level of a tree
(240 ns; LightGBM's takes longer), with a margin (Zen 5, AVX-512)."""


@dataclass(frozen=True, slots=True)
class FeatureRules:
    """What a library makes of a value before its trees see it."""

    library: Literal["lightgbm", "xgboost"]
    n_codes: Mapping[int, int]
    """Of features that are split by category: how many codes there are. The last one is of missing values; XGBoost's
    last but one is of all others that no node names."""
    zero_missing: frozenset[int] = field(default_factory=frozenset)
    """Features whose zeros are missing."""
    refuses_unknown: bool = False
    """A value that is none of a column's categories is an error."""


@dataclass(frozen=True, slots=True)
class BoosterModel:
    """Trees, what becomes of their sums, and how columns become what they compare. Data alone."""

    trees: TreeModel
    rules: FeatureRules


class BoosterEncoder:
    """The features of a booster's trees, from a table in the model's order."""

    def __init__(
        self,
        rules: FeatureRules,
        categories: Mapping[str, tuple[Any, ...]],
        used: frozenset[int],
        kernels: ModuleType,
    ) -> None:
        """Encode only features that are used; of columns with categories, by name, the codes of training."""
        self._rules, self._categories, self._used = rules, categories, used
        self._reader = ColumnReader(kernels)

    def encode(self, table: pa.Table) -> Iterator[tuple[int, Iterator[Numbers | Looked]]]:
        """Features, by number, and the chunks of their values; each is gone when the next one is asked for.

        Raises:
            UnsupportedError: A column is of a type that is left to the library.
            UnknownCategoryError: A value is none of the categories, where that is refused.
        """
        for i, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
            if i in self._used:
                yield i, self._chunks(i, name, column)

    def _chunks(self, feature: int, name: str, column: pa.ChunkedArray) -> Iterator[Numbers | Looked]:
        categories = self._categories.get(name)
        if categories is None and not is_numeric(column.type):
            raise UnsupportedError(f"a column is {column.type}, and the model knows no categories of it")
        for chunk in column.chunks:
            if categories is not None:
                indices, known = look_up(chunk, categories)
                known = coded(name, chunk, indices, known, refuses_unknown=self._rules.refuses_unknown)
                if len(indices):
                    yield Looked(indices, self._prepared(feature, known))
            elif feature in self._rules.n_codes:
                codes = self._prepared(feature, self._reader.read(chunk))
                yield Looked(codes.astype(np.int32), np.arange(self._rules.n_codes[feature], dtype=np.float64))
            else:
                yield Numbers(self._prepared(feature, self._reader.read(chunk)))

    def _prepared(self, feature: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Codes of a feature that is split by category; else the values."""
        n_codes = self._rules.n_codes.get(feature)
        if n_codes is None:
            if feature in self._rules.zero_missing:
                from scoring.models.compiled.from_lightgbm import ZERO

                return np.where(np.abs(values) <= ZERO, np.nan, values)
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


def compile_booster(model: Any, facts: ModelFacts, own: Predictor, cache: Path) -> CompiledPredictor:
    """The compiled form of a model as its library has loaded it.

    Raises:
        UnsupportedError: There is none; it says why.
    """
    try:
        found = read_booster(model, facts)
        kernels = load_kernels(cache / CODE_FOLDER)
        return make_booster_predictor(found, facts, own, kernels)
    except (UnsupportedError, MemoryError):
        raise
    except Exception as error:
        # Files differ between the library's versions: then it predicts by itself.
        raise UnsupportedError(f"the model cannot be compiled ({type(error).__name__}: {error})") from error


def read_booster(model: Any, facts: ModelFacts) -> BoosterModel:
    """What the library's model would write into its file, as data.

    Raises:
        UnsupportedError: There is no compiled form.
    """
    classes = None if facts.classes is None else np.asarray(facts.classes)
    if facts.flavor == "lightgbm":
        from scoring.models.compiled.from_lightgbm import lightgbm_model
        from scoring.models.lightgbm import model_text
        from scoring.models.lightgbm_file import read_lightgbm

        if getattr(model, "_other_params", {}).get("pred_early_stop"):
            raise UnsupportedError("its predictions stop early")
        return lightgbm_model(read_lightgbm(model_text(model)), classes)
    from scoring.models.compiled.from_xgboost import xgboost_model
    from scoring.models.xgboost_file import read_xgboost

    is_booster = not hasattr(model, "get_booster")
    booster = model if is_booster else model.get_booster()
    return xgboost_model(read_xgboost(bytes(booster.save_raw("ubj"))), classes, is_booster=is_booster)


def make_booster_predictor(
    model: BoosterModel, facts: ModelFacts, own: Predictor, kernels: ModuleType
) -> CompiledPredictor:
    """The predictor of a model that was read.

    Raises:
        UnsupportedError: No layout holds its trees.
    """
    from scoring.models.compiled.predictor import CompiledTrees

    forest = model.trees.forest
    if forest.n_categories and _split_ns(forest) > LEVEL_NS * sum(depth(tree) for tree in forest.trees):
        raise UnsupportedError("it has so many categories that the library itself is faster")
    total = ForestSum.of(forest, kernels)
    if total is None:
        raise UnsupportedError("its trees have too many leaves, thresholds or categories")
    used = frozenset(feature for tree in forest.trees for feature in tree.feature[~tree.is_leaf].tolist())
    if model.rules.library == "xgboost":
        used = frozenset(range(forest.n_features))  # infinite values and unknown categories are refused anywhere
    encoder = BoosterEncoder(model.rules, facts.categories, used, kernels)
    return WithLibrary(CompiledTrees(model.trees, encoder, total, kernels), own)


def _split_ns(forest: Forest) -> float:
    """What its trees take for 64 rows where nodes ask for categories."""
    n_words = -(-max(forest.n_categories.values()) // 32)
    n_sets = sum(len(tree.categories) for tree in forest.trees)
    n_nodes = sum(int((~tree.is_leaf).sum()) for tree in forest.trees)
    return WORD_NS * n_words * n_sets + NODE_NS * (n_nodes - n_sets)
