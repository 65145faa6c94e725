"""Compares two models row by row with what came true."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.performance.metrics.means import blocks_of_rows
from nightscore.monitoring.performance.metrics.paired_areas import paired_areas
from nightscore.monitoring.performance.metrics.probability import surprise
from nightscore.monitoring.performance.metrics.ranked_scores import Codes, Labels
from nightscore.profiles.bins import Floats
from nightscore.schemas.comparison import LossSums, PairedRecord

NO_PROBABILITY = "a score is no probability, so the share of wrong decisions is compared"
Losses = Callable[[slice], tuple[Floats, Floats]]
"""Gives the champion's and the challenger's losses of some rows."""
Variances = Callable[[slice], Floats]
"""Gives the variance that is expected of the differences of some rows' losses."""


def _square(of_class: Floats) -> Floats:
    square: Floats = np.square(1 - of_class)
    return square


OF_PROBABILITIES: dict[str, Callable[[Floats], Floats]] = {"log_loss": surprise, "brier": _square}
"""Losses by the probability that was given to the class that came. The first one decides."""


def compare_binary(
    champion: Floats, challenger: Floats, label: Labels, threshold: float
) -> PairedRecord:
    """The losses of two binary models on the same rows. Log loss decides.

    Args:
        champion: Shape (n,), float64, finite: its scores.
        challenger: Shape (n,), float64, finite: its scores.
        label: Shape (n,), bool: whether the row is positive.
        threshold: Scores above it are decided as positive.
    """
    if not len(label):
        return PairedRecord()

    both = champion, challenger
    losses: list[LossSums] = []
    notes: tuple[str, ...] = ()

    if all(score.min() >= 0 and score.max() <= 1 for score in both):
        for name, loss in OF_PROBABILITIES.items():
            losses.append(_binary_sums(name, loss, champion, challenger, label))
    else:
        notes = (NO_PROBABILITY,)

    wrong = [(score > threshold) != label for score in both]
    pairs = _compare_wrong(wrong[0], wrong[1], losses)
    areas = tuple(paired_areas(champion, challenger, label))

    return pairs.model_copy(update={"areas": areas, "notes": notes})


def compare_classes(
    champion: Codes,
    challenger: Codes,
    label: Codes,
    probabilities: tuple[Floats, Floats] | None = None,
) -> PairedRecord:
    """The losses of two models of classes on the same rows.

    Log loss decides where both have probabilities, else the share of wrong classes.

    Args:
        champion: Shape (n,), integers: its classes.
        challenger: Shape (n,), integers: its classes.
        label: Shape (n,), integers.
        probabilities: Shape (n, k) each: the champion's and the challenger's. None: they have none.
    """
    if not len(label):
        return PairedRecord()

    losses: list[LossSums] = []

    if probabilities is not None:
        both = probabilities

        def surprises(rows: slice) -> tuple[Floats, Floats]:
            places = np.arange(rows.start, rows.stop), label[rows]
            first, second = (surprise(of_classes[places]) for of_classes in both)
            return first, second

        def expected(rows: slice) -> Floats:
            first, second = both[0][rows], both[1][rows]
            difference = surprise(second) - surprise(first)
            return _variance_of(difference, (first + second) / 2)

        losses.append(_sums("log_loss", surprises, len(label), expected))

    return _compare_wrong(champion != label, challenger != label, losses)


def compare_numbers(champion: Floats, challenger: Floats, label: Floats) -> PairedRecord:
    """The losses of two regressions on the same rows. The squared error decides.

    Args:
        champion: Shape (n,), float64, finite: its predictions.
        challenger: Shape (n,), float64, finite: its predictions.
        label: Shape (n,), float64, finite.
    """
    if not len(label):
        return PairedRecord()

    def squares(rows: slice) -> tuple[Floats, Floats]:
        of_label = label[rows]
        return np.square(champion[rows] - of_label), np.square(challenger[rows] - of_label)

    def sizes(rows: slice) -> tuple[Floats, Floats]:
        of_label = label[rows]
        return np.abs(champion[rows] - of_label), np.abs(challenger[rows] - of_label)

    squared = _sums("squared_error", squares, len(label))
    absolute = _sums("absolute_error", sizes, len(label))

    return PairedRecord(n=len(label), losses=(squared, absolute))


def add_sums(first: LossSums, second: LossSums) -> LossSums:
    """The rows of both.

    Source: T. Chan, G. Golub, R. LeVeque, "Algorithms for Computing the Sample Variance" (1983).
    """
    n = first.n + second.n
    if not n:
        return first

    share = second.n / n

    gap = second.difference - first.difference
    variance = (1 - share) * first.variance + share * second.variance
    expected = (1 - share) * first.expected_variance + share * second.expected_variance

    return LossSums(
        name=first.name,
        n=n,
        champion=first.champion + share * (second.champion - first.champion),
        difference=first.difference + share * gap,
        variance=variance + share * (1 - share) * gap**2,
        expected_variance=expected,
    )


def _compare_wrong(
    champion: npt.NDArray[np.bool_], challenger: npt.NDArray[np.bool_], losses: list[LossSums]
) -> PairedRecord:
    """The record with the rows that are decided wrongly, after other losses."""

    def errors(rows: slice) -> tuple[Floats, Floats]:
        return champion[rows].astype(np.float64), challenger[rows].astype(np.float64)

    return PairedRecord(
        n=len(champion),
        losses=(*losses, _sums("error", errors, len(champion))),
        only_champion_right=int(np.count_nonzero(~champion & challenger)),
        only_challenger_right=int(np.count_nonzero(champion & ~challenger)),
    )


def _binary_sums(
    name: str,
    loss: Callable[[Floats], Floats],
    champion: Floats,
    challenger: Floats,
    label: Labels,
) -> LossSums:
    """The sums of a loss of the probability that was given to the class that came."""

    def losses(rows: slice) -> tuple[Floats, Floats]:
        first, second = (
            loss(np.where(label[rows], score[rows], 1 - score[rows]))
            for score in (champion, challenger)
        )
        return first, second

    def expected(rows: slice) -> Floats:
        first, second = champion[rows], challenger[rows]
        of_positive = loss(second) - loss(first)
        of_negative = loss(1 - second) - loss(1 - first)

        positive = (first + second) / 2
        shares = np.column_stack([positive, 1 - positive])
        return _variance_of(np.column_stack([of_positive, of_negative]), shares)

    return _sums(name, losses, len(label), expected)


def _variance_of(values: Floats, probabilities: Floats) -> Floats:
    """Of each row, shape (n,), with its values and their probabilities, shape (n, k) each."""
    mean = (probabilities * values).sum(axis=1)
    variance: Floats = (probabilities * np.square(values - mean[:, None])).sum(axis=1)
    return variance


def _sums(name: str, losses: Losses, n_rows: int, expected: Variances | None = None) -> LossSums:
    """Block by block, so that no column of losses is in memory."""
    found = LossSums(name=name, n=0, champion=0.0, difference=0.0)

    for rows in blocks_of_rows(n_rows):
        champion, challenger = losses(rows)
        difference = challenger - champion

        block = LossSums(
            name=name,
            n=len(difference),
            champion=float(champion.mean()),
            difference=float(difference.mean()),
            variance=float(difference.var()),
            expected_variance=0.0 if expected is None else float(expected(rows).mean()),
        )
        found = add_sums(found, block)

    return found
