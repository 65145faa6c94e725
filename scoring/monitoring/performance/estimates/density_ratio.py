"""How much more often rows like those of the baseline occur on a day: weights for its rows.

A classifier learns to tell the baseline's rows from the day's. Where it gives a row the probability
c of being the day's, such rows are c / (1 - c) * n_baseline / n_day times as dense on the day. Each
row's probability comes from a classifier that was not fitted to it: else the classifier knows the
rows by heart, and weights are extreme where nothing has moved.

Source: M. Sugiyama, T. Suzuki, T. Kanamori, "Density Ratio Estimation in Machine Learning" (2012),
chapter 4, for ratios by classification. L. Kish, "Survey Sampling" (1965), for effective rows.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.profiles.bins import Floats

N_FOLDS = 3
"""Two thirds of the rows fit each classifier. More folds cost more."""
CLASSIFIER: dict[str, Any] = {
    "max_iter": 60,
    "max_leaf_nodes": 8,
    "learning_rate": 0.1,
    "min_samples_leaf": 40,
    "l2_regularization": 5.0,
    "early_stopping": False,
}
"""Small trees with large leaves: without a shift, all weights are near 1."""
MOST_CATEGORIES = 200
"""Of a text feature. Rarer ones are one category: the classifier takes at most 255."""
MOST_WEIGHT = 50.0
"""Of a row, where the mean is 1: no row speaks for more."""
GREATEST = 1e300
"""Of a feature. The sum of two is finite."""
CATEGORIES = ("text", "bytes")
"""Kinds of features whose values have no order."""
LEAST_Z = 4.0
"""Standard errors by which the classifier must be better than chance. Folds share the rows that fit
their classifiers, so the AUC varies 1.24 times as much as its formula says: these are 3.2 real
ones."""


class DensityRatio(NamedTuple):
    """The weights of the baseline's rows, and how sure it is that there is a shift."""

    weights: Floats
    """Shape (n_baseline,), with the mean 1."""
    auc: float
    """Of the classifier, on rows that it was not fitted to. 0.5: nothing has moved."""
    is_shifted: bool
    """The AUC is significantly greater than 0.5."""
    folds: npt.NDArray[np.int64]
    """Which classifier has given each weight, shape (n_baseline,)."""

    @property
    def n_effective(self) -> float:
        """Kish's effective number of rows: as many equal weights have as much variance."""
        return effective_rows(self.weights)


def effective_rows(weights: Floats) -> float:
    """The square of the sum by the sum of squares; 0 without weights."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def density_ratio(
    baseline: pa.Table,
    day: pa.Table,
    baseline_scores: Floats,
    day_scores: Floats,
    seed: int,
) -> DensityRatio:
    """The density ratio at each of the baseline's rows.

    The score is one more feature: estimates compare rows of the same score, and trees need many
    splits to find what a model makes of its features.

    Args:
        baseline: Features, at least one row.
        day: The same features. Columns that only one of both has do not count, nor do those whose
            types cannot be compared, as texts and numbers.
        baseline_scores: Shape (n_baseline,).
        day_scores: Shape (n_day,), at least one row.
        seed: Divides the rows into folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    scores = np.concatenate([baseline_scores, day_scores])
    features, is_categorical = _encode(baseline, day, scores)
    is_day = np.arange(len(scores)) >= len(baseline_scores)
    folds = _folds(is_day, seed)

    chances = np.empty(len(scores))
    aucs = []

    # More threads than one cost more than they save on so few rows.
    with threadpool_limits(1):
        for fold in range(N_FOLDS):
            is_held_out = folds == fold
            # The classifier refuses a feature that is null in all rows that it is fitted to.
            has_values = ~np.isnan(features[~is_held_out]).all(axis=0)
            own_features = features[:, has_values]

            classifier = HistGradientBoostingClassifier(
                **CLASSIFIER, categorical_features=is_categorical[has_values], random_state=seed
            )
            classifier.fit(own_features[~is_held_out], is_day[~is_held_out])

            held_out = classifier.predict_proba(own_features[is_held_out])[:, 1]
            chances[is_held_out] = held_out
            aucs.append(_auc(held_out, is_day[is_held_out]))

    auc = float(np.mean(aucs))
    own = np.clip(chances[~is_day], 1e-6, 1 - 1e-6)

    weights = _normalised(own / (1 - own))

    return DensityRatio(weights, auc, _is_significant(auc, is_day), folds[~is_day])


