"""Compares two models row by row with what came true."""

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.performance.metrics.paired_areas import paired_areas
from nightscore.monitoring.performance.metrics.probability import surprise
from nightscore.monitoring.performance.metrics.ranked_scores import Codes
from nightscore.profiles.bins import Floats
from nightscore.schemas.comparison import LossSums, PairedRecord

Labels = npt.NDArray[np.bool_]

NO_PROBABILITY = "a score is no probability, so the share of wrong decisions is compared"


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

    wrong = [(score > threshold) != label for score in (champion, challenger)]
    losses: list[LossSums] = []
    notes: tuple[str, ...] = ()

    if all(_is_probability(score) for score in (champion, challenger)):
        of_label = [np.where(label, score, 1 - score) for score in (champion, challenger)]
        losses.append(_sums("log_loss", *map(surprise, of_label)))
        losses.append(_sums("brier", *(np.square(1 - share) for share in of_label)))
    else:
        notes = (NO_PROBABILITY,)

    losses.append(_sums("error", *(some.astype(np.float64) for some in wrong)))

    return PairedRecord(
        n=len(label),
        losses=tuple(losses),
        only_champion_right=int(np.count_nonzero(~wrong[0] & wrong[1])),
        only_challenger_right=int(np.count_nonzero(wrong[0] & ~wrong[1])),
        areas=tuple(paired_areas(champion, challenger, label)),
        notes=notes,
    )


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

    wrong = [predicted != label for predicted in (champion, challenger)]
    losses: list[LossSums] = []

    if probabilities is not None:
        of_label = [of_classes[np.arange(len(label)), label] for of_classes in probabilities]
        losses.append(_sums("log_loss", *map(surprise, of_label)))

    losses.append(_sums("error", *(some.astype(np.float64) for some in wrong)))

    return PairedRecord(
        n=len(label),
        losses=tuple(losses),
        only_champion_right=int(np.count_nonzero(~wrong[0] & wrong[1])),
        only_challenger_right=int(np.count_nonzero(wrong[0] & ~wrong[1])),
    )


def compare_numbers(champion: Floats, challenger: Floats, label: Floats) -> PairedRecord:
    """The losses of two regressions on the same rows. The squared error decides.

    Args:
        champion: Shape (n,), float64, finite: its predictions.
        challenger: Shape (n,), float64, finite: its predictions.
        label: Shape (n,), float64, finite.
    """
    if not len(label):
        return PairedRecord()

    errors = [predicted - label for predicted in (champion, challenger)]

    losses = (
        _sums("squared_error", *map(np.square, errors)),
        _sums("absolute_error", *map(np.abs, errors)),
    )

    return PairedRecord(n=len(label), losses=losses)


def _sums(name: str, champion: Floats, challenger: Floats) -> LossSums:
    difference = challenger - champion
    return LossSums(
        name=name,
        n=len(difference),
        champion=float(champion.mean()),
        difference=float(difference.mean()),
        variance=float(difference.var()),
    )


def _is_probability(score: Floats) -> bool:
    return bool(score.min() >= 0 and score.max() <= 1)