def _folds(is_day: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.int64]:
    """The fold of each row, with equal shares of the day's rows in all of them."""
    rng = np.random.default_rng(seed)
    folds = np.empty(len(is_day), np.int64)

    for rows in (np.flatnonzero(~is_day), np.flatnonzero(is_day)):
        folds[rng.permutation(rows)] = np.arange(len(rows)) % N_FOLDS

    return folds


def _normalised(ratios: Floats) -> Floats:
    weights = np.minimum(ratios / ratios.mean(), MOST_WEIGHT)
    normalised: Floats = weights / weights.mean()
    return normalised


def _is_significant(auc: float, is_day: npt.NDArray[np.bool_]) -> bool:
    """Whether an AUC is greater than chance makes it.

    Source: H. Mann, D. Whitney, "On a Test of Whether one of Two Random Variables is Stochastically
    Larger than the Other" (1947): the variance is (n + m + 1) / (12 n m).
    """
    n_day = int(is_day.sum())
    n_baseline = len(is_day) - n_day
    # Each row is compared with those of its own fold alone.
    n_pairs = n_day * n_baseline / N_FOLDS
    error = np.sqrt((len(is_day) / N_FOLDS + 1) / (12 * n_pairs))

    return bool(auc - 0.5 > LEAST_Z * error)


def _auc(chances: Floats, is_day: npt.NDArray[np.bool_]) -> float:
    """The share of pairs in which the day's row has the higher chance; ties count half."""
    ordered = np.sort(chances[~is_day])
    below = np.searchsorted(ordered, chances[is_day], "left")
    up_to = np.searchsorted(ordered, chances[is_day], "right")
    return float((below + up_to).sum() / 2 / (len(ordered) * max(int(is_day.sum()), 1)))


def _encode(
    baseline: pa.Table, day: pa.Table, scores: Floats
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The rows of both as numbers, shape (n, features + 1), and which of them are categories."""
    columns, is_categorical = [scores], [False]

    for name in baseline.column_names:
        if name not in day.column_names:
            continue

        own, others = _decode(baseline.column(name)), _decode(day.column(name))
        kind = _kind(own.type)
        if not kind or kind != _kind(others.type):
            continue

        is_category = kind in CATEGORIES
        encode = _categories if is_category else _numbers
        columns.append(encode(own, others))
        is_categorical.append(is_category)

    return np.column_stack(columns), np.array(is_categorical)


def _decode(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values, if the column is a dictionary of them."""
    is_encoded = pa.types.is_dictionary(column.type)
    return column.cast(column.type.value_type) if is_encoded else column


def _kind(arrow_type: pa.DataType) -> str:
    """What can be compared has one kind; empty: nothing is."""
    types = pa.types

    for kind, is_of_kind in {
        "number": (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal),
        "day or time": (types.is_date, types.is_timestamp),
        "time of day": (types.is_time,),
        "duration": (types.is_duration,),
        "text": (types.is_string, types.is_large_string),
        "bytes": (types.is_binary, types.is_large_binary, types.is_fixed_size_binary),
    }.items():
        if any(is_one(arrow_type) for is_one in is_of_kind):
            return kind

    return ""


def _numbers(own: pa.ChunkedArray, others: pa.ChunkedArray) -> Floats:
    """Values as float64; null is NaN, and times are counts of the baseline's unit.

    Infinite values are the greatest: the classifier takes means of neighbours.
    """
    parts = []
    for column in (own, others):
        if pa.types.is_temporal(own.type):
            column = column.cast(own.type, safe=False).cast(_whole(own.type))
        parts.append(column.cast(pa.float64(), safe=False).to_numpy())

    numbers: Floats = np.concatenate(parts).astype(np.float64)
    return np.clip(numbers, -GREATEST, GREATEST)


def _whole(arrow_type: pa.DataType) -> pa.DataType:
    return pa.int32() if arrow_type.bit_width == 32 else pa.int64()


def _categories(own: pa.ChunkedArray, others: pa.ChunkedArray) -> Floats:
    """A number for each of the most frequent values, and one for all others; null is NaN."""
    is_text = _kind(own.type) == "text"
    wide = pa.large_string() if is_text else pa.large_binary()

    chunks = [*own.cast(wide).chunks, *others.cast(wide).chunks]
    values = pa.chunked_array(chunks, wide).combine_chunks()
    encoded = values.dictionary_encode()
    codes = encoded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)

    is_known = ~np.isnan(codes)
    counts = np.bincount(codes[is_known].astype(np.int64), minlength=len(encoded.dictionary))
    ranks = np.empty(len(counts))
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))

    ranked = np.full(len(codes), np.nan)
    places = codes[is_known].astype(np.int64)
    ranked[is_known] = np.minimum(ranks[places], MOST_CATEGORIES)

    return ranked
